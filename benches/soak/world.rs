//! The files of the servers that are asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::control::Options;

/// The name that is asked for in the soak.
pub(crate) const NAME: &str = "www.soak.example.";

const ZONE: &str = "\
$TTL 60
@     SOA  ns1 hostmaster SERIAL 7200 900 1209600 60
      NS   ns1
ns1   A    203.0.113.53
www   TXT  \"GENERATION\"
";

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = "off"
[rate_limit]
allow = ["127.0.0.0/8"]
[geoip]
databases = [DATABASES]
[[zones]]
name = "soak.example"
file = "soak.example.zone"
[[services]]
name = "www.soak.example"
endpoints = ["*"]
ttl = "TTLs"
[[endpoints]]
name = "virginia"
cloud = "aws"
region = "us-east-1"
addresses = ["192.0.2.1", "2001:db8::1"]
[[endpoints]]
name = "frankfurt"
cloud = "azure"
region = "germanywestcentral"
addresses = ["192.0.2.2", "2001:db8::2"]
[[endpoints]]
name = "singapore"
cloud = "gcp"
region = "asia-southeast1"
addresses = ["192.0.2.3", "2001:db8::3"]
"#;

/// A folder with the files of a server.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// The set of the soak in its first edition, with the shipped database.
    pub(crate) fn of_soak() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write_database(0);
        folder.write_edition(0);
        folder
    }

    /// The shipped set, on a free port, its endpoints probed once an hour.
    pub(crate) fn shipped() -> Self {
        let folder = Self::shipped_and_probed();
        folder.edit([
            ("interval = \"2s\"", "interval = \"1h\""),
            // No probe of ours shall speak against its verdicts.
            ("fast_interval = \"250ms\"", "fast_interval = \"1h\""),
        ]);
        folder
    }

    /// The shipped set, on a free port. Its verdicts turn faster than any endpoint's, and each shows at once.
    pub(crate) fn shipped_and_probed() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["geoip", "zones"] {
            std::os::unix::fs::symlink(shipped(name), folder.path(name)).unwrap();
        }
        folder.write("config.toml", &std::fs::read(shipped("config.toml")).unwrap());
        folder.edit([
            ("listen = [\"127.0.0.1:5300\", \"[::1]:5300\"]", "listen = [\"127.0.0.1:0\"]"),
            ("listen = \"127.0.0.1:8053\"", "listen = \"off\""),
            ("damping = { half_life = \"5m\", hold_at = 3, free_at = 1, at_most = \"15m\" }", "damping = \"off\""),
            ("warmup = \"3m\"", "warmup = \"0s\""),
            ("panic_below = 0.5", "panic_below = 0.0"),
        ]);
        folder
    }

    /// Puts one text in the place of another, which the configuration has once.
    pub(crate) fn edit<S: AsRef<str>>(&self, edits: impl IntoIterator<Item = (S, S)>) {
        let mut text = std::fs::read_to_string(self.path("config.toml")).unwrap();
        for (from, to) in edits {
            let (from, to) = (from.as_ref(), to.as_ref());
            assert_eq!(text.matches(from).count(), 1, "{from} in the configuration");
            text = text.replace(from, to);
        }
        self.write("config.toml", text.as_bytes());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn options(&self) -> Options {
        Options { config: self.path("config.toml"), strict: true }
    }

    /// Writes beside its place and renames in.
    fn write(&self, name: &str, content: &[u8]) {
        let beside = self.path("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// Another configuration and zone.
    pub(crate) fn write_edition(&self, edition: u32) {
        self.write("config.toml", config(edition, "\"city.mmdb\"").as_bytes());
        self.write("soak.example.zone", zone(edition, 0).as_bytes());
    }

    /// The shipped database, said to be built so many seconds later.
    pub(crate) fn write_database(&self, later: u8) {
        self.prepare_database(later);
        self.take_database(later);
    }

    /// Puts the database that [`Self::prepare_database`] wrote into its place.
    pub(crate) fn take_database(&self, later: u8) {
        std::fs::rename(self.path(&format!("prepared-{later}")), self.path("city.mmdb")).unwrap();
    }

    /// Writes the shipped database beside its place.
    pub(crate) fn prepare_database(&self, later: u8) {
        let mut database = std::fs::read(shipped("geoip/city.mmdb")).unwrap();
        let key = b"build_epoch";
        let at = database.windows(key.len()).rposition(|octets| octets == key).unwrap() + key.len();
        // A control octet with the length, then the figure.
        let length = usize::from(database[at] & 0x1f);
        let last = &mut database[at + length + 1];
        *last = last.wrapping_add(later);
        std::fs::write(self.path(&format!("prepared-{later}")), database).unwrap();
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn config(edition: u32, databases: &str) -> String {
    CONFIG.replace("DATABASES", databases).replace("TTL", &(20 + edition).to_string())
}

fn zone(edition: u32, generation: u64) -> String {
    ZONE.replace("SERIAL", &(edition + 1).to_string()).replace("GENERATION", &generation.to_string())
}

/// The set of an edition in memory, without a database, its zone of this generation.
pub(crate) fn in_memory(edition: u32, generation: u64) -> BTreeMap<PathBuf, Arc<[u8]>> {
    let files = [("config.toml", config(edition, "")), ("soak.example.zone", zone(edition, generation))];
    files.map(|(path, text)| (path.into(), text.as_bytes().into())).into()
}
