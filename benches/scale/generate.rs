//! Made-up sets of files, the same ones in each run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use meridian::model::{Place, PlaceSet, Region, RegionStatus, built_in_regions};

use crate::figures::Size;

const DATABASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/geoip/city.mmdb");
const PLAN: usize = 10;

/// xorshift64*: different figures at each call, the same ones in each run.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound
    }
}

/// Steered names over plans.
pub(crate) struct Steered {
    services: usize,
    plans: usize,
    endpoints: usize,
    zones: usize,
}

impl Steered {
    pub(crate) fn of(size: Size) -> Self {
        Self { services: size.of(100_000), plans: size.of(1_000), endpoints: size.of(10_000), zones: size.of(1_000) }
    }

    /// Writes `config.toml` and its zones.
    pub(crate) fn write(&self, folder: &Path) {
        eprintln!("scale: writing {} services over {} plans", self.services, self.plans);
        write(&folder.join("config.toml"), &self.config());
        fs::create_dir_all(folder.join("zones")).expect("the temporary folder takes folders");
        for zone in 0..self.zones {
            let text = "$TTL 300\n@ SOA ns1 hostmaster 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n";
            write(&folder.join(format!("zones/z{zone}.example.zone")), text);
        }
    }

    /// One service answers with another TTL.
    pub(crate) fn edit(&self, folder: &Path) {
        let text = self.config() + "ttl=\"60s\"\n"; // of the last service
        write(&folder.join("config.toml"), &text);
    }

    /// A name that is there.
    pub(crate) fn question(&self) -> String {
        self.name(self.services / 2)
    }

    fn name(&self, service: usize) -> String {
        format!("s{service}.z{}.example", service % self.zones)
    }

    pub(crate) fn config(&self) -> String {
        let mut text = server_section();
        let _ = writeln!(text, "[geoip]\ndatabases = [\"{DATABASE}\"]\n[zones]\ndirectory = \"zones\"");
        let sites = Sites::new();
        let endpoints: Vec<&Region> = (0..self.endpoints).map(|index| sites.of(index)).collect();
        for (index, region) in endpoints.iter().enumerate() {
            let (cloud, name) = (region.cloud, region.name);
            let _ = writeln!(text, "[[endpoints]]\nname=\"e{index}\"\ncloud=\"{cloud}\"\nregion=\"{name}\"");
            let (high, low) = (index / 256, index % 256);
            let _ = writeln!(text, "addresses=[\"198.18.{high}.{low}\",\"2001:db8::{index:x}\"]");
        }
        let mut draw = Draw(1);
        let plans: Vec<String> = (0..self.plans).map(|plan| sites.plan(plan, self.endpoints, &mut draw)).collect();
        for service in 0..self.services {
            let plan = if service < self.plans { service } else { draw.below(self.plans) };
            let _ = writeln!(text, "[[services]]\nname=\"{}\"\n{}", self.name(service), plans[plan]);
        }
        text
    }
}

/// Where endpoints stand: all open regions in turn.
struct Sites {
    regions: Vec<&'static Region>,
}

impl Sites {
    fn new() -> Self {
        let open = built_in_regions().iter().filter(|region| region.status == RegionStatus::GenerallyAvailable);
        Self { regions: open.collect() }
    }

    fn of(&self, endpoint: usize) -> &'static Region {
        self.regions[endpoint % self.regions.len()]
    }

    /// The body of a service: two endpoints in the EU, of two clouds, and others from anywhere; one
    /// plan in four has a fence, one in four a preference.
    fn plan(&self, plan: usize, endpoints: usize, draw: &mut Draw) -> String {
        let eu = PlaceSet::built_in("eu").expect("it is built in");
        let mut members: Vec<usize> = Vec::new();
        while members.len() < PLAN {
            let endpoint = draw.below(endpoints);
            let region = self.of(endpoint);
            let cloud = ["aws", "azure"].get(members.len());
            let wanted =
                cloud.is_none_or(|cloud| region.cloud == *cloud && eu.places.contains(&Place::Country(region.country)));
            if wanted && !members.contains(&endpoint) {
                members.push(endpoint);
            }
        }
        let names: Vec<String> = members.iter().map(|endpoint| format!("\"e{endpoint}\"")).collect();
        let policy = match plan % 4 {
            0 => "\nfence=[{where=\"eu\",in=\"eu\"}]",
            1 => "\nprefer=[{where=\"apac\",clouds=[\"gcp\",\"azure\"],within=\"30ms\"}]",
            _ => "",
        };
        format!("endpoints=[{}]{policy}", names.join(","))
    }
}

/// Zones of ten records each.
pub(crate) struct Static {
    zones: usize,
}

impl Static {
    const RECORDS: usize = 10;
    /// Next to nothing, for the memory that the program itself takes.
    pub(crate) const EMPTY: Self = Self { zones: 1 };

    pub(crate) fn of(size: Size) -> Self {
        Self { zones: size.of(100_000) }
    }

    pub(crate) fn records(&self) -> usize {
        self.zones * Self::RECORDS
    }

    /// Writes `config.toml` and its zones.
    pub(crate) fn write(&self, folder: &Path) {
        eprintln!("scale: writing {} zones", self.zones);
        let text = server_section() + "[geoip]\ndatabases = []\n[zones]\ndirectory = \"zones\"\n";
        write(&folder.join("config.toml"), &text);
        fs::create_dir_all(folder.join("zones")).expect("the temporary folder takes folders");
        (0..self.zones).for_each(|zone| self.write_zone(folder, zone, 1));
    }

    /// One zone has another serial.
    pub(crate) fn edit(&self, folder: &Path) {
        self.write_zone(folder, self.zones / 2, 2);
    }

    pub(crate) fn question(&self) -> String {
        self.name(self.zones / 2, 1)
    }

    /// A name that is there: one of four in each zone.
    pub(crate) fn name(&self, zone: usize, which: usize) -> String {
        let host = ["", "www.", "api.", "mail."][which % 4];
        format!("{host}zone{zone}.example")
    }

    pub(crate) fn zones(&self) -> usize {
        self.zones
    }

    fn write_zone(&self, folder: &Path, zone: usize, serial: u32) {
        let (a, b, c) = (zone >> 16 & 255, zone >> 8 & 255, zone & 255);
        let text = format!(
            "$TTL 3600\n@ SOA ns1.dns{d}.example. hostmaster.dns{d}.example. {serial} 7200 900 1209600 300\n\
             @ NS ns1.dns{d}.example.\n@ NS ns2.dns{d}.example.\n@ A 10.{a}.{b}.{c}\n@ MX 10 mail\n\
             @ TXT \"v=spf1 mx -all\"\nwww A 10.{a}.{b}.{c}\nwww AAAA 2001:db8:{a:x}::{b:x}:{c:x}\n\
             api A 10.{a}.{b}.{c}\nmail A 10.{a}.{b}.{c}\n",
            d = zone % 10,
        );
        write(&folder.join(format!("zones/zone{zone}.example.zone")), &text);
    }
}

fn server_section() -> String {
    "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"off\"\n[reload]\nsettle = \"100ms\"\n".to_owned()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the temporary folder takes files");
}
