//! Any sequence of verdicts and edits: after each, both paths of an answer say what a snapshot says that
//! was made from scratch. Two octets an operation, up to twelve operations.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use meridian::answer::{Asker, Batches, Transport, respond, with_hot};
use meridian::control::{Loaded, load};
use meridian::model::{EndpointId, Problem, State};
use meridian::table::{Before, Cells, Counters, Snapshot, Standing};
use meridian::wire::{Batch, LONGEST};

use super::world;

const MOST: usize = 12;
const STATES: [State; 5] = [State::Up, State::Down, State::Unknown, State::Degraded, State::Damped];
const NAMES: [&[u8]; 9] = [
    b"\x01w\x01a\0",
    b"\x01x\x01s\x01a\0",
    b"\x01v\x01a\0",
    b"\x01c\x01a\0",
    b"\x01y\x01d\x01a\0",
    b"\x01q\x01z\x01a\0",
    b"\x01t\x01a\0",
    b"\x02no\x01a\0",
    b"\x01a\0",
];

/// What the files are: variants of each, the last one broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Variant {
    config: u8,
    zone: u8,
}

const CONFIGS: u8 = 5;
const ZONES: u8 = 4;

impl Variant {
    fn load(self, before: Option<&Loaded>) -> Result<Loaded, Vec<Problem>> {
        let config = match self.config {
            0 => world::CONFIG.to_owned(),
            1 => world::CONFIG.replace("192.0.2.2\"", "192.0.2.22\""),
            2 => world::CONFIG.replace("multivalue = 3", "multivalue = 2").replace("10.1.2.0/27", "10.1.0.0/16"),
            3 => world::CONFIG.replace("name = \"*.s.a\"", "name = \"t.a\""),
            _ => world::CONFIG.replace("endpoints = [\"*\"]", "endpoints = [\"nobody\"]"),
        };
        let zone = match self.zone {
            0 => world::ZONE.to_owned(),
            1 => world::ZONE.replace("60 TXT t", "61 TXT u") + "more 60 AAAA 2001:db8::9\n",
            2 => world::ZONE.replace("c 60 CNAME w", "c 60 CNAME v"),
            _ => world::ZONE.to_owned() + "w 60 CNAME n\n",
        };
        load(&mut world::files(&config, &zone), Path::new("config.toml"), before)
    }
}

/// A server without its sockets.
struct World {
    variant: Variant,
    states: [State; 3],
    loaded: Loaded,
    snapshot: Snapshot,
    counters: Counters,
}

/// By what they were made of.
type Scratch = HashMap<(Variant, [State; 3]), Rc<Snapshot>>;

static CELLS: LazyLock<Cells> = LazyLock::new(Cells::default);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static WORKER: RefCell<(Batch, Batches)> = RefCell::new((Batch::default(), Batches::new(0)));
}

impl World {
    fn new(variant: Variant, states: [State; 3]) -> Self {
        let loaded = variant.load(None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut counters = Counters::default();
        let snapshot = compiled(&loaded, states, &mut counters, None);
        Self { variant, states, loaded, snapshot, counters }
    }

    /// As the control plane takes in an edit: parts that did not change are used again. A set that does not
    /// pass changes nothing.
    fn edit(&mut self, variant: Variant) {
        let broken = variant.config == CONFIGS - 1 || variant.zone == ZONES - 1;
        let loaded = variant.load(Some(&self.loaded));
        assert_eq!(loaded.is_err(), broken);
        let Ok(loaded) = loaded else { return };
        let mut counters = self.counters.clone();
        let before = Before { snapshot: &self.snapshot, count: &|id| CELLS.read(id) };
        self.snapshot = compiled(&loaded, self.states, &mut counters, Some(before));
        (self.variant, self.loaded, self.counters) = (variant, loaded, counters);
    }

    fn take(&mut self, endpoint: usize, state: State) {
        self.states[endpoint] = state;
        let standing = Standing::all(&self.loaded.parts.config.endpoints[endpoint], state);
        self.snapshot = self.snapshot.with_standings(vec![(EndpointId::at(endpoint), standing)], Default::default());
    }

    /// Asks for everything, of here and there.
    fn answers_as(&self, scratch: &Snapshot) {
        for name in NAMES {
            for rtype in [1, 28, 16] {
                for address in [Ipv4Addr::new(192, 0, 2, 77), Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(203, 0, 113, 9)]
                {
                    self.answers_one_as(scratch, &query(name, rtype), address.into());
                }
            }
        }
    }

    fn answers_one_as(&self, scratch: &Snapshot, query: &[u8], address: IpAddr) {
        let asker = Asker { address, transport: Transport::Datagram, random: 0, now: 0 };
        let reply = |snapshot: &Snapshot| {
            let mut out = vec![0; LONGEST];
            let length = respond(snapshot, &CELLS, asker, query, &mut out);
            out.truncate(length);
            out
        };
        let expected = reply(scratch);
        assert_eq!(reply(&self.snapshot), expected, "{query:x?} from {address}");
        WORKER.with_borrow_mut(|(batch, batches)| {
            batch.slots[0][..query.len()].copy_from_slice(query);
            (batch.count, batch.begun, batch.lengths[0]) = (1, 0, query.len() as u16);
            batch.clients[0] = SocketAddr::new(address, 53);
            batches.now += 1_000_000; // within a second, errors would be over their limit
            batches.respond(&self.snapshot, &CELLS, batch);
            assert_eq!(&batch.slots[0][..batch.lengths[0].into()], expected, "{query:x?} from {address}");
        });
    }
}

fn compiled(loaded: &Loaded, states: [State; 3], counters: &mut Counters, before: Option<Before<'_>>) -> Snapshot {
    let endpoints = loaded.parts.config.endpoints.iter().zip(states);
    let standings = endpoints.map(|(endpoint, state)| Standing::all(endpoint, state)).collect();
    let compiled = Snapshot::compile(loaded.parts.clone(), standings, counters, before, Default::default());
    with_hot(compiled.unwrap_or_else(|problems| panic!("{problems:?}"))).steering()
}

/// What a server started now would serve; made once each.
fn from_scratch(variant: Variant, states: [State; 3]) -> Rc<Snapshot> {
    SCRATCH.with_borrow_mut(|known| {
        let made = || Rc::new(World::new(variant, states).snapshot);
        known.entry((variant, states)).or_insert_with(made).clone()
    })
}

fn query(name: &[u8], rtype: u16) -> Vec<u8> {
    [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &rtype.to_be_bytes(), &[0, 1]].concat()
}

/// Does what it says.
pub(crate) fn run(input: &[u8]) {
    let start = Variant { config: 0, zone: 0 };
    let mut world = World::new(start, [State::Up; 3]);
    for operation in input.chunks_exact(2).take(MOST) {
        let (what, how) = (operation[0] % 4, operation[1]);
        match what {
            0 | 1 => world.take(usize::from(how % 3), STATES[usize::from(how / 3 % 4)]),
            2 => world.edit(Variant { config: how % CONFIGS, ..world.variant }),
            _ => world.edit(Variant { zone: how % ZONES, ..world.variant }),
        }
        world.answers_as(&from_scratch(world.variant, world.states));
    }
}
