//! Looking at what was measured, on the idle lane: once a minute where something came in, and what it comes to is put in force.
//!
//! Samples are written every [`KEEP_EVERY`] where some are not on disk, behind a look, and at the end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::files::DiskFiles;
use super::idle;
use super::load::Loaded;
use super::measured_files::{estimates_below, forget, samples_below, write};
use super::measuring::{Measuring, Told, lock};
use super::run::{Control, LAST_WAIT};
use super::shared::Shared;
use super::tables::{Brought, InForce};
use super::unwritten::Kept;
use crate::answer::with_hot;
use crate::config::Config;
use crate::latency::{Destination, Origin, Published, Samples, TargetId, World};
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
    /// By what samples say. `served` is of the same set as `of`.
    fn make(of: Arc<Loaded>, served: &Snapshot, state: &Path, shared: &Shared) -> Self {
        let (parts, now) = (&of.parts, Timestamp::now());
        let measuring = &shared.measuring;
        forget(state, parts.config.beacons.keep_for);
        let published = measuring.take_in(&parts.config, state, &measuring.unseen, |samples| {
            let before = (samples.prefixes(), samples.octets());
            samples.forget(now);
            if before != (samples.prefixes(), samples.octets()) {
                measuring.unkept.set(true); // nor do they stay on disk
            }
            let world = Known::new(parts, samples);
            let (published, min_gain_ms) = (&parts.measured.published, min_gain_ms(&parts.config));
            let estimates = samples.estimate(published, &world, min_gain_ms, now);
            *lock(&measuring.told) = Told { prefixes: samples.prefixes(), octets: samples.octets(), at: Some(now) };
            let next = published.next(&estimates, &world, min_gain_ms);
            let before = std::mem::replace(&mut *lock(&measuring.latest), Arc::new(estimates));
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

/// What a table that is brought comes to; none: it serves already.
///
/// # Errors
/// It cannot be put in force, which was said.
fn going_by(
    published: &Arc<Published>,
    of: &Loaded,
    served: &Snapshot,
    shared: &Shared,
) -> Result<Option<(Loaded, Snapshot)>, ()> {
    if **published == *of.parts.measured.published {
        return Ok(None);
    }
    let next = of.going_by(published.clone(), &mut disk(shared));
    compile(next, served, shared, Timestamp::now()).map(Some).ok_or(())
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
        if self.hurried {
            return Some(last);
        }
        let soon = last + EVERY.max(PART * self.took).min(ANYHOW);
        let unseen = measuring.unseen.is_set().then_some(soon);
        let unkept = self.kept.filter(|_| measuring.unkept.is_set()).map(|kept| soon.max(kept + KEEP_EVERY));
        unseen.into_iter().chain(unkept).chain([last + ANYHOW]).min()
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
        self.looks.under_way = Some(match shared.measuring.tables.take() {
            None => tokio::spawn(idle::run(move || Look::make(of, &served, &state, &shared))),
            // Somebody waits for it.
            Some(brought) => tokio::spawn(async move {
                let (by, published) = (of.clone(), brought.published.clone());
                let next = idle::run_soon(move || going_by(&published, &by, &served, &shared)).await?;
                // Where it cannot be put in force, whoever waits for it learns that it is gone.
                let brought = next.is_ok().then_some(brought);
                Ok(Look { of, next: next.ok().flatten(), brought })
            }),
        });
    }

    pub(super) fn finish_look(&mut self, look: Result<Look, String>) {
        self.looks.took = self.looks.last.map_or(Duration::ZERO, |begun| begun.elapsed());
        let Look { of, next, brought } = match look {
            Ok(look) => look,
            Err(why) => {
                self.shared.measuring.unseen.set(true); // what came in is to be looked at again
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
        if self.shared.unwritten().iter().any(|unwritten| unwritten.what == Kept::Estimates) {
            self.keep_estimates(None); // again
        }
        let is_due = self.looks.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if is_due && self.shared.measuring.unkept.is_set() {
            self.keep_samples();
        }
    }

    /// Writes what answers go by, and tells whoever waits for that.
    fn keep_estimates(&mut self, waits: Option<(oneshot::Sender<InForce>, InForce)>) {
        let path = estimates_below(&self.started.server.state);
        let (published, shared) = (self.loaded.parts.measured.published.clone(), self.shared.clone());
        self.write_behind(Kept::Estimates, async move {
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
        self.write_behind(Kept::Samples, idle::run(write));
    }

    /// Writes the samples, if there are some.
    fn samples_writer(&self) -> impl FnOnce() -> Result<(), String> + Send + 'static + use<> {
        let (path, shared) = (samples_below(&self.started.server.state), self.shared.clone());
        let (config, state) = (self.config(), self.started.server.state.clone());
        move || {
            let measuring = &shared.measuring;
            let _turn = lock(&measuring.writing);
            let octets = measuring.take_in(&config, &state, &measuring.unkept, |samples| samples.encode());
            match octets {
                Some(octets) => write(&path, &octets),
                None => {
                    Err(format!("{}: those of an earlier run cannot be read, and are not written over", path.display()))
                }
            }
        }
    }

    /// After what is being written.
    fn write_behind(
        &mut self,
        what: Kept,
        write: impl Future<Output = Result<Result<(), String>, String>> + Send + 'static,
    ) {
        let (before, shared) = (self.looks.keeping.take(), self.shared.clone());
        self.looks.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            note(&shared, what, write.await.flatten());
        }));
    }

    /// The last time, at the end. What the idle lane writes may not come to its end before the process does, so samples are written
    /// once more, on a thread that the process waits for (half a minute).
    pub(super) async fn keep_measured_last(&mut self) {
        if self.shared.unwritten().iter().any(|unwritten| unwritten.what == Kept::Estimates) {
            self.keep_estimates(None); // again
        }
        let is_being_kept = self.looks.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished());
        let last = (is_being_kept || self.shared.measuring.unkept.is_set()).then(|| {
            let (write, shared) = (self.samples_writer(), self.shared.clone());
            tokio::task::spawn_blocking(move || note(&shared, Kept::Samples, write()))
        });
        let until = Instant::now() + LAST_WAIT;
        if let Some(keeping) = self.looks.keeping.take() {
            let _ = timeout_at(until, keeping).await; // its errors are logged
        }
        if let Some(last) = last
            && timeout_at(until, last).await.is_err()
        {
            warn!("samples are still being written: the process ends when they are, or in half a minute");
        }
    }
}

/// Takes note of how writing ended.
fn note(shared: &Shared, what: Kept, written: Result<(), String>) {
    let error = written.err();
    shared.state.note(what, error.as_deref());
    if let Some(error) = error {
        if what == Kept::Samples {
            shared.measuring.unkept.set(true);
        }
        warn!(error, "what was measured could not be kept; a restart would begin without");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::control::Reported;

    #[test]
    fn what_no_look_has_seen_is_due_soon_and_what_is_not_on_disk_later() {
        let (measuring, now) = (Measuring::default(), Instant::now());
        let looks = Looks { last: Some(now), kept: Some(now), ..Looks::default() };
        let due = || looks.due(&measuring).map(|due| due - now);
        assert_eq!(due(), Some(ANYHOW));
        let session = Reported { client: [192, 0, 2, 1].into(), samples: Vec::new(), absolute: true, at: None };
        assert!(measuring.offer_all(vec![session]));
        assert_eq!(due(), Some(EVERY));
        // Whoever writes samples takes in what came, and has not looked at it.
        let text = "geoip.databases = []\n[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n";
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
            [("config.toml", text), ("zone", "")].map(|(path, text)| (path.into(), text.as_bytes().into())).into();
        let config = crate::config::read(&mut files, Path::new("config.toml")).unwrap().config;
        measuring.take_in(&config, Path::new("/nonexistent"), &measuring.unkept, |_| ()).unwrap();
        assert_eq!(due(), Some(EVERY));
        // A look has seen it; it is written behind the next one.
        measuring.unseen.set(false);
        assert_eq!(due(), Some(ANYHOW));
        measuring.unkept.set(true);
        assert_eq!(due(), Some(KEEP_EVERY));
        let later = Looks { last: Some(now + KEEP_EVERY), ..looks };
        assert_eq!(later.due(&measuring).map(|due| due - now), Some(KEEP_EVERY + EVERY));
    }
}
