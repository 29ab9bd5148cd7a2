//! Any datagram: the batched path, compiled for any processor and for this one, says what `respond`
//! says, under three standings of the endpoints.
//!
//! The first octet of the input chooses the standings and where the query comes from; the rest is the
//! datagram. Places come from `cidr:` names, so no database is read.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use meridian::answer::{Asker, Batches, Transport, respond};
use meridian::model::{EndpointId, State};
use meridian::table::{Cells, Snapshot, Standing};
use meridian::wire::{Batch, LONGEST};

use super::world;

static SNAPSHOTS: LazyLock<[Snapshot; 3]> = LazyLock::new(|| {
    let snapshot = world::snapshot();
    let endpoints = snapshot.parts.config.endpoints.clone();
    let down = |id: usize| (EndpointId::at(id), Standing::all(&endpoints[id], State::Down));
    [
        snapshot.clone(),
        snapshot.steering(),
        snapshot.steering().with_standings(vec![down(0), down(1)], Default::default()),
    ]
});

/// What is counted is not looked at here; one for all, since a new one is eight megabytes of zeros.
static CELLS: LazyLock<Cells> = LazyLock::new(Cells::default);

thread_local! {
    static WORKER: RefCell<(Batch, Batches)> = RefCell::new((Batch::default(), Batches::new(0)));
}

/// Asks it.
pub(crate) fn run(input: &[u8]) {
    let Some((&choice, query)) = input.split_first() else { return };
    if query.len() > LONGEST {
        return;
    }
    let snapshot = &SNAPSHOTS[usize::from(choice) % 3];
    let [a, b] = [choice, query.len() as u8];
    let address = match choice >> 2 & 3 {
        0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(a) << 8, 0, 0, 0, 0, b.into())),
        1 => IpAddr::V6(Ipv4Addr::new(10, 1, 2, a).to_ipv6_mapped()),
        _ => IpAddr::V4(Ipv4Addr::new(a, 1, 2, b)),
    };
    let mut expected = [0; LONGEST];
    let asker = Asker { address, transport: Transport::Datagram, random: 0, now: 0 };
    WORKER.with_borrow_mut(|(batch, batches)| {
        for answer in [Batches::respond, Batches::respond_plain] {
            batch.slots[0].fill(a);
            batch.slots[0][..query.len()].copy_from_slice(query);
            (batch.count, batch.begun, batch.lengths[0]) = (1, 0, query.len() as u16);
            batch.clients[0] = SocketAddr::new(address, 53);
            batches.now += 1_000_000; // within a second, errors would be over their limit
            let now = (batches.now / 1_000_000) as u32;
            let length = respond(snapshot, &CELLS, Asker { now, ..asker }, query, &mut expected);
            answer(batches, snapshot, &CELLS, batch);
            assert_eq!(&batch.slots[0][..batch.lengths[0].into()], &expected[..length]);
        }
    });
}
