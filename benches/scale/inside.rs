//! What is measured in this process: reading a configuration, a verdict until its snapshot is ready
//! to publish, a look-up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use meridian::answer::{Asker, Transport, respond};
use meridian::control::{DiskFiles, trial};
use meridian::model::{EndpointId, Name, State};
use meridian::table::{Cells, Snapshot, Standing};

use crate::figures::Figure;
use crate::generate::{Draw, Static, Steered};
use crate::server::{Folder, query};

/// Reading `config.toml` alone.
pub(crate) fn config(set: &Steered) -> Vec<Figure> {
    let folder = Folder::new("config");
    set.write(folder.path());
    let path = folder.path().join("config.toml");
    let read = || meridian::config::read(&mut DiskFiles::default(), &path).expect("the set is good");
    let before = resident();
    let used = processor_time();
    let loaded = read();
    let first = processor_time() - used;
    let held = resident() - before;
    let again = (0..3).map(|_| {
        let used = processor_time();
        drop(read());
        processor_time() - used
    });
    let again = again.min().unwrap_or_default();
    black_box(&loaded);
    vec![
        Figure::seconds("reading, first, processor s", "1.5", first),
        Figure::seconds("reading, best of three, processor s", "1.5", again),
        Figure::mb("resident for it afterwards, MB", "", held),
    ]
}

/// From a verdict to the snapshot that is published.
pub(crate) fn verdicts(config: &Path) -> Vec<Figure> {
    eprintln!("scale: compiling in this process");
    let (_, snapshot) = trial(&mut DiskFiles::default(), config).expect("the set is good");
    let snapshot = snapshot.steering();
    let (endpoints, mut draw) = (&snapshot.parts.config.endpoints, Draw(3));
    let down = |index: usize| (EndpointId::at(index), Standing::all(&endpoints[index], State::Down));
    let mut one: Vec<Duration> = (0..200)
        .map(|_| {
            timed(|| snapshot.with_standings(vec![down(draw.below(endpoints.len()))], jiff::Timestamp::UNIX_EPOCH))
        })
        .collect();
    one.sort_unstable();
    let cloud: Vec<usize> =
        (0..endpoints.len()).filter(|&index| endpoints[index].site.cloud.as_str() == "aws").collect();
    let mut whole: Vec<Duration> = (0..9)
        .map(|_| {
            timed(|| {
                snapshot.with_standings(cloud.iter().map(|&index| down(index)).collect(), jiff::Timestamp::UNIX_EPOCH)
            })
        })
        .collect();
    whole.sort_unstable();
    vec![
        Figure::ms("one verdict, median of 200, ms", "5", one[100]),
        Figure::ms("one verdict, longest of 200, ms", "5", one[199]),
        Figure::ms("a cloud's verdicts, median of 9, ms", "50", whole[4]),
    ]
}

/// Finding the records of random names, and whole answers.
pub(crate) fn lookups(config: &Path, set: &Static) -> Vec<Figure> {
    const ASKED: usize = 1 << 20;
    eprintln!("scale: compiling in this process");
    let (_, snapshot) = trial(&mut DiskFiles::default(), config).expect("the set is good");
    let mut draw = Draw(5);
    let names: Vec<String> = (0..ASKED).map(|_| set.name(draw.below(set.zones()), draw.below(4))).collect();
    let wires: Vec<Name> = names.iter().map(|name| name.parse().expect("it is a name")).collect();
    let find = |name: &Name| {
        let (_, zone) = snapshot.parts.zones.find_zone(name.as_wire()).expect("it is ours");
        black_box(zone.find(name.as_wire(), 1));
    };
    let found = (0..3).map(|_| timed(|| wires.iter().for_each(find))).min().unwrap_or_default();
    let queries: Vec<Vec<u8>> = names.iter().map(|name| query(name)).collect();
    let answered = (0..3).map(|_| timed(|| answer_all(&snapshot, &queries))).min().unwrap_or_default();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / ASKED as f64;
    vec![
        Figure::new("finding a random name, ns", "250", each(found)),
        Figure::new("a whole answer in process, ns", "", each(answered)),
    ]
}

fn answer_all(snapshot: &Snapshot, queries: &[Vec<u8>]) {
    let (cells, mut out) = (Cells::default(), vec![0; 4096]);
    let asker = Asker { address: IpAddr::V4(Ipv4Addr::LOCALHOST), transport: Transport::Datagram, random: 0, now: 0 };
    for query in queries {
        assert!(respond(snapshot, &cells, asker, query, &mut out) > query.len());
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    let made = run();
    let took = begun.elapsed();
    drop(made); // freeing is not on the way
    took
}

/// What this thread has used: other programs do not disturb it. Good to some milliseconds.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says so");
    let ns = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(ns.expect("Linux says so"))
}

/// Octets of memory that this process holds.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages = text.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok());
    pages.expect("Linux says so") * 4096
}
