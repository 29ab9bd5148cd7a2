//! Endpoints that stand or fall together: those of a site, and those of a cloud (BEHAVIOUR rule 13).
//!
//! A site or cloud fails while a share of its endpoints is down, by what their own probes found. That takes nobody down: it
//! is said in words, and for a window after the last of them went down the others are looked at closely ([`Alert`]). So it is,
//! with probes alone, where clients report errors at a site (`client_errors`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::client_errors::{Complained, Complaint, has_room};
use crate::config::Health;
use crate::model::{Cloud, Endpoint};

/// Of fewer endpoints nothing is said: what is down says so itself.
const LEAST: usize = 2;
/// Of a fault of ours, sites in so many clouds tell.
const LEAST_CLOUDS: usize = 2;
/// Shares are decimal fractions, which doubles do not hold exactly.
const ROUNDING: f64 = 1e-9;

/// Of whom a notice speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A region of a cloud.
    Site(Cloud, Arc<str>),
    /// A cloud.
    Cloud(Cloud),
    /// This server, its machine or its way out.
    Own,
    /// This server's readiness, which a fault of its own ends ([`withdraw_after`](Health::withdraw_after)).
    Withdrawal,
    /// An anchor.
    Anchor(SocketAddr),
    /// The clients that try a site.
    Clients(Cloud, Arc<str>),
    /// What a fence of this service leaves: soft signals count for nothing there.
    Fence(Arc<str>),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(cloud, region) => write!(f, "{cloud} {region}"),
            Self::Cloud(cloud) => cloud.fmt(f),
            Self::Own => f.write_str("self"),
            Self::Withdrawal => f.write_str("withdrawal"),
            Self::Anchor(address) => write!(f, "anchor {address}"),
            Self::Clients(cloud, region) => write!(f, "clients of {cloud} {region}"),
            Self::Fence(service) => write!(f, "a fence of {service}"),
        }
    }
}

/// Something that is said of many at once begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Of whom.
    pub subject: Subject,
    /// It begins.
    pub failing: bool,
    /// Why, in words for operators.
    pub reason: String,
}

/// The endpoints of a site or cloud that have probes.
#[derive(Clone, Debug)]
pub struct Group {
    /// Which site or cloud.
    pub subject: Subject,
    /// Since when it fails; none: it does not.
    pub failing_since: Option<Timestamp>,
    /// What clients report of it, a site, while they do.
    pub complained: Option<Complained>,
    /// Indexes of endpoints.
    members: Vec<usize>,
    down: usize,
    /// The most that were down since it fails.
    worst: usize,
    /// When the last of them went down …
    last_down: Option<Timestamp>,
    /// … and when the first did that others followed, each within a window.
    first_down: Option<Timestamp>,
    /// How closely the others are looked at.
    alert: Alert,
}

/// How closely an endpoint is looked at for what is said of its site or cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alert {
    /// As its own probes want it.
    #[default]
    None,
    /// It is probed fast.
    Probed,
    /// That, and in doubt.
    Doubted,
}

impl Group {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            failing_since: None,
            complained: None,
            members: Vec::new(),
            down: 0,
            worst: 0,
            last_down: None,
            first_down: None,
            alert: Alert::None,
        }
    }

    /// Is it the site that is written so, as `cloud/region`?
    fn is_named(&self, site: &str) -> bool {
        matches!(&self.subject, Subject::Site(cloud, region)
            if site.strip_prefix(&*cloud.0).and_then(|rest| rest.strip_prefix('/')) == Some(region))
    }

    /// Are there enough endpoints to say something of all?
    #[must_use]
    pub fn can_fail(&self) -> bool {
        self.members.len() >= LEAST
    }

    /// In words for operators.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { subject, members, down, .. } = self;
        let are = if *down == 1 { "is" } else { "are" };
        format!("{down} of {} endpoints of {subject} {are} down", members.len())
    }

    fn lacks(&self, health: &Health) -> bool {
        let share = if self.is_site() { health.site_down } else { health.cloud_down };
        is_share(self.down, share, self.members.len())
    }

    fn is_site(&self) -> bool {
        matches!(self.subject, Subject::Site(..))
    }

    fn fails(&self, health: &Health) -> bool {
        self.can_fail() && self.lacks(health)
    }

    /// Whether it fails, if that begins or ends now.
    fn turn(&mut self, health: &Health, now: Timestamp) -> Option<Notice> {
        let failing = self.fails(health);
        if failing == self.failing_since.is_some() {
            return None;
        }
        let mut reason = self.words();
        if let Some(since) = self.failing_since.take() {
            let _ = write!(reason, "; it failed since {since:.0}, with {} down at the worst", self.worst);
        } else {
            let is_recent = self.last_down.is_some_and(|at| are_near(at, now, health.window));
            if let Some(first) = self.first_down.filter(|_| is_recent) {
                let _ = write!(reason, ", the first since {first:.0}");
            }
            (self.failing_since, self.worst) = (Some(now), self.down);
        }
        Some(Notice { subject: self.subject.clone(), failing, reason })
    }

    /// One more is down.
    fn fell(&mut self, window: Duration, now: Timestamp) {
        if !self.last_down.is_some_and(|at| are_near(at, now, window)) {
            self.first_down = Some(now);
        }
        self.down += 1;
        (self.worst, self.last_down) = (self.worst.max(self.down), Some(now));
    }

    /// That clients report errors no more, if that ends now.
    fn quiet(&mut self, now: Timestamp) -> Option<Notice> {
        let over = self.complained.take_if(|complained| !complained.is_so(now))?;
        self.says_of_clients(false, over.reason)
    }

    /// None: it is no site.
    fn says_of_clients(&self, failing: bool, reason: String) -> Option<Notice> {
        let Subject::Site(cloud, region) = &self.subject else { return None };
        Some(Notice { subject: Subject::Clients(cloud.clone(), region.clone()), failing, reason })
    }

    /// How closely the living are to be looked at now.
    fn wanted(&self, window: Duration, now: Timestamp) -> Alert {
        if self.failing_since.is_some() && self.last_down.is_some_and(|at| are_near(at, now, window)) {
            Alert::Doubted
        } else if self.complained.as_ref().is_some_and(|complained| complained.hastens(now)) {
            Alert::Probed
        } else {
            Alert::None
        }
    }

    /// When there is something to review, if nothing else happens.
    fn next_tick(&self, window: Duration) -> Option<Timestamp> {
        let doubted = self.last_down.filter(|_| self.alert == Alert::Doubted).map(|at| after(at, window));
        let heard = self.complained.as_ref().map(|complained| complained.ends(self.alert == Alert::Probed));
        doubted.into_iter().chain(heard).min()
    }
}

/// All sites and clouds.
#[derive(Debug, Default)]
pub(super) struct Correlation {
    health: Health,
    groups: Vec<Group>,
    /// By endpoint: its site and its cloud; none: it has no probe.
    of: Vec<Option<[usize; 2]>>,
    /// Groups to be looked at again.
    stirred: BTreeSet<usize>,
    /// When the last endpoint went down.
    last_down: Option<Timestamp>,
}

/// Sites fail, as many as a fault of ours brings down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SitesLost {
    pub(super) failing: usize,
    pub(super) of: usize,
    pub(super) clouds: usize,
}

impl Correlation {
    /// Takes over the endpoints of a configuration. What is said of a site or cloud stands.
    pub(super) fn reconfigure(&mut self, health: &Health, endpoints: &[Endpoint]) {
        let old = std::mem::take(&mut self.groups).into_iter();
        let mut old: BTreeMap<Subject, Group> = old.map(|group| (group.subject.clone(), group)).collect();
        let mut indexes = BTreeMap::new();
        self.health = health.clone();
        self.of.clear();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let site = &endpoint.site;
            let subjects = [Subject::Site(site.cloud.clone(), site.region.clone()), Subject::Cloud(site.cloud.clone())];
            let mut join = |subject: Subject| {
                let at = *indexes.entry(subject.clone()).or_insert_with(|| {
                    let group = old.remove(&subject).unwrap_or_else(|| Group::new(subject));
                    self.groups.push(Group { members: Vec::new(), ..group });
                    self.groups.len() - 1
                });
                self.groups[at].members.push(index);
                at
            };
            self.of.push((!endpoint.probes.is_empty()).then(|| subjects.map(&mut join)));
        }
    }

    /// Counts anew; what is down already has not gone down now.
    pub(super) fn recount(&mut self, down: impl Iterator<Item = bool>) {
        self.groups.iter_mut().for_each(|group| group.down = 0);
        for groups in self.of.iter().zip(down).filter_map(|(groups, down)| groups.filter(|_| down)) {
            groups.iter().for_each(|&group| self.groups[group].down += 1);
        }
        self.stirred = (0..self.groups.len()).collect();
    }

    /// An endpoint went down or is down no more, by its own probes.
    pub(super) fn turn(&mut self, endpoint: usize, is_down: bool, now: Timestamp) {
        let Some(groups) = self.of[endpoint] else { return };
        for index in groups {
            let group = &mut self.groups[index];
            if is_down {
                group.fell(self.health.window, now);
            } else {
                group.down -= 1;
            }
            self.stirred.insert(index);
        }
        if is_down {
            self.last_down = Some(now);
        }
    }

    /// What has come of it: what is to be said, and the endpoints whose alert begins or ends.
    pub(super) fn review(&mut self, now: Timestamp) -> (Vec<Notice>, BTreeSet<usize>) {
        let (mut notices, mut members) = (Vec::new(), BTreeSet::new());
        let mut stirred = std::mem::take(&mut self.stirred);
        stirred.extend(self.waiting().map(|(index, _)| index));
        for index in stirred {
            let group = &mut self.groups[index];
            notices.extend(group.turn(&self.health, now).into_iter().chain(group.quiet(now)));
            let alert = group.wanted(self.health.window, now);
            if alert != group.alert {
                group.alert = alert;
                members.extend(group.members.iter().copied());
            }
        }
        (notices, members)
    }

    /// When [`review`](Self::review) has something to do, if nothing else happens.
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        self.waiting().filter_map(|(_, group)| group.next_tick(self.health.window)).min()
    }

    /// Those for which time alone changes something.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Group)> {
        let waits = |group: &Group| group.alert != Alert::None || group.complained.is_some();
        self.groups.iter().enumerate().filter(move |(_, group)| waits(group))
    }

    /// How closely an endpoint is to be looked at for what is said of its site or cloud.
    pub(super) fn alert(&self, endpoint: usize) -> Alert {
        let groups = self.of[endpoint].iter().flatten().map(|&group| self.groups[group].alert);
        groups.max().unwrap_or_default()
    }

    /// Takes in what clients report; what is to be said, if that begins now. Of a site without a probe nothing is, nor of one
    /// that is all down: there is nothing to hurry.
    pub(super) fn hear(&mut self, complaint: &Complaint, now: Timestamp) -> Option<Notice> {
        let index = self.groups.iter().position(|group| group.is_named(&complaint.site))?;
        let sites = || self.groups.iter().enumerate().filter(|(_, group)| group.is_site());
        let count = |(_, group): (usize, &Group)| group.members.len();
        let is_hastened = |group: &Group| group.complained.as_ref().is_some_and(|complained| complained.hastens(now));
        let hastened: usize = sites().filter(|(at, group)| *at != index && is_hastened(group)).map(count).sum();
        let all: usize = sites().map(count).sum();
        let group = &mut self.groups[index];
        if group.down == group.members.len() {
            return None;
        }
        let has_room = has_room(group.members.len(), hastened, all);
        let before = group.complained.take();
        let (is_new, complained) = (before.is_none(), Complained::after(before, complaint, has_room, now));
        let reason = complained.reason.clone();
        group.complained = Some(complained);
        self.stirred.insert(index);
        group.says_of_clients(true, reason).filter(|_| is_new)
    }

    /// What is to be said behind the reason of an endpoint; empty: nothing.
    pub(super) fn words(&self, endpoint: usize) -> String {
        let mut words = String::new();
        for group in self.of[endpoint].iter().flatten().map(|&group| &self.groups[group]) {
            if group.fails(&self.health) {
                let _ = write!(words, "; {}", group.words());
            }
            if let Some(complained) = &group.complained {
                let _ = write!(words, "; clients report errors: {}", complained.reason);
            }
        }
        words
    }

    /// Has a site lost its endpoints, the last of any within the window? Here one endpoint makes a site.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let is_fresh = self.last_down.is_some_and(|at| are_near(at, now, self.health.window));
        is_fresh && self.groups.iter().any(|group| group.is_site() && group.lacks(&self.health))
    }

    /// Sites and clouds, in the order in which the file names them first.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// When the last endpoint went down.
    pub(super) fn last_down(&self) -> Option<Timestamp> {
        self.last_down
    }

    /// Do as many sites fail, in as many clouds, as a fault of ours brings down? Here one endpoint makes a site.
    pub(super) fn sites_lost(&self) -> Option<SitesLost> {
        let (mut failing, mut of, mut clouds) = (0, 0, BTreeSet::new());
        for group in &self.groups {
            let Subject::Site(cloud, _) = &group.subject else { continue };
            of += 1;
            if group.lacks(&self.health) {
                failing += 1;
                clouds.insert(cloud);
            }
        }
        let clouds = clouds.len();
        let is_lost = clouds >= LEAST_CLOUDS && is_share(failing, self.health.self_fail, of);
        is_lost.then_some(SitesLost { failing, of, clouds })
    }
}

/// Is `part` at least that share of `all`?
fn is_share(part: usize, share: f64, all: usize) -> bool {
    part as f64 + ROUNDING >= share * all as f64
}

/// A clock may be set back: then what lies ahead is no nearer than what lies behind.
pub(super) fn are_near(a: Timestamp, b: Timestamp, window: Duration) -> bool {
    a.duration_since(b).unsigned_abs() < window
}

pub(super) fn after(start: Timestamp, wait: Duration) -> Timestamp {
    start.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_reached_exactly() {
        for (part, share, all, expected) in
            [(3, 0.6, 5, true), (2, 0.6, 5, false), (7, 0.7, 10, true), (11, 0.55, 20, true), (10, 0.55, 20, false)]
        {
            assert_eq!(is_share(part, share, all), expected, "{part} of {all}, {share}");
        }
    }

    #[test]
    fn a_death_tells_since_when_and_its_end_how_bad_it_was() {
        let (at, health) = (|second| Timestamp::from_second(second).unwrap(), Health::default());
        let mut group = Group::new(Subject::Cloud(Cloud::new("aws")));
        group.members = (0..5).collect();
        let mut said = Vec::new();
        // One falls long before the others, and one behind the notice.
        for second in [0, 100, 109, 110] {
            group.fell(health.window, at(second));
            said.extend(group.turn(&health, at(second)));
        }
        group.down = 2;
        said.extend(group.turn(&health, at(200)));
        let reasons: Vec<&str> = said.iter().map(|notice| &*notice.reason).collect();
        assert_eq!(
            reasons,
            [
                "3 of 5 endpoints of aws are down, the first since 1970-01-01T00:01:40Z",
                "2 of 5 endpoints of aws are down; it failed since 1970-01-01T00:01:49Z, with 4 down at the worst",
            ]
        );
    }

    #[test]
    fn what_lies_ahead_is_as_far_as_what_lies_behind() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let near = |a, b| are_near(at(a), at(b), Duration::from_secs(10));
        assert_eq!([near(0, 9), near(0, 10), near(9, 0), near(10, 0)], [true, false, true, false]);
    }
}
