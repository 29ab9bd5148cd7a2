//! Orders of the operator: from the request to what is served.
//!
//! Who asks gets the reply when the order is in force and kept on disk. Where the disk fails it is in force all the same,
//! and the reply says that a restart would lose it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::overrides::{Action, Held, Ordered, Override, Overrides, Scope, Unread};
use super::request::{Done, Order, Request, Verb};
use super::run::Control;
use super::unwritten::Kept;
use crate::config::{self, Config};
use crate::health::Recovered;
use crate::model::{Digest, EndpointId, PlanId, Service, State};
use crate::steer::age;
use crate::table::{Hand, Held as HeldPlan, HeldAs, Returned, Snapshot, Standing};

/// The longest reason and the longest author, in octets.
const LONGEST_REASON: usize = 500;
const LONGEST_AUTHOR: usize = 100;
/// Of an endpoint that is given back again and again, so many times are remembered.
const RETURNS: usize = 4;
/// The longest time that an order may hold, and a drain take.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Overrides {
    /// Takes a request in.
    ///
    /// # Errors
    /// It cannot be done: why, and what can.
    pub fn obey(&mut self, request: &Request, config: &Config, now: Timestamp) -> Result<Done, String> {
        let Request { action: verb, target, reason, author, lasting, over, .. } = request;
        let scope = match Scope::find(target, config) {
            // What is no more in the configuration may still be taken back.
            Err(error) if verb.action().is_none() => {
                let known = self.list().iter().map(|order| &order.scope).find(|scope| scope.to_string() == *target);
                known.cloned().ok_or(error)?
            }
            found => found?,
        };
        if matches!(scope, Scope::All | Scope::Service(_)) && *verb != Verb::Hold && verb.action().is_some() {
            return Err(format!(
                "{scope} can be held, not drained or forced: that is for endpoints, regions and clouds"
            ));
        }
        if author.is_empty() || author.len() > LONGEST_AUTHOR || reason.len() > LONGEST_REASON {
            let lengths = format!("an author of 1 to {LONGEST_AUTHOR} octets and a reason of at most {LONGEST_REASON}");
            return Err(format!("an order has {lengths}"));
        }
        if author.chars().chain(reason.chars()).any(char::is_control) {
            return Err("author and reason are of one line each".to_owned());
        }
        let lasting = span("for", lasting.as_deref())?;
        let over = span("over", over.as_deref())?;
        if over.is_some() && *verb != Verb::Drain {
            return Err("`over` is how long a drain takes".to_owned());
        }
        let Some(action) = verb.action() else {
            let actions =
                if *verb == Verb::Undrain { &[Action::Drain][..] } else { &[Action::Up, Action::Down, Action::Hold] };
            let removed = self.remove(&scope, actions);
            if removed.is_empty() {
                let word = if *verb == Verb::Undrain { "drained" } else { "forced or held" };
                let others: Vec<String> = self.list().iter().map(|order| format!("{}: {order}", order.scope)).collect();
                let others = if others.is_empty() { "no order is".to_owned() } else { others.join(", ") };
                return Err(format!("{scope} is not {word} by an order of its own; in force: {others}"));
            }
            let warmup = config.plans.iter().map(|plan| plan.policy.warmup).max().unwrap_or_default();
            let comes_back = removed.iter().any(|order| matches!(order.action, Action::Drain | Action::Down));
            let back_at = comes_back.then(|| now.checked_add(warmup).ok()).flatten();
            return Ok(Done {
                put: Vec::new(),
                removed,
                replaced: Vec::new(),
                drained_at: None,
                back_at,
                not_kept: None,
            });
        };
        if *verb == Verb::Hold && lasting.is_none() {
            return Err("a hold needs an end: say for how long, as in 30m".to_owned());
        }
        let until = lasting.map(|lasting| now.checked_add(lasting)).transpose().map_err(|error| error.to_string())?;
        let over_s = over.map(|over| over.as_secs());
        let order = Override { scope, action, over_s, reason: reason.clone(), author: author.clone(), at: now, until };
        // Forced up and forced down replace each other.
        let removed = match action {
            Action::Up => self.remove(&order.scope, &[Action::Down]),
            Action::Down => self.remove(&order.scope, &[Action::Up]),
            Action::Drain | Action::Hold => Vec::new(),
        };
        let (order, replaced) = self.put(order)?;
        let is_over = |order: &Override| {
            let over = order.over_s.map_or(longest_drain(config), Duration::from_secs);
            order.at.checked_add(over).ok()
        };
        let drained_at = Some(&order).filter(|order| order.action == Action::Drain).and_then(is_over);
        let replaced = replaced.into_iter().collect();
        Ok(Done { put: vec![order], removed, replaced, drained_at, back_at: None, not_kept: None })
    }

    /// The digest of what serves, with these.
    pub(super) fn decision_hash(&self, of_files: Digest) -> Digest {
        if self.list().is_empty() {
            return of_files;
        }
        let mut orders: Vec<_> = self.list().iter().map(|order| (&order.scope, order.action)).collect();
        orders.sort_unstable();
        let text = serde_json::to_string(&orders).unwrap_or_default(); // text can be written
        Digest::of(format!("{of_files} {text}").as_bytes())
    }
}

/// An endpoint as it stands. Of one that is forced down nothing is held, lest it be used when that ends, whatever has come to it.
fn as_it_stands(standing: &Standing) -> HeldAs {
    let addresses = if standing.hand == Hand::Down { Vec::new() } else { standing.addresses.clone() };
    HeldAs { addresses, warming: standing.warming }
}

/// The members of a plan as they are served; another service may hold them already.
fn as_served(snapshot: &Snapshot, plan: PlanId) -> BTreeMap<Arc<str>, HeldAs> {
    let table = snapshot.plan_table(plan);
    let member = |(at, &id): (usize, &EndpointId)| {
        let mut standing = snapshot.standing(id).clone();
        match table.held() {
            Some(held) if standing.hand != Hand::Up => standing.hold(&held[at]),
            _ => {}
        }
        (snapshot.parts.config.endpoints[id.index()].name.clone(), as_it_stands(&standing))
    };
    table.plan.members.iter().enumerate().map(member).collect()
}

/// By any service.
fn longest_drain(config: &Config) -> Duration {
    config.plans.iter().map(|plan| plan.policy.drain).max().unwrap_or_default()
}

fn span(what: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    match config::duration(text) {
        Some(span) if span >= Duration::from_secs(1) && span <= LONGEST => Ok(Some(span)),
        _ => Err(format!(
            "`{what}` is '{text}': write a whole number with its unit, such as 90s, 30m or 2h, from 1s to 366d"
        )),
    }
}

/// What orders come to for the endpoints, and what they need to know of the past.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// What they need to know of the past.
    held: Held,
    /// What is in force is not on disk.
    unkept: Arc<AtomicBool>,
}

impl Orders {
    /// What the operator's hand makes of how an endpoint stands by health.
    pub(super) fn apply(&self, ordered: Ordered, name: &str, standing: Standing) -> Standing {
        let mut standing = Standing { hand: ordered.hand, held: ordered.held, ..standing };
        if let Some(held) = self.held.endpoints.get(name).filter(|_| ordered.held) {
            standing.hold(held);
        }
        if ordered.hand == Hand::Up {
            standing.warming = Recovered::default();
            standing.addresses.iter_mut().for_each(|(_, state)| *state = State::Up);
        }
        Standing { returned: self.held.given_back.get(name).cloned().unwrap_or_default(), ..standing }
    }

    /// Orders were taken back, or have expired: the clients come back by steps.
    fn give_back(&mut self, removed: &[Override], config: &Config, now: Timestamp) {
        let longest = config.plans.iter().map(|plan| plan.policy.warmup).max().unwrap_or_default();
        for returned in self.held.given_back.values_mut() {
            returned.retain(|returned| age(returned.at, now) < longest);
        }
        self.held.given_back.retain(|_, returned| !returned.is_empty());
        for order in removed.iter().filter(|order| matches!(order.action, Action::Drain | Action::Down)) {
            let at = order.until.map_or(now, |until| until.min(now));
            let drained = (order.action == Action::Drain).then_some((order.at, order.over_s));
            for endpoint in config.endpoints.iter().filter(|endpoint| order.scope.holds(endpoint)) {
                let known = self.held.given_back.entry(endpoint.name.clone()).or_default();
                known.push(Returned { at, drained });
                if known.len() > RETURNS {
                    known.remove(0);
                }
            }
        }
    }

    /// The plans of services that are held, and how these hold them.
    pub(super) fn holds(&self, config: &Config) -> Vec<(PlanId, HeldPlan)> {
        if self.held.services.is_empty() {
            return Vec::new();
        }
        let services =
            config.services.iter().filter_map(|service| Some((service, self.held.services.get(&service.label)?)));
        let hold = |(service, members): (&Service, &BTreeMap<Arc<str>, HeldAs>)| {
            let name = |id: &EndpointId| &config.endpoints[id.index()].name;
            let ids = config.plans[service.plan.index()].members.iter();
            (service.plan, ids.map(|id| members.get(name(id)).cloned().unwrap_or_default()).collect())
        };
        services.map(hold).collect()
    }
}

impl Control {
    /// Takes up the orders of an earlier process.
    pub(super) fn restore_orders(&mut self) {
        let path = Overrides::file_below(&self.config().server.state);
        match Overrides::read(&path) {
            Ok((mut kept, held)) => {
                let gone = kept.expire(Timestamp::now());
                self.orders.held = held;
                self.orders.give_back(&gone, &self.loaded.parts.config, Timestamp::now());
                kept.list()
                    .iter()
                    .for_each(|order| info!(target = %order.scope, %order, "in force by hand, as before"));
                *self.shared.overrides() = kept;
                self.tell_expired(&gone);
                if !gone.is_empty() {
                    self.keep_orders(None);
                }
            }
            Err(Unread::Damaged(why)) => {
                let aside = path.with_extension(format!("damaged-{}", Timestamp::now().as_second()));
                let moved = std::fs::rename(&path, &aside).is_ok();
                error!(file = %path.display(), why, moved_to = %aside.display(), moved, "orders of an earlier run are damaged: NONE is in force");
            }
            Err(Unread::Unreadable(error)) => {
                error!(file = %path.display(), %error, "orders of an earlier run cannot be read: NONE is in force; the next order writes the file anew");
            }
        }
        self.tell_decision_hash();
    }

    /// Takes an order in, publishes what comes of it, and replies when it is kept.
    pub(super) fn take_order(&mut self, order: Order) {
        let Order { request, reply } = order;
        let (now, config) = (Timestamp::now(), self.config());
        let obeyed = self.shared.overrides().obey(&request, &config, now);
        let done = match obeyed {
            Ok(done) => done,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let Request { reason, author, .. } = &request;
        let before = done.replaced.first().map(|before| format!("in place of: {before}")).unwrap_or_default();
        for order in &done.put {
            warn!(target = %order.scope, action = order.action.as_str(), reason, author, before, "by hand");
        }
        for order in &done.removed {
            warn!(target = %order.scope, action = order.action.as_str(), reason, author, "by hand: taken back");
        }
        self.put_in_force(&done.removed, now);
        let generation = self.shared.published.load().generation;
        for order in &done.put {
            let before = if before.is_empty() { String::new() } else { format!("; {before}") };
            self.shared.events.record_order(order, true, order.to_string() + &before, generation);
        }
        let by = if reason.is_empty() { author.clone() } else { format!("{author}: {reason}") };
        for order in &done.removed {
            self.shared.events.record_order(order, false, format!("taken back by {by}"), generation);
        }
        self.keep_orders(Some((done, reply)));
    }

    /// Takes back what has expired.
    pub(super) fn expire_orders(&mut self, now: Timestamp) {
        let gone = self.shared.overrides().expire(now);
        if !gone.is_empty() {
            self.put_in_force(&gone, now);
            self.tell_expired(&gone);
            self.keep_orders(None);
        }
    }

    fn tell_expired(&self, gone: &[Override]) {
        let generation = self.shared.published.load().generation;
        for order in gone {
            warn!(target = %order.scope, %order, "expired");
            self.shared.events.record_order(order, false, format!("expired: {order}"), generation);
        }
    }

    /// Publishes what the orders in force come to.
    fn put_in_force(&mut self, removed: &[Override], now: Timestamp) {
        self.orders.give_back(removed, &self.loaded.parts.config, now);
        self.tell_decision_hash();
        self.hold_as_served();
        let snapshot = self.shared.published.load_full();
        let changed = self.changed(&self.shared.board(), &snapshot);
        self.publish(snapshot.with_standings(changed, now));
    }

    /// What is held stays as it is served now, and what was held before stays as it was; what is held no more is forgotten.
    pub(super) fn hold_as_served(&mut self) {
        let (shared, snapshot) = (self.shared.clone(), self.shared.published.load_full());
        let (config, overrides) = (&snapshot.parts.config, shared.overrides());
        let mut before = std::mem::take(&mut self.orders.held);
        self.orders.held.given_back = std::mem::take(&mut before.given_back);
        for (id, endpoint) in (0..).map(EndpointId).zip(&config.endpoints) {
            if overrides.of(endpoint).held {
                let known = before.endpoints.remove(&endpoint.name);
                let served = || snapshot.steering.then(|| as_it_stands(snapshot.standing(id)));
                if let Some(held) = known.or_else(served) {
                    self.orders.held.endpoints.insert(endpoint.name.clone(), held);
                }
            }
        }
        for name in overrides.held_services() {
            let Some(service) = config.services.iter().find(|service| service.label == *name) else { continue };
            let served = || snapshot.steering.then(|| as_served(&snapshot, service.plan));
            if let Some(held) = before.services.remove(name).or_else(served) {
                self.orders.held.services.insert(name.clone(), held);
            }
        }
    }

    /// Writes what could not be written before.
    pub(super) fn keep_unkept(&mut self) {
        if self.orders.unkept.load(Ordering::Relaxed) {
            self.keep_orders(None);
        }
    }

    /// Writes them, after what is being written, then replies.
    fn keep_orders(&mut self, waiting: Option<(Done, oneshot::Sender<Result<Done, String>>)>) {
        let (path, overrides) = (Overrides::file_below(&self.started.server.state), self.shared.overrides().clone());
        let (held, unkept, shared) = (self.orders.held.clone(), self.orders.unkept.clone(), self.shared.clone());
        let before = self.keeping_orders.take();
        self.keeping_orders = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let write = move || overrides.write(&held, &path).map_err(|error| format!("{}: {error}", path.display()));
            let written = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string());
            let not_kept = written.flatten().err();
            unkept.store(not_kept.is_some(), Ordering::Relaxed);
            shared.state.note(Kept::Orders, not_kept.as_deref());
            if let Some(error) = &not_kept {
                error!(error, "orders could not be kept; a restart would lose them");
            }
            if let Some((done, reply)) = waiting {
                let _ = reply.send(Ok(Done { not_kept, ..done })); // who asked may have gone
            }
        }));
    }

    pub(super) fn tell_decision_hash(&self) {
        let mut hash = self.shared.overrides().decision_hash(self.files_hash);
        if let Some(measured) = &self.loaded.parts.measured.digest {
            hash = Digest::of_all([&hash.0[..], &measured.0]);
        }
        self.shared.journal().decision_hash = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;

    fn config() -> Config {
        let endpoint = |name: &str, cloud: &str, region: &str| {
            format!(
                "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\naddresses = [\"192.0.2.{}\"]\n",
                name.len()
            )
        };
        let endpoints = [
            endpoint("a", "aws", "eu-west-1"),
            endpoint("bb", "aws", "us-east-1"),
            endpoint("ccc", "gcp", "europe-west1"),
        ];
        let text = format!(
            "{}[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n[geoip]\ndatabases = []\n",
            endpoints.concat()
        );
        let files = [("config.toml", text.as_str()), ("zone", "")];
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
            files.map(|(path, text)| (path.into(), text.as_bytes().into())).into();
        config::read(&mut files, Path::new("config.toml")).unwrap().config
    }

    fn request(action: Verb, target: &str) -> Request {
        let (reason, author) = ("patching".to_owned(), "anna".to_owned());
        let (lasting, over) = ((action == Verb::Hold).then(|| "30m".to_owned()), None);
        Request {
            action,
            target: target.to_owned(),
            reason,
            author,
            lasting,
            over,
            accept_impact: false,
            dry_run: false,
        }
    }

    #[test]
    fn words_mean_endpoints_sites_and_clouds() {
        let config = config();
        let find = |word: &str| Scope::find(word, &config);
        assert_eq!(find("a"), Ok(Scope::Endpoint("a".into())));
        assert_eq!(find("aws"), Ok(Scope::Cloud("aws".into())));
        assert_eq!(find("aws/us-east-1"), Ok(Scope::Site("aws/us-east-1".into())));
        assert_eq!(find("europe-west1"), Ok(Scope::Site("gcp/europe-west1".into())));
        assert_eq!(find("all"), Ok(Scope::All));
        assert_eq!(find("azure").unwrap_err(), "no endpoint, service, cloud or region is called 'azure'");
        assert_eq!(
            find("cc").unwrap_err(),
            "no endpoint, service, cloud or region is called 'cc'; did you mean 'ccc'?"
        );
    }

    #[test]
    fn orders_are_obeyed_or_told_why_not() {
        let (config, mut overrides, now) = (config(), Overrides::default(), Timestamp::UNIX_EPOCH);
        let mut obey = |request: Request| overrides.obey(&request, &config, now);
        let drained =
            obey(Request { over: Some("5m".into()), lasting: Some("2h".into()), ..request(Verb::Drain, "aws") })
                .unwrap();
        assert_eq!((drained.put[0].over_s, drained.put[0].until.unwrap().as_second()), (Some(300), 7200));
        assert_eq!(
            obey(request(Verb::Undrain, "a")).unwrap_err(),
            "a is not drained by an order of its own; in force: aws: drained by anna since 1970-01-01T00:00:00Z (aws) until 1970-01-01T02:00:00Z: patching"
        );
        assert_eq!(obey(request(Verb::Undrain, "aws")).unwrap().removed, drained.put);
        obey(request(Verb::Down, "a")).unwrap();
        assert_eq!(obey(request(Verb::Up, "a")).unwrap().removed[0].action, Action::Down);
        obey(request(Verb::Hold, "all")).unwrap();
        assert_eq!(obey(request(Verb::Release, "a")).unwrap().removed[0].action, Action::Up);
        for (wrong, why) in [
            (request(Verb::Drain, "all"), "all can be held"),
            (request(Verb::Down, "nobody"), "no endpoint"),
            (Request { author: String::new(), ..request(Verb::Down, "a") }, "an author of 1 to"),
            (Request { reason: "a\nb".into(), ..request(Verb::Down, "a") }, "of one line"),
            (Request { lasting: Some("soon".into()), ..request(Verb::Down, "a") }, "`for` is 'soon'"),
            (Request { lasting: None, ..request(Verb::Hold, "all") }, "a hold needs an end"),
            (Request { over: Some("5m".into()), ..request(Verb::Down, "a") }, "how long a drain takes"),
            (request(Verb::Release, "bb"), "not forced or held"),
        ] {
            let error = obey(wrong).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
