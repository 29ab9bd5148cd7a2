//! The small world that several targets ask: places come from `cidr:` names, so no database is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::control::trial;
use meridian::table::Snapshot;

/// Its configuration.
pub(crate) const CONFIG: &str = r#"
[geoip]
databases = []
[sets]
near = ["cidr:192.0.0.0/10", "cidr:2001:db8::/34"]
far = ["cidr:10.1.2.0/27", "cidr:128.0.0.0/3"]
[[zones]]
name = "a"
file = "zone"
[[endpoints]]
name = "one"
cloud = "aws"
region = "us-east-1"
addresses = ["192.0.2.1", "192.0.2.11", "2001:db8::1"]
[[endpoints]]
name = "two"
cloud = "gcp"
region = "us-east4"
addresses = ["192.0.2.2"]
[[endpoints]]
name = "three"
cloud = "azure"
region = "westeurope"
addresses = ["192.0.2.3", "2001:db8::3"]
[defaults]
panic_below = 0.0
tie = "5s"
[[services]]
name = "w.a"
endpoints = ["*"]
prefer = [{ where = "near", clouds = ["gcp"], within = "any" }, { where = "far", clouds = ["azure"], within = "any" }]
[[services]]
name = "*.s.a"
endpoints = ["one", "three"]
[[services]]
name = "v.a"
endpoints = ["one", "three"]
fence = [{ where = "far", in = "eu" }]
spread = "multivalue"
multivalue = 3
"#;
/// Its zone.
pub(crate) const ZONE: &str = "@ 60 SOA n h 1 1 1 1 60\n@ 60 NS n\nn 60 A 192.0.2.9\nw 60 TXT t\nc 60 CNAME w\nd 60 DNAME s\nz 60 NS n.z\nn.z 60 A 192.0.2.8\n";

/// Files in memory.
pub(crate) fn files(config: &str, zone: &str) -> BTreeMap<PathBuf, Arc<[u8]>> {
    [("config.toml", config), ("zone", zone)].map(|(path, text)| (path.into(), text.as_bytes().into())).into()
}

/// All endpoints up, steered names not answered yet.
pub(crate) fn snapshot() -> Snapshot {
    let compiled = trial(&mut files(CONFIG, ZONE), Path::new("config.toml"));
    compiled.unwrap_or_else(|problems| panic!("{problems:?}")).1
}
