//! Users, groups and capabilities.

use std::collections::HashSet;
use std::ffi::CString;
use std::fmt::Display;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{self, Gid, Group, Uid, User};

use crate::config::Process;

/// A user to become.
#[derive(Debug)]
pub(super) struct Account {
    /// As the configuration has it.
    pub(super) name: String,
    uid: Uid,
    gid: Gid,
    /// Its name in the system's list, by which groups list their members; none: it has no entry there.
    entry: Option<CString>,
}

impl Account {
    /// The user and group of the configuration; none: it names no user, or this process is that user's.
    ///
    /// # Errors
    /// The system does not know one of them, or this process may not become another.
    pub(super) fn find(wanted: &Process) -> io::Result<Option<Self>> {
        let Some(account) = Self::look_up(wanted)? else { return Ok(None) };
        let (me, name) = (unistd::geteuid(), &account.name);
        if !me.is_root() {
            let same = me == account.uid && unistd::getegid() == account.gid;
            let why = || format!("[process] user {name}: only root can become another; start it as root, or as {name}");
            return if same { Ok(None) } else { Err(io::Error::other(why())) };
        }
        Ok(Some(account))
    }

    /// The same, whoever this process is; none: the configuration names no user.
    ///
    /// # Errors
    /// The system does not know one of them.
    pub(super) fn look_up(wanted: &Process) -> io::Result<Option<Self>> {
        let Some(name) = wanted.user.as_deref() else { return Ok(None) };
        let entry = user(name)?;
        let number = name.parse().ok().map(Uid::from_raw);
        let uid = entry.as_ref().map(|entry| entry.uid).or(number).ok_or_else(|| unknown("user", name))?;
        let gid = match (wanted.group.as_deref(), &entry) {
            (Some(group), _) => group_id(group)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => {
                let why = format!("[process] user {name}: the system's list has no such number; name a `group` too");
                return Err(io::Error::other(why));
            }
        };
        let entry = entry.and_then(|entry| CString::new(entry.name).ok());
        Ok(Some(Self { name: name.to_owned(), uid, gid, entry }))
    }

    /// Becomes it: groups first, which only root may change. `keep` leaves the permitted capabilities as
    /// they are, for [`drop_capabilities`] to choose from; otherwise none stays.
    pub(super) fn take(&self, keep: bool) -> io::Result<()> {
        prctl::set_keepcaps(keep)?;
        match &self.entry {
            Some(entry) => unistd::initgroups(entry, self.gid)?,
            None => unistd::setgroups(&[self.gid])?,
        }
        unistd::setresgid(self.gid, self.gid, self.gid)?;
        unistd::setresuid(self.uid, self.uid, self.uid)?;
        Ok(prctl::set_keepcaps(false)?)
    }

    /// Gives it a file or folder.
    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }
}

pub(super) fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// An entry of the system's list, by name or number.
fn user(name: &str) -> io::Result<Option<User>> {
    let by_name = User::from_name(name).map_err(|error| failed("user", name, error))?;
    let number = name.parse().ok().map(Uid::from_raw);
    match (by_name, number) {
        (None, Some(number)) => User::from_uid(number).map_err(|error| failed("user", name, error)),
        (found, _) => Ok(found),
    }
}

fn group_id(name: &str) -> io::Result<Gid> {
    let entry = Group::from_name(name).map_err(|error| failed("group", name, error))?;
    let number = name.parse().ok().map(Gid::from_raw);
    entry.map(|entry| entry.gid).or(number).ok_or_else(|| unknown("group", name))
}

fn failed(what: &str, name: &str, why: impl Display) -> io::Error {
    io::Error::other(format!("[process] {what} {name}: the system's list cannot be read: {why}"))
}

fn unknown(what: &str, name: &str) -> io::Error {
    io::Error::other(format!("[process] {what}: there is no {what} called {name} on this machine"))
}

/// The one capability that is kept, where the process has it.
const KEPT: Capability = Capability::CAP_NET_BIND_SERVICE;

/// Nothing that this process may come to run regains any capability but [`KEPT`]. To be called before
/// the user changes: it takes a capability itself, without which the set stays as it is.
pub(super) fn bound_capabilities() -> Result<(), CapsError> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    let known = caps::runtime::thread_all_supported();
    known.into_iter().filter(|known| *known != KEPT).try_for_each(|cap| caps::drop(None, CapSet::Bounding, cap))
}

/// Gives up all capabilities but [`KEPT`].
pub(super) fn drop_capabilities() -> Result<(), CapsError> {
    let has = caps::has_cap(None, CapSet::Permitted, KEPT)?;
    let kept: CapsHashSet = if has { HashSet::from([KEPT]) } else { HashSet::new() };
    caps::clear(None, CapSet::Inheritable)?; // and with it the ambient set, which lies within
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(user: &str, group: Option<&str>) -> Result<Option<Account>, String> {
        let (user, group) = (Some(user.into()), group.map(Into::into));
        Account::find(&Process { user, group, ..Process::default() }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_that_cannot_be_taken_is_told() {
        assert!(find("no such user", None).unwrap_err().contains("no user called no such user"));
        assert!(find("0", Some("no such group")).unwrap_err().contains("no group called no such group"));
        assert!(find("4000000000", None).unwrap_err().contains("name a `group` too"));
    }

    #[test]
    fn only_root_becomes_another() {
        let (uid, gid) = (unistd::geteuid(), unistd::getegid());
        if uid.is_root() {
            let other = find("4000000000", Some("4000000001")).unwrap().unwrap();
            assert_eq!((other.uid.as_raw(), other.gid.as_raw(), other.entry), (4_000_000_000, 4_000_000_001, None));
            assert!(find("root", None).unwrap().unwrap().entry.is_some());
        } else {
            assert!(find(&uid.to_string(), Some(&gid.to_string())).unwrap().is_none(), "it is that user already");
            assert!(find("4000000000", Some("0")).unwrap_err().contains("only root"));
        }
    }
}
