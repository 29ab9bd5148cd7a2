//! What is measured: sessions wait here until the idle lane takes them in, and what they come to is published as an edit is.
//!
//! ```text
//! beacons, `meridian latency import` ──offer──▶ waiting ──▶ Samples ─estimate─▶ latency::Published::next ─┐ idle lane
//!                                               (bounded)      │                 none: nothing changes    │
//!                                                              ▼                                          ▼
//!                                                       state/samples                Snapshot::compile, over the same files
//!                                                                                    control: swapped in; state/estimates
//! ```
//!
//! What answers go by is on disk before it is forgotten, and read before the first answer: a restart decides as before
//! (BEHAVIOUR rule 10). Samples are written every [`KEEP_EVERY`] and at the end.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::files::DiskFiles;
use super::idle;
use super::load::Loaded;
use super::measured_files::{estimates_below, read_samples, samples_below, write};
use super::run::{Control, LAST_WAIT};
use super::shared::Shared;
use super::tables::{Brought, InForce, Waiting};
use crate::answer::with_hot;
use crate::config::{Beacons, Config};
use crate::latency::{self, Destination, Estimates, Kind, Origin, Samples, Session, TargetId, World};
use crate::model::{Country, EndpointId, LocationId, Site};
use crate::table::{Before, Parts, Snapshot};

/// How often what came in is looked at, at most …
const EVERY: Duration = Duration::from_secs(60);
/// … and for so small a part of the time: a million prefixes take some seconds.
const PART: u32 = 20;
/// How often it is looked at although nothing came in: weights decay.
const ANYHOW: Duration = Duration::from_secs(3600);
/// How often samples are written.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Sessions that may wait.
const MAX_WAITING: usize = 65_536;

/// What one client measured, by the names of sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Who; its /24 or /48 alone is kept.
    pub client: IpAddr,
    /// Sites, as `cloud/region`, and round trips in ms.
    pub samples: Vec<(Arc<str>, f32)>,
    /// The round trips hold neither the client's last mile nor the servers' time.
    pub absolute: bool,
    /// When; none: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Samples, and what waits to be taken in. Shared.
#[derive(Default)]
pub struct Measuring {
    waiting: Mutex<Vec<(Timestamp, Reported)>>,
    /// None: not read from disk yet. Locked for long, on the idle lane alone.
    kept: Mutex<Option<Samples>>,
    /// What samples said when they were looked at last.
    latest: Mutex<Arc<Estimates>>,
    /// Somebody waits for what is published.
    hurry: Notify,
    /// A table to go by, whatever samples say.
    tables: Waiting,
    /// What was written last.
    on_disk: Mutex<Option<Arc<latency::Published>>>,
    told: Mutex<Told>,
    /// There are some; control, which must wait for no thread of the idle lane, looks here.
    some_wait: AtomicBool,
    /// There are samples that are not on disk.
    unkept: AtomicBool,
}

/// What `/status` tells of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Prefixes that have samples.
    pub prefixes: usize,
    /// Their memory, in octets.
    pub octets: usize,
    /// When they were looked at last.
    pub at: Option<Timestamp>,
}

impl Measuring {
    /// Takes sessions in; how many were, the others found no room.
    pub fn offer(&self, sessions: Vec<Reported>) -> usize {
        let now = Timestamp::now();
        let mut waiting = lock(&self.waiting);
        let room = MAX_WAITING.saturating_sub(waiting.len());
        let taken = sessions.len().min(room);
        waiting.extend(sessions.into_iter().take(room).map(|session| (session.at.unwrap_or(now), session)));
        self.some_wait.store(true, Ordering::Release);
        taken
    }

    /// Hands the samples to `look`; none while they are being looked at, or were not read from disk yet.
    pub(super) fn with_samples<T>(&self, look: impl FnOnce(&mut Samples) -> T) -> Option<T> {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        kept.as_mut().map(look)
    }

    /// What samples said when they were looked at last.
    pub(super) fn latest(&self) -> Arc<Estimates> {
        lock(&self.latest).clone()
    }

    /// Looks at what came in at once.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Has answers go by a table that comes from elsewhere; samples correct it from then on, where there are some.
    ///
    /// # Errors
    /// Another came in its place, or it could not be put in force, which the log tells.
    pub async fn bring(&self, published: latency::Published) -> Result<InForce, String> {
        self.tables.bring(published, &self.hurry).await
    }

    /// Has answers go again by what they went by until an edit took its place.
    pub(super) fn keep(&self, published: Arc<latency::Published>) {
        self.tables.keep(published);
        self.hurry();
    }

    /// For `/status`.
    #[must_use]
    pub fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    fn is_unkept(&self) -> bool {
        self.unkept.load(Ordering::Relaxed) || self.has_waiting()
    }

    fn has_waiting(&self) -> bool {
        self.some_wait.load(Ordering::Acquire)
    }

    /// Hands the samples, with all that waited in them, to `look`. None: those on disk cannot be read now.
    fn take_in<T>(&self, config: &Config, state: &Path, look: impl FnOnce(&mut Samples) -> T) -> Option<T> {
        let (mut guard, settings) = (lock(&self.kept), settings(&config.beacons));
        if guard.is_none() {
            *guard = Some(read_samples(&samples_below(state), &settings)?);
        }
        let known = guard.as_mut().expect("it was just put there");
        known.set(settings);
        let waiting = {
            let mut waiting = lock(&self.waiting);
            self.some_wait.store(false, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        // Sites at which nothing stands take no place among those that are known.
        let stand: HashSet<String> = config.endpoints.iter().map(|endpoint| endpoint.site.name()).collect();
        for (at, Reported { client, samples, absolute, .. }) in waiting {
            let target = |(site, ms): &(Arc<str>, f32)| {
                stand.contains(&**site).then(|| known.target(site)).flatten().map(|target| (target, *ms))
            };
            let samples = samples.iter().filter_map(target).collect::<Vec<_>>();
            let kind = if absolute { Kind::Absolute } else { Kind::Relative };
            known.take(&Session { client, kind, samples: &samples }, at);
            self.unkept.store(true, Ordering::Relaxed);
        }
        Some(look(known))
    }
}

impl fmt::Debug for Measuring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Measuring({:?})", self.told())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is whole sessions.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn settings(beacons: &Beacons) -> latency::Settings {
    let Beacons { half_life, keep_for, max_source_share, .. } = beacons;
    latency::Settings { half_life: *half_life, keep_for: *keep_for, max_source_share: *max_source_share as f32 }
}

/// What estimates ask: geography as the snapshot has it.
struct Known<'a> {
    parts: &'a Parts,
    /// By `TargetId`; none: no endpoint stands there.
    targets: Vec<Option<Destination>>,
    origins: RefCell<HashMap<LocationId, Origin>>,
}

impl<'a> Known<'a> {
    fn new(parts: &'a Parts, samples: &Samples) -> Self {
        let sites: HashMap<String, &Site> =
            parts.config.endpoints.iter().map(|endpoint| (endpoint.site.name(), &endpoint.site)).collect();
        let target = |name: &Arc<str>| sites.get(&**name).map(|site| Destination::new(site));
        Self { parts, targets: samples.targets().iter().map(target).collect(), origins: RefCell::default() }
    }

    fn location(&self, client: IpAddr) -> LocationId {
        let source = if client.is_ipv4() { 24 } else { 48 };
        self.parts.geo.locate_prefix(client, source).location
    }
}

impl World for Known<'_> {
    fn country(&self, client: IpAddr) -> Option<Country> {
        self.parts.geo.location(self.location(client)).country
    }

    fn asn(&self, client: IpAddr) -> Option<u32> {
        self.parts.geo.asn(client)
    }

    fn named_asn(&self, client: IpAddr) -> Option<u32> {
        self.parts.geo.location(self.location(client)).asn
    }

    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32> {
        let to = self.targets[target.index()].as_ref()?;
        let location = self.location(client);
        let mut origins = self.origins.borrow_mut();
        let origin = origins.entry(location).or_insert_with(|| Origin::new(self.parts.geo.location(location)));
        Some(origin.expected_ms(to))
    }

    fn is_one_place(&self, client: IpAddr) -> bool {
        let source = if client.is_ipv4() { 24 } else { 48 };
        self.parts.geo.locate_prefix(client, source).length <= source
    }
}

/// What looking at the samples came to.
pub(super) struct Look {
    /// The set that served when it began.
    of: Arc<Loaded>,
    /// None: nothing passed its threshold.
    next: Option<(Loaded, Snapshot)>,
    /// What it put first, before all that samples say.
    brought: Option<Brought>,
}

impl Look {
    /// `served` is of the same set as `of`.
    fn make(of: Arc<Loaded>, served: &Snapshot, state: &Path, shared: &Shared) -> Self {
        if let Some(brought) = shared.measuring.tables.take() {
            let is_new = *brought.published != *of.parts.measured.published;
            let next = is_new.then(|| of.going_by(brought.published.clone(), &mut disk(shared)));
            let next = next.map(|next| compile(next, served, shared, Timestamp::now()));
            // Where it could not be compiled, which was said, whoever waits for it learns that it is gone.
            let brought = next.as_ref().is_none_or(Option::is_some).then_some(brought);
            return Self { of, next: next.flatten(), brought };
        }
        let (parts, now) = (&of.parts, Timestamp::now());
        let published = shared.measuring.take_in(&parts.config, state, |samples| {
            let before = (samples.prefixes(), samples.octets());
            samples.forget(now);
            if before != (samples.prefixes(), samples.octets()) {
                shared.measuring.unkept.store(true, Ordering::Relaxed); // nor do they stay on disk
            }
            let world = Known::new(parts, samples);
            let (published, min_gain_ms) = (&parts.measured.published, min_gain_ms(&parts.config));
            let estimates = samples.estimate(published, &world, min_gain_ms, now);
            *lock(&shared.measuring.told) =
                Told { prefixes: samples.prefixes(), octets: samples.octets(), at: Some(now) };
            let next = published.next(&estimates, &world, min_gain_ms);
            let before = std::mem::replace(&mut *lock(&shared.measuring.latest), Arc::new(estimates));
            drop(before); // unlocked: on this lane that may take long
            next
        });
        let next = match published.flatten() {
            Some(published) => Some(of.going_by(Arc::new(published), &mut disk(shared))),
            None => of.telling_networks_apart(&mut disk(shared)),
        };
        let next = next.and_then(|next| compile(next, served, shared, now));
        Self { of, next, brought: None }
    }
}

/// Holds what it reads until it is dropped.
fn disk(shared: &Shared) -> DiskFiles {
    DiskFiles::default().within(shared.sandbox.clone())
}

/// The least of all services.
fn min_gain_ms(config: &Config) -> f32 {
    config.plans.iter().map(|plan| plan.policy.min_gain_ms).fold(f32::INFINITY, f32::min)
}

/// The snapshot that this comes to, endpoints as they stood in what was `served`.
fn compile(loaded: Loaded, served: &Snapshot, shared: &Shared, now: Timestamp) -> Option<(Loaded, Snapshot)> {
    let parts = &loaded.parts;
    let counters = shared.counters().clone();
    let mut counters = (*counters).clone(); // not while they are locked
    let standings = (0..parts.config.endpoints.len()).map(|id| served.standing(EndpointId::at(id)).clone()).collect();
    let before = Before { snapshot: served, count: &|counter| shared.count(counter) };
    match Snapshot::compile(parts.clone(), standings, &mut counters, Some(before), now) {
        Ok(snapshot) => Some((loaded, with_hot(snapshot))),
        Err(problems) => {
            problems.iter().for_each(|problem| error!(%problem, "our bug: estimates could not be published"));
            None
        }
    }
}

/// The idle lane's work on samples, and when there is more.
#[derive(Default)]
pub(super) struct Looks {
    under_way: Option<JoinHandle<Result<Look, String>>>,
    /// When one was begun last; none: the control task does not run yet.
    last: Option<Instant>,
    /// How long the last took.
    took: Duration,
    /// Somebody waits for the next.
    hurried: bool,
    keeping: Option<JoinHandle<()>>,
    kept: Option<Instant>,
}

impl Looks {
    /// When samples are to be looked at next; none: they are being looked at.
    pub(super) fn due(&self, measuring: &Measuring) -> Option<Instant> {
        let last = self.last.filter(|_| self.under_way.is_none())?;
        Some(match self.hurried {
            true => last,
            false => last + if measuring.has_waiting() { EVERY.max(PART * self.took).min(ANYHOW) } else { ANYHOW },
        })
    }

    /// The next one is due at once.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// The look under way; forever where there is none.
    pub(super) async fn finished(&mut self) -> Result<Look, String> {
        super::edits::finished(&mut self.under_way).await
    }

    /// Begins, with a first look that reads the samples from disk.
    pub(super) fn start(&mut self) {
        (self.last, self.hurried) = (Some(Instant::now()), true);
    }
}

impl Control {
    /// Begins to look at the samples. Not while an edit is being read, which would be put in over it.
    pub(super) fn look(&mut self) {
        (self.looks.last, self.looks.hurried) = (Some(Instant::now()), false);
        let (of, state, shared) = (self.loaded.clone(), self.started.server.state.clone(), self.shared.clone());
        let served = shared.published.load_full();
        self.looks.under_way = Some(tokio::spawn(idle::run(move || Look::make(of, &served, &state, &shared))));
    }

    pub(super) fn finish_look(&mut self, look: Result<Look, String>) {
        self.looks.took = self.looks.last.map_or(Duration::ZERO, |begun| begun.elapsed());
        let Look { of, next, brought } = match look {
            Ok(look) => look,
            Err(why) => {
                self.shared.measuring.some_wait.store(true, Ordering::Release); // what came in is to be looked at again
                return error!(why, "our bug: estimates stay as they are");
            }
        };
        match next {
            Some((loaded, snapshot)) if Arc::ptr_eq(&of, &self.loaded) => {
                let Parts { measured, geo, .. } = &loaded.parts;
                let (groups, prefixes) = (measured.published.groups(), measured.derived().len());
                let (networks, left_out) = (geo.measured_networks().len(), geo.left_out());
                if !Arc::ptr_eq(geo, &of.parts.geo) {
                    self.looks.hurry(); // prefixes were worked out by networks that were told apart before
                }
                self.loaded = Arc::new(loaded);
                self.tell_decision_hash();
                self.swap_in(&snapshot);
                let generation = self.shared.published.load().generation;
                info!(
                    generation,
                    groups, networks, left_out, prefixes, "estimates changed: answers go by what was measured"
                );
                if brought.is_none() {
                    self.keep_estimates(None);
                }
                self.freeing.free((of, snapshot));
            }
            Some(next) => {
                self.looks.hurry(); // there was an edit meanwhile
                self.freeing.free((of, next));
                return brought.into_iter().for_each(|brought| self.shared.measuring.tables.put_back(brought));
            }
            None => {
                self.shared.tell();
                self.freeing.free(of);
            }
        }
        if let Some(Brought { reply, .. }) = brought {
            self.keep_estimates(Some((reply, InForce::of(&self.loaded, &self.shared))));
            self.looks.hurry(); // what samples say was not looked at
        }
        let is_due = self.looks.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if is_due && self.shared.measuring.is_unkept() {
            self.keep_samples();
        }
    }

    /// Writes what answers go by, and tells whoever waits for that.
    fn keep_estimates(&mut self, waits: Option<(oneshot::Sender<InForce>, InForce)>) {
        let path = estimates_below(&self.started.server.state);
        let (published, shared) = (self.loaded.parts.measured.published.clone(), self.shared.clone());
        self.write_behind(async move {
            let write = move || {
                let mut on_disk = lock(&shared.measuring.on_disk);
                if on_disk.as_ref().is_none_or(|on_disk| !Arc::ptr_eq(on_disk, &published)) {
                    write(&path, &published.encode())?;
                    *on_disk = Some(published);
                }
                Ok(())
            };
            let written = idle::run(write).await;
            if let Some((reply, in_force)) = waits {
                let not_kept = written.clone().flatten().err();
                let _ = reply.send(InForce { not_kept, ..in_force }); // nobody may wait any more
            }
            written
        });
    }

    fn keep_samples(&mut self) {
        self.looks.kept = Some(Instant::now());
        let write = self.samples_writer();
        self.write_behind(idle::run(write));
    }

    /// Writes the samples, if there are some.
    fn samples_writer(&self) -> impl FnOnce() -> Result<(), String> + Send + 'static + use<> {
        let (path, shared) = (samples_below(&self.started.server.state), self.shared.clone());
        let (config, state) = (self.config(), self.started.server.state.clone());
        move || {
            let measuring = &shared.measuring;
            let octets = measuring.take_in(&config, &state, |samples| {
                measuring.unkept.store(false, Ordering::Relaxed);
                samples.encode()
            });
            let written = octets.map_or(Ok(()), |octets| write(&path, &octets));
            written.inspect_err(|_| measuring.unkept.store(true, Ordering::Relaxed))
        }
    }

    /// After what is being written.
    fn write_behind(&mut self, write: impl Future<Output = Result<Result<(), String>, String>> + Send + 'static) {
        let before = self.looks.keeping.take();
        self.looks.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            if let Err(error) = write.await.flatten() {
                warn!(error, "what was measured could not be kept; a restart would begin without");
            }
        }));
    }

    /// The last time, at the end. Nobody is served any more, so not on the idle lane.
    pub(super) async fn keep_measured_last(&mut self) {
        if self.shared.measuring.is_unkept() {
            let write = self.samples_writer();
            let written = async { tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string()) };
            self.write_behind(written);
        }
        if let Some(keeping) = self.looks.keeping.take() {
            let _ = timeout(LAST_WAIT, keeping).await; // its errors are logged
        }
    }
}
