//! Writes small MaxMind DB files for tests: 24-bit records, every value written out where it is used.
//! The format: <https://maxmind.github.io/MaxMind-DB/>.

use std::net::Ipv6Addr;

use ipnet::IpNet;

/// A value of the data section.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Map(Vec<(&'static str, Value)>),
    Array(Vec<Value>),
    Text(String),
    Double(f64),
    Float(f32),
    U16(u16),
    U32(u32),
    U64(u64),
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A City record of MaxMind's nested schema.
pub(crate) fn city(country: &str, latitude: f64, longitude: f64) -> Value {
    let location = vec![("latitude", Value::Double(latitude)), ("longitude", Value::Double(longitude))];
    Value::Map(vec![("country", Value::Map(vec![("iso_code", text(country))])), ("location", Value::Map(location))])
}

/// A Country record of MaxMind's nested schema.
pub(crate) fn country(country: &str) -> Value {
    Value::Map(vec![("country", Value::Map(vec![("iso_code", text(country))]))])
}

/// An ASN record, the same in both schemas.
pub(crate) fn asn(number: u32) -> Value {
    Value::Map(vec![("autonomous_system_number", Value::U32(number))])
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

/// A file in the making.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) database_type: &'static str,
    pub(crate) description: bool,
    ipv6: bool,
    nodes: Vec<[Slot; 2]>,
    data: Vec<u8>,
}

impl Writer {
    /// An empty tree of one family, or of both if `ipv6`.
    pub(crate) fn new(database_type: &'static str, ipv6: bool) -> Self {
        let nodes = vec![[Slot::Empty; 2]];
        Self { database_type, description: true, ipv6, nodes, data: Vec::new() }
    }

    /// Puts a record at a prefix; narrower prefixes come after those around them.
    pub(crate) fn put(mut self, net: &str, value: &Value) -> Self {
        let offset = self.data.len();
        encode(value, &mut self.data);
        self.set(net.parse().unwrap(), Slot::Data(offset));
        self
    }

    /// Lets an IPv6 prefix share the whole IPv4 tree, as databases do with ::ffff:0:0/96.
    pub(crate) fn graft(mut self, net: &str) -> Self {
        let mut at = 0;
        for _ in 0..96 {
            let Slot::Node(next) = self.nodes[at][0] else { panic!("put IPv4 networks first") };
            at = next;
        }
        self.set(net.parse().unwrap(), Slot::Node(at));
        self
    }

    fn set(&mut self, net: IpNet, slot: Slot) {
        let (bits, length) = match net {
            IpNet::V4(v4) if !self.ipv6 => (u128::from(u32::from(v4.network())) << 96, v4.prefix_len()),
            IpNet::V4(v4) => (u32::from(v4.network()).into(), 96 + v4.prefix_len()),
            IpNet::V6(v6) => (u128::from(v6.network()), v6.prefix_len()),
        };
        let bit = |depth: u8| (bits >> (127 - depth) & 1) as usize;
        let mut at = 0;
        for depth in 0..length - 1 {
            at = match self.nodes[at][bit(depth)] {
                Slot::Node(next) => next,
                leaf => {
                    self.nodes.push([leaf; 2]);
                    self.nodes[at][bit(depth)] = Slot::Node(self.nodes.len() - 1);
                    self.nodes.len() - 1
                }
            };
        }
        self.nodes[at][bit(length - 1)] = slot;
    }

    /// The file.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let mut bytes = Vec::new();
        for slot in self.nodes.iter().flatten() {
            let record = match slot {
                Slot::Empty => count,
                Slot::Node(node) => *node,
                Slot::Data(offset) => count + 16 + offset,
            };
            bytes.extend_from_slice(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&self.data);
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let description = if self.description { vec![("en", text("A test"))] } else { Vec::new() };
        let metadata = Value::Map(vec![
            ("binary_format_major_version", Value::U16(2)),
            ("binary_format_minor_version", Value::U16(0)),
            ("build_epoch", Value::U64(1_780_666_996)),
            ("database_type", text(self.database_type)),
            ("description", Value::Map(description)),
            ("ip_version", Value::U16(if self.ipv6 { 6 } else { 4 })),
            ("languages", Value::Array(Vec::new())),
            ("node_count", Value::U32(u32::try_from(count).unwrap())),
            ("record_size", Value::U16(24)),
        ]);
        encode(&metadata, &mut bytes);
        bytes
    }
}

fn encode(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Map(entries) => {
            control(7, entries.len(), bytes);
            for (key, value) in entries {
                encode(&text(key), bytes);
                encode(value, bytes);
            }
        }
        Value::Array(values) => {
            control(11, values.len(), bytes);
            values.iter().for_each(|value| encode(value, bytes));
        }
        Value::Text(text) => payload(2, text.as_bytes(), bytes),
        Value::Double(number) => payload(3, &number.to_be_bytes(), bytes),
        Value::Float(number) => payload(15, &number.to_be_bytes(), bytes),
        Value::U16(number) => payload(5, &number.to_be_bytes(), bytes),
        Value::U32(number) => payload(6, &number.to_be_bytes(), bytes),
        Value::U64(number) => payload(9, &number.to_be_bytes(), bytes),
    }
}

fn payload(kind: u8, payload: &[u8], bytes: &mut Vec<u8>) {
    control(kind, payload.len(), bytes);
    bytes.extend_from_slice(payload);
}

/// Types above 7 are written as 0 with the rest in an octet of its own; sizes above 28 likewise.
fn control(kind: u8, size: usize, bytes: &mut Vec<u8>) {
    let (short, extended) = if kind > 7 { (0, Some(kind - 7)) } else { (kind, None) };
    assert!(size < 29 + 256, "tests need no longer values");
    bytes.push(short << 5 | size.min(29) as u8);
    bytes.extend(extended);
    bytes.extend((size >= 29).then(|| (size - 29) as u8));
}

#[test]
fn the_reader_reads_what_is_written() {
    let long = "x".repeat(200);
    let value = Value::Map(vec![("name", text(&long)), ("half", Value::Float(0.5)), ("list", Value::Array(vec![]))]);
    let file = Writer::new("Test", true).put("192.0.2.0/24", &value).graft("::ffff:0:0/96").finish();
    let reader = maxminddb::Reader::from_source(file).unwrap();
    reader.verify().unwrap();
    for address in ["192.0.2.9", "::ffff:192.0.2.9", "::192.0.2.9"] {
        let found = reader.lookup(address.parse().unwrap()).unwrap();
        let read: serde_json::Value = found.decode().unwrap().unwrap();
        assert_eq!(read, serde_json::json!({ "name": long, "half": 0.5, "list": [] }));
    }
    assert!(!reader.lookup(Ipv6Addr::LOCALHOST.into()).unwrap().has_data());
}
