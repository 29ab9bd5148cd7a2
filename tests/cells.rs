//! Counters take memory where they count: a worker has room for a million, most of it never touched.

use std::fs;

use meridian::model::CounterId;
use meridian::table::Cells;

#[test]
fn cells_that_never_counted_take_no_memory() {
    let resident = || {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let workers: Vec<Cells> = (0..64).map(|_| Cells::default()).collect();
    workers.iter().for_each(|cells| (0..1000).for_each(|id| cells.count(CounterId(id))));
    let each = resident().saturating_sub(before) / workers.len();
    assert!(each < 256 << 10, "{each} octets a worker");
    assert!(workers.iter().all(|cells| cells.read(CounterId(7)) == 1 && cells.read(CounterId(1 << 19)) == 0));
}
