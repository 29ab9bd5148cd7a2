//! A small world: eight endpoints, a database with a few prefixes.

use std::sync::LazyLock;

use crate::dns::{Ask, Files, Reply, World, files, lines};
use crate::mmdb::{Value, Writer, asn, city, country, text};

/// Name, cloud, region; the n-th has the addresses 198.51.100.n and 2001:db8::n.
const ENDPOINTS: [(&str, &str, &str); 8] = [
    ("ams", "azure", "westeurope"),
    ("fra", "gcp", "europe-west3"),
    ("dub", "aws", "eu-west-1"),
    ("lon", "aws", "eu-west-2"),
    ("iad", "aws", "us-east-1"),
    ("sea", "gcp", "us-west1"),
    ("sin", "azure", "southeastasia"),
    ("syd", "gcp", "australia-southeast1"),
];

const ZONE: &str = "
$TTL 3600
@       SOA     ns1 hostmaster 7 7200 900 1209600 300
        NS      ns1
ns1     A       192.0.2.53
static  A       192.0.2.80
shop    CNAME   www
far     CNAME   acme.store
old     DNAME   new
a.new   CNAME   shop
";

/// Clients of each prefix are there; nothing is known of any other.
pub(crate) const GERMANY: &str = "30.1.0.0/16";
pub(crate) const FRANCE: &str = "30.2.0.0/16";
pub(crate) const BRITAIN: &str = "30.3.0.0/16";
pub(crate) const VIRGINIA: &str = "20.1.0.0/16";
pub(crate) const SEATTLE: &str = "20.2.0.0/16";
pub(crate) const SINGAPORE: &str = "40.1.0.0/16";
pub(crate) const SYDNEY: &str = "40.2.0.0/16";
/// A country without a point.
pub(crate) const EMIRATES: &str = "70.1.0.0/16";
/// Half German, half British.
pub(crate) const HALF_GERMAN: &str = "50.1.0.0/24";
/// Half American; of the upper half only the holder is known.
pub(crate) const HALF_KNOWN: &str = "60.1.0.0/24";
pub(crate) const GERMANY_V6: &str = "2a00:1::/32";
pub(crate) const VIRGINIA_V6: &str = "2600:1::/32";
/// The part of `GERMANY` that AS64496 has.
pub(crate) const AS_IN_GERMANY: &str = "30.1.128.0/17";

fn in_state(country: &str, state: &str, latitude: f64, longitude: f64) -> Value {
    let Value::Map(mut fields) = city(country, latitude, longitude) else { unreachable!() };
    fields.push(("subdivisions", Value::Array(vec![Value::Map(vec![("iso_code", text(state))])])));
    Value::Map(fields)
}

static CITIES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (berlin, london, virginia) = (city("DE", 50.1, 8.7), city("GB", 51.5, -0.1), in_state("US", "VA", 39.0, -77.5));
    let registered = Value::Map(vec![("registered_country", Value::Map(vec![("iso_code", text("US"))]))]);
    Writer::new("GeoLite2-City", true)
        .put(VIRGINIA, &virginia)
        .put(SEATTLE, &in_state("US", "WA", 47.6, -122.3))
        .put(GERMANY, &berlin)
        .put(FRANCE, &city("FR", 48.9, 2.4))
        .put(BRITAIN, &london)
        .put(SINGAPORE, &city("SG", 1.35, 103.8))
        .put(SYDNEY, &city("AU", -33.9, 151.2))
        .put(EMIRATES, &country("AE"))
        .put("50.1.0.0/25", &berlin)
        .put("50.1.0.128/25", &london)
        .put("60.1.0.0/25", &virginia)
        .put("60.1.0.128/25", &registered)
        .put(GERMANY_V6, &berlin)
        .put(VIRGINIA_V6, &virginia)
        .finish()
});

static NETWORKS: LazyLock<Vec<u8>> =
    LazyLock::new(|| Writer::new("GeoLite2-ASN", true).put(AS_IN_GERMANY, &asn(64496)).finish());

/// The files of the world with these `[[services]]`, sets and the like; `keys` are added to endpoints by
/// name.
pub(crate) fn world_files(services: &str, keys: &[(&str, &str)]) -> Files {
    let mut config = "defaults.panic_below = 0.0\ngeoip.databases = [\"city.mmdb\", \"asn.mmdb\"]\n".to_owned();
    config.push_str("[[zones]]\nname = \"shop.example\"\nfile = \"shop.zone\"\n");
    for (number, (name, cloud, region)) in (1..).zip(ENDPOINTS) {
        let keys: Vec<&str> = keys.iter().filter(|(of, _)| *of == name).map(|(_, keys)| *keys).collect();
        let fixed = format!("addresses = [\"198.51.100.{number}\", \"2001:db8::{number}\"]");
        let addresses = if keys.iter().any(|keys| keys.contains("addresses") || keys.contains("hostname")) {
            String::new()
        } else {
            fixed
        };
        config.push_str(&format!(
            "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\n{addresses}\n{}\n",
            keys.join("\n")
        ));
    }
    config.push_str(&lines(services));
    files([
        ("config.toml", config.as_bytes()),
        ("shop.zone", ZONE.as_bytes()),
        ("city.mmdb", &CITIES),
        ("asn.mmdb", &NETWORKS),
    ])
}

pub(crate) fn world(services: &str) -> World {
    World::new(world_files(services, &[]))
}

pub(crate) fn world_with(services: &str, keys: &[(&str, &str)]) -> World {
    World::new(world_files(services, keys))
}

/// A world whose one service, www.shop.example over all endpoints, has these keys.
pub(crate) fn www(keys: &str) -> World {
    www_with(keys, &[])
}

pub(crate) fn www_with(keys: &str, endpoint_keys: &[(&str, &str)]) -> World {
    world_with(&www_service(keys), endpoint_keys)
}

fn www_service(keys: &str) -> String {
    let endpoints = if keys.contains("endpoints = [\"") && !keys.contains("{") { "" } else { "endpoints = [\"*\"]" };
    format!("[[services]]\nname = \"www.shop.example\"\n{endpoints}\n{}", lines(keys))
}

pub(crate) fn ask(world: &World, rtype: &str, prefix: &str) -> Reply {
    world.ask(&Ask::new("www.shop.example", rtype).subnet(prefix))
}

/// The endpoints that clients of this prefix get by A; the same by AAAA.
pub(crate) fn who(world: &World, prefix: &str) -> Vec<String> {
    let names = world.who(&ask(world, "A", prefix));
    assert_eq!(names, world.who(&ask(world, "AAAA", prefix)), "one choice serves both");
    names
}
