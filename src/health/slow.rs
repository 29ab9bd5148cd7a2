//! Latency outliers: who answers, but far slower than it did and than its peers (BEHAVIOUR rule 15).
//!
//! Of each check the times of the latest answers are kept, `samples` of them. Their median is how fast it is *now*. Each time
//! as many new ones have come, their 95th percentile is noted; the median of the last hundred notes is its *baseline*. So a
//! bad hour does not move the baseline, and what stays is in time the new normal.
//!
//! A check is an outlier when it is now over `over` times its baseline, and over twice what the checks of its probe are in
//! the middle, by `at_least` each time. It ceases to be one below four fifths of that. Where too many are, it counts for nobody:
//! see [`soft`](super::soft).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Check, CheckId};
use crate::config::Slow;

/// What peers are, by endpoints.
const FEWEST: usize = 3;
/// Notes that a baseline is made of.
const NOTES: usize = 100;
/// An outlier ceases to be one below this share of its bounds.
const EASE: f64 = 0.8;
/// What is in the middle is reckoned anew so often.
const MIDDLE_HOLDS: SignedDuration = SignedDuration::from_secs(1);

/// The checks of all probes that look for outliers, by probe.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    probes: BTreeMap<Arc<str>, Group>,
}

impl Outliers {
    /// Forgets the checks that are no more, and takes in those that are.
    pub(super) fn reconfigure<'c>(&mut self, checks: impl Iterator<Item = (CheckId, &'c Check)>) {
        let mut old = std::mem::take(&mut self.probes);
        for (id, check) in checks.filter(|(_, check)| check.probe.slow.is_some()) {
            let times = old.get_mut(&check.probe.name).and_then(|group| group.members.remove(&id));
            let group = self.probes.entry(check.probe.name.clone()).or_default();
            group.members.insert(id, times.unwrap_or_default());
            group.endpoints.insert(check.endpoint.clone());
        }
    }

    /// Who is down is no outlier any more.
    pub(super) fn forget(&mut self, id: CheckId, check: &Check) {
        let group = self.probes.get_mut(&check.probe.name);
        if let Some(times) = group.and_then(|group| group.members.get_mut(&id)) {
            times.outlier = false;
        }
    }

    /// Takes in how long an answer took. Why it is slow, in words for operators; none: it is not.
    pub(super) fn observe(&mut self, id: CheckId, check: &Check, rtt: Duration, now: Timestamp) -> Option<String> {
        let rules = check.probe.slow.as_ref()?;
        self.probes.get_mut(&check.probe.name)?.observe(id, rules, rtt, now)
    }
}

/// The checks of one probe.
#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<CheckId, Times>,
    endpoints: HashSet<Arc<str>>,
    middle: Option<(Timestamp, Duration)>,
}

impl Group {
    fn observe(&mut self, id: CheckId, rules: &Slow, rtt: Duration, now: Timestamp) -> Option<String> {
        let times = self.members.get_mut(&id)?;
        times.learn(rtt, rules.samples);
        let (recent, baseline) = times.known(rules.samples)?;
        let was = times.outlier;
        let ease = if was { EASE } else { 1.0 };
        let is_over = |bound: Duration, least: Duration| recent > bound.max(least + rules.at_least).mul_f64(ease);
        let mut outlier = is_over(baseline.mul_f64(rules.over), baseline);
        let mut why = String::new();
        if outlier {
            let middle = self.middle(rules, now);
            outlier = is_over(middle * 2, middle) && self.endpoints.len() >= FEWEST;
            why = format!("slow: its answers take {recent:.0?}, before {baseline:.0?}, its peers' {middle:.0?}");
        }
        if was != outlier {
            self.members.entry(id).and_modify(|times| times.outlier = outlier);
        }
        outlier.then_some(why)
    }

    /// How fast the checks are in the middle.
    fn middle(&mut self, rules: &Slow, now: Timestamp) -> Duration {
        if let Some((at, middle)) = self.middle
            && now.duration_since(at).abs() < MIDDLE_HOLDS
        {
            return middle;
        }
        let recent = self.members.values().filter_map(|times| times.known(rules.samples)).map(|(recent, _)| recent);
        let middle = share_of(recent.collect(), 0.5).unwrap_or(Duration::MAX / 4);
        self.middle = Some((now, middle));
        middle
    }
}

/// What is known of one check.
#[derive(Debug, Default)]
struct Times {
    latest: VecDeque<Duration>,
    /// Answers since the last note.
    since: usize,
    /// The 95th percentiles.
    notes: VecDeque<Duration>,
    outlier: bool,
}

impl Times {
    fn learn(&mut self, rtt: Duration, samples: usize) {
        self.latest.push_back(rtt);
        while self.latest.len() > samples {
            self.latest.pop_front();
        }
        self.since += 1;
        if self.since < samples {
            return;
        }
        self.since = 0;
        self.notes.extend(share_of(self.latest.iter().copied().collect(), 0.95));
        while self.notes.len() > NOTES {
            self.notes.pop_front();
        }
    }

    /// How fast it is now, and its baseline; none: that is not known yet.
    fn known(&self, samples: usize) -> Option<(Duration, Duration)> {
        let recent = (self.latest.len() >= samples).then(|| share_of(self.latest.iter().copied().collect(), 0.5))?;
        recent.zip(share_of(self.notes.iter().copied().collect(), 0.5))
    }
}

/// The value that this share of them does not exceed.
fn share_of(mut values: Vec<Duration>, share: f64) -> Option<Duration> {
    let at = (values.len().saturating_sub(1) as f64 * share).floor() as usize; // a share of a length
    (at < values.len()).then(|| *values.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Probe, ProbeKind};
    use crate::model::Cloud;

    const SAMPLES: usize = 10;
    const MS: Duration = Duration::from_millis(1);

    /// Checks of one probe, each of an endpoint of its own, that answer in turn.
    struct Bench {
        outliers: Outliers,
        checks: Vec<Check>,
        now: Timestamp,
        said: Vec<(usize, String)>,
    }

    impl Bench {
        fn new(endpoints: usize) -> Self {
            let slow = Some(Slow { over: 2.0, at_least: 100 * MS, samples: SAMPLES });
            let probe = Arc::new(Probe { slow, ..probe() });
            let (cloud, target) = (Cloud::new("aws"), "192.0.2.1:80".parse().unwrap());
            let check = |index: usize| {
                let (endpoint, region) = (index.to_string().into(), "r".into());
                Check { endpoint, cloud: cloud.clone(), region, probe: probe.clone(), target }
            };
            let checks = (0..endpoints).map(check).collect();
            let mut bench =
                Self { outliers: Outliers::default(), checks, now: Timestamp::UNIX_EPOCH, said: Vec::new() };
            bench.reconfigure();
            bench
        }

        fn reconfigure(&mut self) {
            let checks = self.checks.iter().enumerate().map(|(index, check)| (CheckId(index as u64), check));
            self.outliers.reconfigure(checks);
        }

        /// So many rounds, in which each takes its time; who is slow at the end.
        fn rounds(&mut self, count: usize, rtt: impl Fn(usize) -> Duration) -> Vec<usize> {
            let mut slow = Vec::new();
            for _ in 0..count {
                self.now += SignedDuration::from_secs(2);
                slow.clear();
                for (index, check) in self.checks.iter().enumerate() {
                    if let Some(why) = self.outliers.observe(CheckId(index as u64), check, rtt(index), self.now) {
                        slow.push(index);
                        self.said.push((index, why));
                    }
                }
            }
            slow
        }
    }

    fn probe() -> Probe {
        Probe {
            name: "p".into(),
            kind: ProbeKind::Tcp,
            port: 80,
            interval: 2000 * MS,
            jitter: 0.0,
            timeout: 1000 * MS,
            fast_interval: 250 * MS,
            slow_after: None,
            slow: None,
            down_after: 3,
            up_after: 2,
            damping: None,
            allow_private: false,
        }
    }

    fn usual(index: usize) -> Duration {
        (20 + 30 * index as u32) * MS
    }

    #[test]
    fn one_that_is_far_slower_than_before_and_than_its_peers() {
        let mut bench = Bench::new(5);
        assert_eq!(bench.rounds(SAMPLES - 1, |_| 900 * MS), [0; 0], "too little is known");
        let mut bench = Bench::new(5);
        assert_eq!(bench.rounds(100, usual), [0; 0], "the farthest is always slower");
        let one = |index: usize| if index == 1 { 400 * MS } else { usual(index) };
        assert_eq!(bench.rounds(SAMPLES / 2 - 1, one), [0; 0], "a few do not decide");
        assert_eq!(bench.rounds(3, one), [1]);
        let (_, why) = bench.said.last().unwrap();
        assert_eq!(why, "slow: its answers take 400ms, before 50ms, its peers' 110ms");
        bench.reconfigure();
        assert_eq!(bench.rounds(1, one), [1], "an edit of something else changes nothing");
        assert_eq!(bench.rounds(2, usual), [1]);
        assert_eq!(bench.rounds(SAMPLES, usual), [0; 0]);
    }

    #[test]
    fn each_condition_is_needed() {
        let slower = |by: u32| move |index: usize| if index == 4 { usual(4) + by * MS } else { usual(index) };
        let mut bench = Bench::new(5);
        bench.rounds(100, usual); // the last takes 140 ms, the one in the middle 80 ms
        assert_eq!(bench.rounds(50, slower(130)), [0; 0], "under twice its baseline");
        assert_eq!(bench.rounds(50, slower(150)), [4]);
        let mut bench = Bench::new(5);
        bench.rounds(100, |_| 5 * MS);
        assert_eq!(bench.rounds(50, |index| if index == 0 { 100 * MS } else { 5 * MS }), [0; 0], "under `at_least`");
        let mut bench = Bench::new(5);
        bench.rounds(100, |index| if index == 0 { 20 * MS } else { 200 * MS });
        assert_eq!(bench.rounds(50, |index| if index == 0 { 390 * MS } else { 200 * MS }), [0; 0], "under its peers'");
        let mut bench = Bench::new(2);
        bench.rounds(100, usual);
        assert_eq!(bench.rounds(50, |index| if index == 0 { 900 * MS } else { usual(1) }), [0; 0], "it has no peers");
    }

    #[test]
    fn what_stays_is_the_new_normal() {
        let mut bench = Bench::new(5);
        bench.rounds(SAMPLES * NOTES, |_| 20 * MS);
        let one = |index: usize| if index == 1 { 400 * MS } else { 20 * MS };
        assert_eq!(bench.rounds(SAMPLES * NOTES / 3, one), [1]);
        assert_eq!(bench.rounds(SAMPLES * NOTES / 3, one), [0; 0]);
    }
}
