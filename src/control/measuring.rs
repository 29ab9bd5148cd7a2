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
//! (BEHAVIOUR rule 10). When it is looked at and written, `looks` says.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::measured_files::{read_samples, samples_below};
use super::tables::{InForce, Waiting};
use crate::config::{Beacons, Config};
use crate::latency::{self, Estimates, Kind, Samples, Session};

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
    pub(super) latest: Mutex<Arc<Estimates>>,
    /// Somebody waits for what is published.
    hurry: Notify,
    /// A table to go by, whatever samples say.
    pub(super) tables: Waiting,
    /// What was written last.
    pub(super) on_disk: Mutex<Option<Arc<latency::Published>>>,
    pub(super) told: Mutex<Told>,
    /// Some came that no look has seen.
    pub(super) unseen: Flag,
    /// Some are not on disk.
    pub(super) unkept: Flag,
    /// Held by whoever writes them: what is written last holds what was written before.
    pub(super) writing: Mutex<()>,
}

/// What control goes by, which must wait for no thread of the idle lane.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
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
        self.put(sessions, 0)
    }

    /// Takes sessions in, or none of them; were they?
    pub(super) fn offer_all(&self, sessions: Vec<Reported>) -> bool {
        let count = sessions.len();
        self.put(sessions, count) == count
    }

    /// The first of them that find room, if so many do.
    fn put(&self, sessions: Vec<Reported>, least: usize) -> usize {
        let now = Timestamp::now();
        let mut waiting = lock(&self.waiting);
        let room = MAX_WAITING.saturating_sub(waiting.len());
        let taken = sessions.len().min(room);
        if taken < least {
            return 0;
        }
        waiting.extend(sessions.into_iter().take(room).map(|session| (session.at.unwrap_or(now), session)));
        self.unseen.set(true);
        self.unkept.set(true);
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

    /// Hands the samples, with all that waited in them, to `look`, and takes the flag back first, so that what comes meanwhile is
    /// not overlooked. None: those on disk cannot be read now.
    pub(super) fn take_in<T>(
        &self,
        config: &Config,
        state: &Path,
        flag: &Flag,
        look: impl FnOnce(&mut Samples) -> T,
    ) -> Option<T> {
        let (mut guard, settings) = (lock(&self.kept), settings(&config.beacons));
        if guard.is_none() {
            *guard = Some(read_samples(&samples_below(state), &settings)?);
        }
        let known = guard.as_mut().expect("it was just put there");
        known.set(settings);
        flag.set(false);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        // Sites at which nothing stands take no place among those that are known.
        let stand: HashSet<String> = config.endpoints.iter().map(|endpoint| endpoint.site.name()).collect();
        for (at, Reported { client, samples, absolute, .. }) in waiting {
            let target = |(site, ms): &(Arc<str>, f32)| {
                stand.contains(&**site).then(|| known.target(site)).flatten().map(|target| (target, *ms))
            };
            let samples = samples.iter().filter_map(target).collect::<Vec<_>>();
            let kind = if absolute { Kind::Absolute } else { Kind::Relative };
            known.take(&Session { client, kind, samples: &samples }, at);
        }
        Some(look(known))
    }
}

impl fmt::Debug for Measuring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Measuring({:?})", self.told())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is whole sessions.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn settings(beacons: &Beacons) -> latency::Settings {
    let Beacons { half_life, keep_for, max_source_share, .. } = beacons;
    latency::Settings { half_life: *half_life, keep_for: *keep_for, max_source_share: *max_source_share as f32 }
}
