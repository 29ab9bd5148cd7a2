//! The operator's hand: what was ordered by hand, kept on disk (BEHAVIOUR rules 19 and 27).
//!
//! `state/overrides.json` is written whole with each order, beside its place, synced and renamed in, and read at the
//! start. A damaged one is set aside with an error and not trusted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::last_good::write_whole;
use crate::config::Config;
use crate::model::Endpoint;
use crate::table::{Hand, HeldAs, Returned};

/// The most orders at a time.
pub(super) const MAX_OVERRIDES: usize = 1000;
/// The form of the file that this version reads and writes.
const VERSION: u32 = 3;

/// One order of the operator, in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// What it is about.
    pub scope: Scope,
    /// What is to be so.
    pub action: Action,
    /// Of a drain: how long it takes, in seconds; none: as long as each service says.
    pub over_s: Option<u64>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who ordered it.
    pub author: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when; none: until it is taken back.
    pub until: Option<Timestamp>,
}

/// What an order is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Scope {
    /// Everything; of holds alone.
    All,
    /// All of a cloud.
    Cloud(Arc<str>),
    /// A cloud's region, as `aws/eu-west-1`.
    Site(Arc<str>),
    /// An endpoint.
    Endpoint(Arc<str>),
    /// A service, by its name; of holds alone. Those that share its endpoints and policy are held with it.
    Service(Arc<str>),
}

/// What an order says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Its clients leave it by steps; answered only before nothing.
    Drain,
    /// It counts as up, whatever probes say.
    Up,
    /// It is never answered, in any mode.
    Down,
    /// Verdicts are seen and logged, and move nothing.
    Hold,
}

impl Action {
    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drained",
            Self::Up => "forced up",
            Self::Down => "forced down",
            Self::Hold => "held",
        }
    }
}

impl Scope {
    /// What a word means: `all`, an endpoint's name, a service's, `CLOUD/REGION`, a cloud, or a region that only one cloud
    /// has.
    ///
    /// # Errors
    /// Nothing of the configuration is called so: what is.
    pub fn find(word: &str, config: &Config) -> Result<Self, String> {
        let endpoints = || config.endpoints.iter();
        if word == "all" {
            return Ok(Self::All);
        }
        if let Some(endpoint) = endpoints().find(|endpoint| *endpoint.name == *word) {
            return Ok(Self::Endpoint(endpoint.name.clone()));
        }
        if let Some(service) = config.services.iter().find(|service| *service.label == *word) {
            return Ok(Self::Service(service.label.clone()));
        }
        if endpoints().any(|endpoint| endpoint.site.cloud.as_str() == word) {
            return Ok(Self::Cloud(word.into()));
        }
        let sites = || endpoints().map(|endpoint| format!("{}/{}", endpoint.site.cloud.as_str(), endpoint.site.region));
        let mut meant: Vec<String> =
            sites().filter(|site| site == word || site.split('/').nth(1) == Some(word)).collect();
        meant.sort_unstable();
        meant.dedup();
        match &meant[..] {
            [site] => Ok(Self::Site(site.as_str().into())),
            [] => {
                let names = endpoints().map(|endpoint| &*endpoint.name);
                let clouds = endpoints().map(|endpoint| endpoint.site.cloud.as_str());
                let services = config.services.iter().map(|service| &*service.label);
                let near = crate::config::closest(word, names.chain(clouds).chain(services));
                let near = near.map(|near| format!("; did you mean '{near}'?"));
                let pattern = || word.contains('*').then(|| "; an order has one target, and no patterns".to_owned());
                let near = pattern().or(near).unwrap_or_default();
                Err(format!("no endpoint, service, cloud or region is called '{word}'{near}"))
            }
            several => Err(format!("'{word}' may be {}: say which", several.join(" or "))),
        }
    }

    /// Is the endpoint part of it?
    #[must_use]
    pub fn holds(&self, endpoint: &Endpoint) -> bool {
        let cloud = endpoint.site.cloud.as_str();
        match self {
            Self::All => true,
            Self::Service(_) => false,
            Self::Endpoint(name) => *name == endpoint.name,
            Self::Cloud(name) => **name == *cloud,
            Self::Site(name) => {
                name.split_once('/').is_some_and(|(of, region)| of == cloud && *endpoint.site.region == *region)
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Cloud(name) | Self::Site(name) | Self::Endpoint(name) | Self::Service(name) => f.write_str(name),
        }
    }
}

/// All orders in force. At most one of an action for a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    list: Vec<Override>,
}

/// What all orders together come to for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// It is drained, or forced up or down.
    pub hand: Hand,
    /// Verdicts do not move it.
    pub held: bool,
}

impl Overrides {
    /// In the order in which they were given.
    #[must_use]
    pub fn list(&self) -> &[Override] {
        &self.list
    }

    /// What is ordered for the endpoint. Forced down is above all, and a drain above forced up.
    #[must_use]
    pub fn of(&self, endpoint: &Endpoint) -> Ordered {
        let mut ordered = Ordered::default();
        for order in self.list.iter().filter(|order| order.scope.holds(endpoint)) {
            match order.action {
                Action::Down => ordered.hand = Hand::Down,
                Action::Drain => {
                    let over = order.over_s.map(Duration::from_secs);
                    ordered.hand = match ordered.hand {
                        Hand::Off | Hand::Up => Hand::Drained { since: order.at, over },
                        // The one that has gone on for longest.
                        Hand::Drained { since, .. } if order.at < since => Hand::Drained { since: order.at, over },
                        stronger => stronger,
                    };
                }
                Action::Up if ordered.hand == Hand::Off => ordered.hand = Hand::Up,
                Action::Up => {}
                Action::Hold => ordered.held = true,
            }
        }
        ordered
    }

    /// The services that are held.
    pub fn held_services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.list.iter().filter_map(|order| match &order.scope {
            Scope::Service(name) if order.action == Action::Hold => Some(name),
            _ => None,
        })
    }

    /// Those that hold the endpoint, in words for `/status`.
    #[must_use]
    pub fn describe(&self, endpoint: &Endpoint) -> Option<String> {
        let of = self.list.iter().filter(|order| order.scope.holds(endpoint));
        let words: Vec<String> = of.map(Override::to_string).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Takes an order in, in place of one of the same action and scope; what is in force now, and which that was.
    ///
    /// # Errors
    /// There are too many.
    pub fn put(&mut self, mut order: Override) -> Result<(Override, Option<Override>), String> {
        let before = self.list.iter().position(|old| (old.action, &old.scope) == (order.action, &order.scope));
        if before.is_none() && self.list.len() >= MAX_OVERRIDES {
            return Err(format!("{MAX_OVERRIDES} orders are in force; take some back first"));
        }
        let before = before.map(|at| self.list.remove(at));
        // A drain that is given anew goes on: nobody comes back by it.
        if let Some(drain) = before.as_ref().filter(|_| order.action == Action::Drain) {
            order.at = drain.at;
            order.over_s = order.over_s.or(drain.over_s);
        }
        self.list.push(order.clone());
        Ok((order, before))
    }

    /// Takes orders of these actions back; which they were.
    pub fn remove(&mut self, scope: &Scope, actions: &[Action]) -> Vec<Override> {
        self.remove_where(|order| order.scope == *scope && actions.contains(&order.action))
    }

    /// Takes back what has expired.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Override> {
        self.remove_where(|order| order.until.is_some_and(|until| until <= now))
    }

    /// When the next one expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.list.iter().filter_map(|order| order.until).min()
    }

    fn remove_where(&mut self, goes: impl Fn(&Override) -> bool) -> Vec<Override> {
        let (gone, stays) = std::mem::take(&mut self.list).into_iter().partition(goes);
        self.list = stays;
        gone
    }

    /// Where they are kept.
    #[must_use]
    pub fn file_below(state: &Path) -> PathBuf {
        state.join("overrides.json")
    }

    /// Those kept at `path`, and what was held by them; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read or is damaged: why.
    pub fn read(path: &Path) -> Result<(Self, Held), Unread> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(Unread::Unreadable(error)),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| Unread::Damaged(error.to_string()))?;
        match kept.version {
            // Of services it is not known by address what they had: they are held as they will be served.
            1 | 2 => Ok((Self { list: kept.overrides }, Held { services: BTreeMap::new(), ..kept.held })),
            VERSION => Ok((Self { list: kept.overrides }, kept.held)),
            other => Err(Unread::Damaged(format!("it has version {other}; this program reads {VERSION}"))),
        }
    }

    /// Keeps them.
    ///
    /// # Errors
    /// As of writing files.
    pub fn write(&self, held: &Held, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut text =
            serde_json::to_vec_pretty(&Kept { version: VERSION, overrides: self.list.clone(), held: held.clone() })?;
        text.push(b'\n');
        write_whole(path, |file| file.write_all(&text))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    overrides: Vec<Override>,
    #[serde(default)]
    held: Held,
}

/// What orders need to know of the past: how what is held was when that began, and what was given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// By endpoint.
    pub(super) endpoints: BTreeMap<Arc<str>, HeldAs>,
    /// By service and endpoint.
    pub(super) services: BTreeMap<Arc<str>, BTreeMap<Arc<str>, HeldAs>>,
    /// When endpoints were given back to their clients.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) given_back: BTreeMap<Arc<str>, Vec<Returned>>,
}

/// Why there are no orders of an earlier run.
#[derive(Debug)]
pub enum Unread {
    /// The file is no good.
    Damaged(String),
    /// It may be good, but cannot be read now.
    Unreadable(io::Error),
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, action, reason, author, at, until, over_s: _ } = self;
        write!(f, "{} by {author} since {at:.0}", action.as_str())?;
        if !matches!(scope, Scope::Endpoint(_)) {
            write!(f, " ({scope})")?;
        }
        if let Some(until) = until {
            write!(f, " until {until:.0}")?;
        }
        if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Addresses, Cost, Site, State, find_region};

    fn endpoint(name: &str, cloud: &str, region: &str) -> Endpoint {
        Endpoint {
            name: name.into(),
            site: Site::from(find_region(cloud, region).unwrap()),
            addresses: Addresses::Fixed(vec!["192.0.2.1".parse().unwrap()]),
            bias_ms: 0.0,
            weight: 100,
            cost: Cost::default(),
            probes: Vec::new(),
            probe_target: None,
            capacity: None,
            beacon: None,
        }
    }

    fn order(action: Action, scope: Scope) -> Override {
        let (reason, author) = ("patching".to_owned(), "anna".to_owned());
        Override { scope, action, over_s: None, reason, author, at: at(0), until: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0).unwrap()
    }

    #[test]
    fn orders_of_an_endpoint_its_site_and_its_cloud_meet() {
        let (ours, other) = (endpoint("a", "aws", "eu-west-1"), endpoint("b", "aws", "us-east-1"));
        let mut overrides = Overrides::default();
        overrides.put(order(Action::Up, Scope::Endpoint("a".into()))).unwrap();
        overrides.put(order(Action::Drain, Scope::Site("aws/eu-west-1".into()))).unwrap();
        let drained = Hand::Drained { since: at(0), over: None };
        assert_eq!(overrides.of(&ours), Ordered { hand: drained, held: false });
        assert_eq!(overrides.of(&other), Ordered::default());
        overrides.put(order(Action::Down, Scope::Cloud("aws".into()))).unwrap();
        overrides.put(order(Action::Hold, Scope::All)).unwrap();
        assert_eq!(overrides.of(&ours), Ordered { hand: Hand::Down, held: true });
        assert_eq!(overrides.of(&other), Ordered { hand: Hand::Down, held: true });
        let words = overrides.describe(&other).unwrap();
        assert_eq!(
            words,
            "forced down by anna since 1970-01-01T00:00:00Z (aws): patching; held by anna since 1970-01-01T00:00:00Z (all): patching"
        );
        assert_eq!(overrides.remove(&Scope::Cloud("aws".into()), &[Action::Down, Action::Up]).len(), 1);
        assert_eq!(overrides.of(&other), Ordered { held: true, ..Ordered::default() });
    }

    #[test]
    fn an_order_replaces_its_like_and_expires() {
        let mut overrides = Overrides::default();
        let scope = || Scope::Endpoint("a".into());
        overrides.put(Override { until: Some(at(9)), ..order(Action::Drain, scope()) }).unwrap();
        overrides.put(Override { until: Some(at(5)), ..order(Action::Drain, scope()) }).unwrap();
        overrides.put(order(Action::Up, scope())).unwrap();
        assert_eq!((overrides.list().len(), overrides.next_expiry()), (2, Some(at(5))));
        let again = Override { at: at(3), until: Some(at(5)), ..order(Action::Drain, scope()) };
        let (drain, before) = overrides.put(again).unwrap();
        assert_eq!((drain.at, before.unwrap().until), (at(0), Some(at(5))), "nobody comes back by it");
        assert!(overrides.list().contains(&drain));
        assert_eq!(overrides.expire(at(4)), []);
        assert_eq!(overrides.expire(at(5))[0].action, Action::Drain);
        assert_eq!((overrides.list().len(), overrides.next_expiry()), (1, None));
        for number in 1..MAX_OVERRIDES {
            overrides.put(order(Action::Up, Scope::Endpoint(number.to_string().into()))).unwrap();
        }
        assert!(overrides.put(order(Action::Up, Scope::Endpoint("one more".into()))).is_err());
        assert!(overrides.put(order(Action::Up, scope())).is_ok(), "in place of its like");
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = Overrides::file_below(folder.path());
        assert_eq!(Overrides::read(&path).unwrap(), Default::default());
        let mut overrides = Overrides::default();
        for scope in [Scope::All, Scope::Cloud("aws".into()), Scope::Site("aws/eu-west-1".into())] {
            overrides.put(Override { over_s: Some(60), until: Some(at(7)), ..order(Action::Drain, scope) }).unwrap();
        }
        let mut held = Held::default();
        let addresses = vec![("192.0.2.1".parse().unwrap(), State::Up)];
        held.endpoints.insert("a".into(), HeldAs { addresses, warming: [Some(at(5)), None].into() });
        let addresses = vec![("192.0.2.2".parse().unwrap(), State::Degraded)];
        let member = HeldAs { addresses, warming: [None, Some(at(4))].into() };
        held.services.insert("www".into(), BTreeMap::from([("a".into(), member)]));
        held.given_back.insert("a".into(), vec![Returned { at: at(3), drained: Some((at(1), Some(60))) }]);
        overrides.write(&held, &path).unwrap();
        assert_eq!(Overrides::read(&path).unwrap(), (overrides, held));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Overrides::read(&path), Err(Unread::Damaged(_))));
        // Of version 1 a ramp is that of both families.
        let one = r#"{"version": 1, "overrides": [], "held": {
            "endpoints": {"a": [[["192.0.2.1", "up"]], "2026-11-29T00:00:00Z"]},
            "services": {"www": {"a": {"states": ["up", null], "warming": null}}}}}"#;
        fs::write(&path, one).unwrap();
        let (_, held) = Overrides::read(&path).unwrap();
        let since = "2026-11-29T00:00:00Z".parse().ok();
        let addresses = vec![("192.0.2.1".parse().unwrap(), State::Up)];
        assert_eq!(held.endpoints["a"], HeldAs { addresses, warming: [since; 2].into() });
        assert_eq!(held.services, BTreeMap::new());
        fs::write(&path, text.replace("\"version\": 3", "\"version\": 4")).unwrap();
        let Err(Unread::Damaged(why)) = Overrides::read(&path) else { panic!() };
        assert_eq!(why, "it has version 4; this program reads 3");
        assert!(matches!(Overrides::read(folder.path()), Err(Unread::Unreadable(_))));
    }
}
