//! Which files the process reaches: landlock.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::Paths;

/// The newest interface whose rights are asked for; of those the kernel takes what it knows.
const NEWEST: ABI = ABI::V6;

/// What else is read while serving.
const SYSTEM: [&str; 9] = [
    // resolv.conf, which is replaced by rename, hosts, nsswitch.conf; the certificate authorities.
    "/etc",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    // How the idle lane fares, the host's name, the processors that this process may have.
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];
/// Links out of [`SYSTEM`], whose targets are read.
const LINKS: [&str; 3] = ["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Variables by which the operator names other certificate authorities.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The folders that can be read, with all beneath, known as landlock knows them: by what they are, not
/// by their names.
#[derive(Debug)]
pub(super) struct Fence {
    roots: HashSet<(u64, u64)>,
}

impl Fence {
    fn around<'p>(folders: impl Iterator<Item = &'p Path>) -> Self {
        Self { roots: folders.filter_map(device_and_inode).collect() }
    }

    /// Does it lie in there? A path that leads nowhere does not.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let Ok(real) = fs::canonicalize(path) else { return false };
        real.ancestors().filter_map(device_and_inode).any(|at| self.roots.contains(&at))
    }
}

fn device_and_inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Holds the calling thread, and those that it starts, to these paths; the version of the kernel's
/// interface. Programs cannot be started, and nobody outside gets a signal.
pub(super) fn restrict(paths: &Paths) -> io::Result<(Fence, i32)> {
    let readable = system().into_iter().chain(paths.read.iter().cloned());
    let writable = paths.write.iter().cloned().chain([paths.state.clone()]);
    let (readable, writable): (Vec<PathBuf>, Vec<PathBuf>) = (readable.collect(), writable.collect());
    let everything = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(io::Error::other)?;
    let mut rules = ruleset.scope(Scope::Signal).and_then(Ruleset::create).map_err(io::Error::other)?;
    for path in &readable {
        rules = add(rules, path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for path in &writable {
        rules = add(rules, path, everything)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            Ok((Fence::around(readable.iter().chain(&writable).map(PathBuf::as_path)), effective_abi as i32))
        }
        LandlockStatus::NotEnabled => Err(io::Error::other("the kernel has it, but it was not switched on at boot")),
        _ => Err(io::Error::other("the kernel has none (it came with Linux 5.13)")),
    }
}

fn add(
    rules: RulesetCreated,
    path: &Path,
    access: impl Into<landlock::BitFlags<AccessFs>>,
) -> io::Result<RulesetCreated> {
    // What is not there, or may not even be looked at, is no loss: it could not be read before either.
    let Ok(place) = PathFd::new(path) else { return Ok(rules) };
    let mut access = access.into();
    if !path.is_dir() {
        access &= AccessFs::from_file(NEWEST);
    }
    rules.add_rule(PathBeneath::new(place, access)).map_err(io::Error::other)
}

fn system() -> Vec<PathBuf> {
    let real_folder = |link: &&str| fs::canonicalize(link).ok().and_then(|real| Some(real.parent()?.to_owned()));
    let named = VARIABLES.iter().filter_map(std::env::var_os);
    let named = named.flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<PathBuf>>());
    SYSTEM.iter().map(PathBuf::from).chain(LINKS.iter().filter_map(real_folder)).chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_knows_folders_by_what_they_are() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["in", "in/deep", "out"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["in/a", "in/deep/b", "out/c"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("out/c"), at("in/c")).unwrap();
        std::os::unix::fs::symlink(at("in"), at("link")).unwrap();
        let fence = Fence::around([&*at("in"), &*at("absent")].into_iter());
        let holds = |name: &str| fence.holds(&at(name));
        assert!(holds("in") && holds("in/a") && holds("in/deep/b") && holds("link/a") && holds("out/../in/a"));
        assert!(!holds("out/c") && !holds("in/c") && !holds("in/absent") && !holds("."));
        // Another folder of the same name is another one.
        fs::rename(at("in"), at("before")).unwrap();
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/a"), "").unwrap();
        assert!(!holds("in/a") && holds("before/a"));
    }
}
