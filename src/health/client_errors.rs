//! Errors that clients report: browsers and agents that could not reach a site (BEHAVIOUR rule 15).
//!
//! A session tells something where another site answered in it: where none did, the trouble is the client's own. Each network
//! has one vote a site, that of its latest session, however often it repeats itself; the prefixes of an IPv6 /32 are one
//! network, since who holds one has 65,536 of them. Where five networks or more, and a fifth of all that tried the site
//! within a minute, could not reach it, that is a [`Complaint`].
//!
//! It is hearsay, so it changes no verdict, TTL or order: the site's endpoints are probed fast for half a minute from the
//! last complaint on, for five minutes at most, and it is told of once. More is not to be had by who makes sessions up, and for
//! that they need as many networks as others have that measure the site. Nor can they have all probed fast, so that this machine
//! has no time left: as many are as make a quarter of all endpoints, or one site of 64; of others it is told alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::correlation::{after, are_near};

/// So many networks could not reach the site …
const LEAST: usize = 5;
/// … which is one in so many of those that tried, or more, …
const ONE_IN: usize = 5;
/// … within this.
const WINDOW: Duration = Duration::from_secs(60);
/// A complaint is repeated after so long at the earliest.
const REPEATED: Duration = Duration::from_secs(5);
/// Sites that have votes.
const MAX_SITES: usize = 512;
/// Votes of a site, the newest: 24 octets each, so all are 6 MB at most.
const MAX_VOTES: usize = 512;
/// Without a further complaint for so long, it is over.
const HOLD: Duration = Duration::from_secs(30);
/// The site is probed fast for so long at most: what has not been found by then is nothing that probes find.
const MAX_HASTE: Duration = Duration::from_secs(300);
/// Of so many endpoints one is probed fast for complaints …
const MAX_SHARE: usize = 4;
/// … or those of one site, if it has no more.
const MAX_SITE: usize = 64;

/// Too many could not reach a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// `cloud/region`
    pub site: Arc<str>,
    /// Networks that could not reach it within a minute.
    pub failed: usize,
    /// Networks that tried, these among them.
    pub of: usize,
}

/// Who could reach which site of late.
#[derive(Debug, Default)]
pub struct ClientErrors {
    sites: BTreeMap<Arc<str>, Votes>,
}

/// A site's, the oldest first.
#[derive(Debug, Default)]
struct Votes {
    latest: VecDeque<Vote>,
    /// When it was complained of last.
    complained: Option<Timestamp>,
}

#[derive(Debug)]
struct Vote {
    network: u32,
    is_v4: bool,
    failed: bool,
    at: Timestamp,
}

impl ClientErrors {
    /// Takes in a session of this client: sites, as `cloud/region`, with the round trip in ms, none where it did not answer. What is
    /// to be said of these sites now. Where there are too many sites, of further ones nothing is.
    pub fn take(&mut self, client: IpAddr, found: &[(Arc<str>, Option<f32>)], now: Timestamp) -> Vec<Complaint> {
        if found.iter().all(|(_, ms)| ms.is_none()) {
            return Vec::new();
        }
        found.iter().filter_map(|(site, ms)| self.vote(site, client, ms.is_none(), now)).collect()
    }

    fn vote(&mut self, site: &Arc<str>, client: IpAddr, failed: bool, now: Timestamp) -> Option<Complaint> {
        if !self.sites.contains_key(site) && self.sites.len() >= MAX_SITES {
            self.sites.retain(|_, votes| votes.latest.back().is_some_and(|vote| vote.is_of_late(now)));
            if self.sites.len() >= MAX_SITES {
                return None;
            }
        }
        let votes = self.sites.entry(site.clone()).or_default();
        votes.cast(Vote::new(client, failed, now));
        let (failing, of) = (votes.latest.iter().filter(|vote| vote.failed).count(), votes.latest.len());
        let is_heard = failed && failing >= LEAST && failing * ONE_IN >= of;
        let is_new = !votes.complained.is_some_and(|at| are_near(at, now, REPEATED));
        (is_heard && is_new).then(|| {
            votes.complained = Some(now);
            Complaint { site: site.clone(), failed: failing, of }
        })
    }
}

impl Votes {
    /// In place of the one that this network had. Without those that are too old, or too many.
    fn cast(&mut self, vote: Vote) {
        let (is_v4, network, now) = (vote.is_v4, vote.network, vote.at);
        self.latest.retain(|other| other.is_of_late(now) && (other.is_v4, other.network) != (is_v4, network));
        if self.latest.len() >= MAX_VOTES {
            self.latest.pop_front();
        }
        self.latest.push_back(vote);
    }
}

impl Vote {
    fn new(client: IpAddr, failed: bool, at: Timestamp) -> Self {
        let network = match client {
            IpAddr::V4(v4) => v4.to_bits() >> 8,
            IpAddr::V6(v6) => (v6.to_bits() >> 96) as u32,
        };
        Self { network, is_v4: client.is_ipv4(), failed, at }
    }

    fn is_of_late(&self, now: Timestamp) -> bool {
        are_near(self.at, now, WINDOW)
    }
}

/// What clients report of a site, for as long as they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complained {
    /// Since when.
    pub since: Timestamp,
    /// How many networks of how many, when it was heard last; in words for operators.
    pub reason: String,
    last: Timestamp,
    /// There is room for fast probes.
    has_room: bool,
}

/// May a site of so many endpoints be probed fast for complaints, where others are already?
pub(super) fn has_room(members: usize, hastened: usize, all: usize) -> bool {
    (hastened + members) * MAX_SHARE <= all || hastened == 0 && members <= MAX_SITE
}

impl Complained {
    /// What it comes to with this complaint; whether there is [room](has_room) is looked at anew each time.
    pub(super) fn after(before: Option<Self>, complaint: &Complaint, has_room: bool, now: Timestamp) -> Self {
        let Complaint { site: _, failed, of } = complaint;
        let mut reason = format!("{failed} of {of} networks could not reach it within a minute, and others they could");
        if !has_room {
            reason += "; with it, too many would be probed fast";
        }
        Self { since: before.map_or(now, |before| before.since), reason, last: now, has_room }
    }

    /// Do they still?
    pub(super) fn is_so(&self, now: Timestamp) -> bool {
        are_near(self.last, now, HOLD)
    }

    /// Is the site to be probed fast for that?
    pub(super) fn hastens(&self, now: Timestamp) -> bool {
        self.has_room && self.is_so(now) && are_near(self.since, now, MAX_HASTE)
    }

    /// When either ends, if nothing else is heard; `hastens`: it did when it was looked at last.
    pub(super) fn ends(&self, hastens: bool) -> Timestamp {
        let over = after(self.last, HOLD);
        if hastens { over.min(after(self.since, MAX_HASTE)) } else { over }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + second).unwrap()
    }

    /// An address of the n-th /24.
    fn v4(network: usize) -> IpAddr {
        Ipv4Addr::from_bits((network as u32) << 8).into()
    }

    /// A session of two sites; those named could not be reached.
    fn session(errors: &mut ClientErrors, client: IpAddr, second: i64, lost: &[&str]) -> Vec<(usize, usize)> {
        let found = ["aws/a", "gcp/b"].map(|site| (Arc::from(site), (!lost.contains(&site)).then_some(20.0)));
        let complaints = errors.take(client, &found, at(second));
        assert!(complaints.iter().all(|complaint| lost.contains(&&*complaint.site)));
        complaints.iter().map(|complaint| (complaint.failed, complaint.of)).collect()
    }

    #[test]
    fn five_networks_are_heard_and_no_more_often_than_needed() {
        let errors = &mut ClientErrors::default();
        for network in 0..4 {
            assert_eq!(session(errors, v4(network), 0, &["aws/a"]), []);
        }
        assert_eq!(session(errors, v4(4), 1, &["aws/a"]), [(5, 5)]);
        assert_eq!(session(errors, v4(5), 5, &["aws/a"]), []);
        assert_eq!(session(errors, v4(5), 6, &[]), [], "who reaches it complains of nothing");
        assert_eq!(session(errors, v4(6), 6, &["aws/a"]), [(6, 7)]);
    }

    #[test]
    fn one_network_is_not_heard_however_often_it_repeats_itself() {
        let errors = &mut ClientErrors::default();
        for second in 0..200 {
            let host = Ipv4Addr::new(192, 0, 2, second as u8).into();
            let of_one_32 = Ipv6Addr::from_bits(0x2001_0db8 << 96 | (second as u128) << 80).into();
            assert_eq!(session(errors, host, second / 10, &["aws/a"]), []);
            assert_eq!(session(errors, of_one_32, second / 10, &["aws/a"]), []);
        }
        assert_eq!(errors.sites["aws/a"].latest.len(), 2);
    }

    #[test]
    fn where_nothing_answered_the_trouble_is_the_clients_own() {
        let errors = &mut ClientErrors::default();
        for network in 0..100 {
            assert_eq!(session(errors, v4(network), 0, &["aws/a", "gcp/b"]), []);
        }
        assert_eq!(errors.take(v4(1), &[], at(0)), []);
        assert!(errors.sites.is_empty());
    }

    #[test]
    fn it_takes_a_fifth_of_those_that_tried() {
        let errors = &mut ClientErrors::default();
        for network in 0..21 {
            session(errors, v4(network), 0, &[]);
        }
        for network in 21..26 {
            assert_eq!(session(errors, v4(network), 1, &["aws/a"]), [], "at most 5 of 26");
        }
        assert_eq!(session(errors, v4(0), 1, &["aws/a"]), [(6, 26)], "it could reach it before");
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let errors = &mut ClientErrors::default();
        for network in 0..4 {
            session(errors, v4(network), 0, &["aws/a"]);
        }
        assert_eq!(session(errors, v4(4), 60, &["aws/a"]), []);
        let votes = |errors: &ClientErrors| errors.sites["aws/a"].latest.len();
        assert_eq!(votes(errors), 1);
        session(errors, v4(5), -60, &["aws/a"]);
        assert_eq!(votes(errors), 1, "nor is what a clock that was set back calls the future heard");
    }

    #[test]
    fn a_quarter_has_room_or_one_site_that_is_small() {
        for (members, hastened, all, expected) in [
            (9, 0, 10, true),
            (64, 0, 100, true),
            (65, 0, 100, false),
            (250, 0, 1000, true),
            (251, 0, 1000, false),
            (1, 1, 8, true),
            (1, 1, 7, false),
            (2, 1, 8, false),
            (25, 225, 1000, true),
        ] {
            assert_eq!(has_room(members, hastened, all), expected, "{members} beside {hastened} of {all}");
        }
    }

    #[test]
    fn sites_and_votes_are_bounded() {
        assert_eq!(size_of::<Vote>(), 24);
        let errors = &mut ClientErrors::default();
        for network in 0..3 * MAX_VOTES {
            session(errors, v4(network), 0, &[]);
        }
        assert_eq!(errors.sites["aws/a"].latest.len(), MAX_VOTES);
        let made_up = |errors: &mut ClientErrors, from: usize, second| {
            for number in from..from + MAX_SITES {
                errors.take(v4(0), &[(format!("aws/{number}").into(), Some(1.0))], at(second));
            }
        };
        made_up(errors, 0, 1);
        assert_eq!(errors.sites.len(), MAX_SITES);
        assert!(errors.sites.contains_key("gcp/b"), "who came first stays while it is of late");
        made_up(errors, MAX_SITES, 61);
        assert_eq!(errors.sites.len(), MAX_SITES);
        assert!(!errors.sites.contains_key("gcp/b"));
    }
}
