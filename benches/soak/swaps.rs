//! What is published while the soak asks: a generation every ten milliseconds, which is in every A,
//! AAAA and TXT record of the name, and now and then a reloaded set.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use meridian::answer::with_hot;
use meridian::control::{DiskFiles, Freeing, Loaded, Shared, load, reload, run_soon};
use meridian::model::{EndpointId, State};
use meridian::table::{Snapshot, Standing};

use crate::world::{Folder, in_memory};

/// From one swap to the next.
const EVERY: Duration = Duration::from_millis(10);
/// An answer may be as old as what was replaced this long before the query was sent.
const GRACE: Duration = Duration::from_millis(5);

/// The generations, and when each was acknowledged: when its publication had returned.
pub(crate) struct Generations {
    origin: Instant,
    /// The newest that may show.
    begun: AtomicU64,
    /// Microseconds from `origin`, from 1 on; index: the generation.
    acknowledged: Vec<AtomicU64>,
}

impl Generations {
    pub(crate) fn new(length: Duration) -> Arc<Self> {
        let most = (length.as_millis() / EVERY.as_millis()) as usize * 2 + 10_000;
        let acknowledged = (0..most).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { origin: Instant::now(), begun: AtomicU64::new(0), acknowledged })
    }

    /// What is wrong about a reply of this generation to a query sent then.
    pub(crate) fn complaint(&self, shown: u64, sent: Instant) -> Option<String> {
        let begun = self.begun.load(Ordering::SeqCst);
        if shown == 0 || shown > begun {
            return Some(format!("generation {shown}, but {begun} is the newest"));
        }
        let next = self.acknowledged[shown as usize + 1].load(Ordering::SeqCst);
        let sent = sent.duration_since(self.origin);
        let too_old = next != 0 && Duration::from_micros(next) + GRACE < sent;
        too_old
            .then(|| format!("generation {shown}, replaced {:?} before the query", sent - Duration::from_micros(next)))
    }

    fn acknowledge(&self, generation: u64) {
        let micros = self.origin.elapsed().as_micros() as u64;
        self.acknowledged[generation as usize].store(micros.max(1), Ordering::SeqCst);
    }

    pub(crate) fn made(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

/// A reloaded set, to be published with the next generation.
pub(crate) struct Reloaded {
    edition: u32,
    snapshot: Snapshot,
    began: Instant,
}

/// Publishes one generation after the other.
pub(crate) struct Swapper {
    shared: Arc<Shared>,
    generations: Arc<Generations>,
    freeing: Freeing<Snapshot>,
    reloaded: Receiver<Reloaded>,
    edition: u32,
    /// How long the reloads took that are published.
    pub(crate) reloads: Arc<Mutex<Vec<Duration>>>,
    zones: Loaded,
}

impl Swapper {
    pub(crate) fn new(shared: Arc<Shared>, generations: Arc<Generations>, reloaded: Receiver<Reloaded>) -> Self {
        let zones = load(&mut in_memory(0, 0), Path::new("config.toml"), None).unwrap();
        let (freeing, reloads) = (Freeing::start(), Arc::default());
        Self { shared, generations, freeing, reloaded, edition: 0, reloads, zones }
    }

    /// Publishes the next generation.
    pub(crate) fn swap(&mut self) {
        let generation = self.generations.made() + 1;
        let (base, began) = match self.reloaded.try_recv() {
            Ok(Reloaded { edition, snapshot, began }) => {
                self.edition = edition;
                (Arc::new(snapshot.steering()), Some(began))
            }
            Err(_) => (self.shared.published.load_full(), None),
        };
        self.zones =
            load(&mut in_memory(self.edition, generation), Path::new("config.toml"), Some(&self.zones)).unwrap();
        let standings = (0..3).map(|index| (EndpointId::at(index), standing(index, generation)));
        let mut next = base.with_standings(standings.collect(), jiff::Timestamp::UNIX_EPOCH);
        next.parts.zones = self.zones.parts.zones.clone();
        let mut next = with_hot(next); // the names that are answered at once are copies of the zones'
        next.generation = generation;
        next.steering = true;
        self.generations.begun.store(generation, Ordering::SeqCst);
        let before = self.shared.published.publish(next);
        self.generations.acknowledge(generation);
        self.reloads.lock().unwrap().extend(began.map(|began| began.elapsed()));
        self.freeing.retire(before);
        self.freeing.free(base);
    }

    /// Swaps until told to stop; how many, how many a second, and the latest that one has been.
    pub(crate) fn run(&mut self, stop: &AtomicBool) -> (u64, f64, Duration) {
        let (start, before) = (Instant::now(), self.generations.made());
        let (mut due, mut latest) = (start, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            self.swap();
            due += EVERY;
            let now = Instant::now();
            latest = latest.max(now.saturating_duration_since(due));
            thread::sleep(due.saturating_duration_since(now));
        }
        let swaps = self.generations.made() - before;
        (swaps, swaps as f64 / start.elapsed().as_secs_f64(), latest)
    }
}

/// An endpoint in this generation: two addresses of each family, all of which write it. One of the
/// three is always down.
fn standing(index: usize, generation: u64) -> Standing {
    let state = if generation as usize % 3 == index { State::Down } else { State::Up };
    let [_, a, b, c] = (generation as u32).to_be_bytes();
    let v4 = |first| ([first, a, b, c].into(), state);
    let v6 = |third| {
        let [high, low] = [(generation >> 16) as u16, generation as u16];
        ([0x2001, 0xdb8, third, 0, 0, 0, high, low].into(), state)
    };
    Standing::of(vec![v4(10), v4(11), v6(0), v6(1)])
}

/// Edits files and reloads them, as an operator and control would.
pub(crate) struct Reloader {
    folder: Arc<Folder>,
    shared: Arc<Shared>,
    reloaded: Sender<Reloaded>,
    count: u32,
    before: Arc<Loaded>,
    freeing: Freeing<Loaded>,
}

impl Reloader {
    /// Reads the set and writes the databases, so that this takes no time of what is measured.
    pub(crate) fn new(folder: Arc<Folder>, shared: Arc<Shared>, reloaded: Sender<Reloaded>, count: u32) -> Self {
        let before = load(&mut DiskFiles::default(), &folder.path("config.toml"), None).unwrap();
        Self::with_databases(count).for_each(|edition| folder.prepare_database(edition as u8));
        Self { folder, shared, reloaded, count, before: Arc::new(before), freeing: Freeing::start() }
    }

    /// The editions that come with another database.
    fn with_databases(count: u32) -> impl Iterator<Item = u32> {
        [count / 3, count * 2 / 3].into_iter().filter(|&edition| edition > 0)
    }

    /// The reloads, one at each of equal steps, begun as soon as the one before allows. A step before the first
    /// and two behind the last are free.
    pub(crate) async fn run(mut self, length: Duration) {
        let (config, start): (PathBuf, _) = (self.folder.path("config.toml"), Instant::now());
        for edition in 1..=self.count {
            tokio::time::sleep_until((start + length * edition / (self.count + 2)).into()).await;
            self.folder.write_edition(edition);
            if Self::with_databases(self.count).any(|with| with == edition) {
                self.folder.take_database(edition as u8);
            }
            let began = Instant::now();
            let (config, last, shared) = (config.clone(), self.before.clone(), self.shared.clone());
            let (loaded, snapshot) = run_soon(move || reload(&config, &last, &shared)).await.unwrap().unwrap();
            self.freeing.retire(std::mem::replace(&mut self.before, Arc::new(loaded)));
            if self.reloaded.send(Reloaded { edition, snapshot, began }).is_err() {
                return; // the soak is over
            }
        }
    }
}
