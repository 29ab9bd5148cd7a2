//! An explained answer, as JSON has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::latency;

/// An answer with its reasons. JSON of `meridian explain --json` and `/api/v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The name asked for.
    pub name: String,
    /// `A` or `AAAA`.
    pub r#type: String,
    /// The client, and the prefix of it that was asked with.
    pub client: String,
    /// The generation that answered; 0 offline.
    pub generation: u64,
    /// Are the verdicts those of a running server? Offline, every endpoint is taken to be up.
    pub live: bool,
    /// Where the client is.
    pub location: Placed,
    /// How a service chose; none: no service stands behind the name.
    pub choice: Option<Choice>,
    /// What the client gets.
    pub answer: Answered,
}

/// Where a client is, and how that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// ISO 3166-1; none: not located.
    pub country: Option<String>,
    /// Continent code.
    pub continent: Option<String>,
    /// ISO 3166-2
    pub subdivision: Option<String>,
    /// Degrees north and east.
    pub coordinates: Option<[f32; 2]>,
    /// Where the configuration names it, or it is measured and told from the rest of its country.
    pub asn: Option<u32>,
    /// The prefix that the configuration names.
    pub label: Option<String>,
    /// The prefix that shares this location.
    pub prefix: String,
    /// The prefix asked with spans leaves under different fences.
    pub mixed: bool,
    /// What each database says by itself.
    pub databases: Vec<DatabaseSays>,
}

/// What one database says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseSays {
    /// Which.
    pub file: String,
    /// The network that matched; none: no such address family.
    pub network: Option<String>,
    /// In words; empty: nothing.
    pub says: String,
}

/// How a service chose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The service.
    pub service: String,
    /// The fences that apply, by their `where`; `unknown` where `fence_unknown` does.
    pub fences: Vec<String>,
    /// Every endpoint of the service, best first, then those that may not answer.
    pub endpoints: Vec<Contender>,
    /// What the choice came to, in words.
    pub outcome: String,
}

/// One endpoint of a service, as the decision saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// Its cloud.
    pub cloud: String,
    /// Its region.
    pub region: String,
    /// Great-circle distance from the client; none where either has no coordinates.
    pub distance_km: Option<f64>,
    /// Expected round trip, without bias.
    pub estimate_ms: f32,
    /// The same where nobody had measured.
    pub prior_ms: f32,
    /// What moved the one away from the other; none: nothing did.
    pub measured: Option<MeasuredBy>,
    /// What samples say now, which may not have passed its threshold yet; none: nothing new, or not known here.
    pub sampled: Option<MeasuredBy>,
    /// The samples of the client's own prefix; none: it has none, or they are being looked at just now.
    pub counted: Option<Counted>,
    /// Added to it.
    pub bias_ms: f32,
    /// Cost at this client's place.
    pub cost: f64,
    /// Do the fences allow it?
    pub in_fence: bool,
    /// `up`, `degraded`, `unknown`, `down`; `no address` where the family lacks one.
    pub verdict: String,
    /// Its place in the order, from 1.
    pub rank: Option<usize>,
    /// The preference that names it: its `where`.
    pub preferred: Option<String>,
    /// Its share of such clients, 0..=1.
    pub share: f64,
    /// Why it answers or not, in words.
    pub why: String,
}

impl Explanation {
    /// Adds what samples said when they were looked at last.
    pub fn add_samples(&mut self, shared: &Shared, client: IpAddr) {
        let Some(choice) = &mut self.choice else { return };
        let (parts, client) = (&shared.published.load_full().parts, client.to_canonical());
        let source = if client.is_ipv4() { 24 } else { 48 };
        let location = parts.geo.location(parts.geo.locate_prefix(client, source).location);
        let prefix = IpNet::new_assert(client, source).trunc();
        let asn = parts.geo.asn(prefix.network());
        let estimates = shared.measuring.latest();
        for contender in &mut choice.endpoints {
            let site = format!("{}/{}", contender.cloud, contender.region);
            let found = estimates.find(prefix, location.country, asn, &site);
            contender.sampled = found.map(|(place, shift)| MeasuredBy::now(&place, shift, contender.prior_ms));
        }
        if let Some(counts) = shared.measuring.with_samples(|samples| samples.count(client)) {
            self.add_counts(&counts);
        }
    }

    /// Adds how many samples the client's prefix has, by site.
    pub fn add_counts(&mut self, counts: &BTreeMap<Arc<str>, latency::Counted>) {
        for contender in self.choice.iter_mut().flat_map(|choice| &mut choice.endpoints) {
            let counted = counts.get(&*format!("{}/{}", contender.cloud, contender.region));
            contender.counted =
                counted.map(|&latency::Counted { samples, oldest, newest }| Counted { samples, oldest, newest });
        }
    }
}

/// Samples of a prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub samples: u32,
    /// When the first of them came.
    pub oldest: Timestamp,
    /// And the last.
    pub newest: Timestamp,
}

/// The measurements behind an estimate, as of when it was published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeasuredBy {
    /// Whose: a prefix, a country, or an autonomous system in one.
    pub of: String,
    /// The expected round trip by them.
    pub estimate_ms: f32,
    /// How many, by weight: a prefix's samples, or the prefixes of a country or system.
    pub samples: f32,
    /// When the newest came.
    pub newest: Timestamp,
    /// Standard deviation of the estimate, ms.
    pub spread_ms: f32,
}

impl MeasuredBy {
    pub(super) fn new(place: &latency::Place, factor: &latency::Factor, estimate_ms: f32) -> Self {
        let &latency::Factor { samples, newest, spread, .. } = factor;
        Self { of: place.to_string(), estimate_ms, samples, newest, spread_ms: spread * estimate_ms }
    }

    fn now(place: &latency::Place, shift: &latency::Shift, prior_ms: f32) -> Self {
        let &latency::Shift { samples, newest, spread, .. } = shift;
        let estimate_ms = prior_ms * shift.factor();
        Self { of: place.to_string(), estimate_ms, samples, newest, spread_ms: spread * estimate_ms }
    }
}

/// What the client gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The response code's mnemonic.
    pub rcode: String,
    /// Answer records in presentation form.
    pub records: Vec<String>,
    /// TTL of the last of them, in seconds.
    pub ttl: Option<u32>,
    /// Scope prefix length.
    pub scope: Option<u8>,
}
