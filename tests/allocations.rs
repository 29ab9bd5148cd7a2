//! An answer allocates nothing, whichever path gives it.
//!
//! The one test of its file: the allocator counts what this thread asks for.
#![allow(missing_docs)]
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;

use meridian::answer::Batches;
use meridian::control::{DiskFiles, trial};
use meridian::table::{Cells, Published};
use meridian::wire::{BATCH, Batch};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it came to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the trait's contract, and so does this.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps the trait's contract, and so does this.
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Names of every outcome: steered, by alias, by wildcard, static, no data, no name, not ours.
const NAMES: [&str; 8] = [
    "www.shop.example",
    "shop.shop.example",
    "x.store.shop.example",
    "ns1.shop.example",
    "shop.example",
    "no.shop.example",
    "ns1.warehouse.shop.example",
    "elsewhere.example",
];

fn query(name: &str, rtype: u8, seed: u8) -> Vec<u8> {
    let mut packet = vec![0, seed, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.extend([0, 0, rtype, 0, 1]);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, seed, seed, 7]);
    packet
}

#[test]
fn answers_allocate_nothing() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    let (_, snapshot) = trial(&mut DiskFiles::default(), &shipped).expect("the shipped configuration is good");
    let published = Published::new(snapshot.steering());
    let (cells, mut batches, mut batch) = (Cells::default(), Batches::new(1), Batch::default());
    let queries: Vec<Vec<u8>> = (0..=255)
        .flat_map(|seed| NAMES.iter().flat_map(move |name| [1, 28, 6, 65].map(|rtype| query(name, rtype, seed))))
        .chain([vec![], vec![7; 11], vec![0; 12], vec![0xff; 600]])
        .collect();
    // Answers all, this long after each other by the batch; how many there are replies to.
    let mut ask_all = |microseconds| {
        let mut answered = 0;
        for queries in queries.chunks(BATCH) {
            (batch.count, batch.begun) = (queries.len(), 0);
            for (index, query) in queries.iter().enumerate() {
                batch.slots[index][..query.len()].copy_from_slice(query);
                batch.lengths[index] = query.len() as u16;
                batch.clients[index] = SocketAddr::from(([192, 0, 2, index as u8], 53));
            }
            batches.now += microseconds;
            batches.respond(&published.load(), &cells, &mut batch);
            answered += batch.lengths[..batch.count].iter().filter(|&&length| length > 0).count();
        }
        answered
    };
    ask_all(1_000_000); // what a thread makes once
    let before = COUNT.get();
    let answered = ask_all(1_000_000);
    assert_eq!(COUNT.get() - before, 0, "allocations and frees over {} queries", queries.len());
    assert_eq!(answered, queries.len() - 3, "all but an empty one, a short one and a response");
    let before = COUNT.get();
    let answered = ask_all(0);
    assert_eq!(COUNT.get() - before, 0, "allocations and frees in limiting");
    assert!(answered < queries.len() - 3, "some are over a limit within no time");
    let before = COUNT.get();
    drop(std::hint::black_box(vec![1]));
    assert_eq!(COUNT.get() - before, 2, "it counts");
}
