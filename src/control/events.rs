//! What health has found: an event for each change, kept for a while and sent to who listens.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use super::overrides::{Override, Scope};
use crate::health::{Notice, StateChange, Subject, Verdict};

/// Events that are kept. A cloud that dies is some hundred.
const KEPT: usize = 1000;
/// Events that a listener may lie behind; then it is told how many it lost.
const BEHIND: usize = 1024;

/// A change of what answers may hold, or of what is said of many endpoints at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// From 1 at the start of the process, without gaps.
    pub id: u64,
    /// When it was known.
    pub at: Timestamp,
    /// Of what: `endpoint`, `site`, `cloud`, `clients` (who report that they cannot reach a site), `self`, `anchor`, `order`
    /// (of the operator's hand), `soft` (signals that count for nobody in a fence of `service`) or `service` (the first of those
    /// that turn together, which `reason` names)
    pub of: &'static str,
    /// Whose; none: it is of something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Arc<str>>,
    /// Of which site or cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Arc<str>>,
    /// Of which site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Arc<str>>,
    /// Of the fences of which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// What an order is about, in its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The endpoint's state before; the same as `to` where only addresses changed.
    pub from: &'static str,
    /// Its state now: `up`, `degraded`, `damped`, `unknown` or `down`; of others `failing` or
    /// `working`, of soft signals `unheeded` or `heeded`; of services `exhausted` or `served`, `panic` or `calm`; of orders
    /// what is ordered, or `off`
    pub to: &'static str,
    /// The addresses that changed.
    pub addresses: Vec<AddressEvent>,
    /// Why: probe, target, cause.
    pub reason: String,
    /// The snapshot that answers by it.
    pub generation: u64,
}

/// A change of one address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddressEvent {
    /// Which.
    pub address: IpAddr,
    /// Its state before.
    pub from: &'static str,
    /// Its state now.
    pub to: &'static str,
}

/// The latest events, and those to come.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<VecDeque<Arc<Event>>>,
    listeners: broadcast::Sender<Arc<Event>>,
}

impl Event {
    /// One of now that is of nobody in particular, not numbered yet.
    fn new(of: &'static str, (from, to): (&'static str, &'static str), reason: String, generation: u64) -> Self {
        let (endpoint, cloud, region, service, target) = Default::default();
        let (id, at, addresses) = (0, Timestamp::now(), Vec::new());
        Self { id, at, of, endpoint, cloud, region, service, target, from, to, addresses, reason, generation }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { kept: Mutex::default(), listeners: broadcast::Sender::new(BEHIND) }
    }
}

impl Events {
    pub(super) fn record(&self, endpoint: &Arc<str>, verdict: &Verdict, generation: u64) {
        let address = |(address, change): &(IpAddr, StateChange)| AddressEvent {
            address: *address,
            from: change.from.as_str(),
            to: change.to.as_str(),
        };
        let StateChange { from, to } = verdict.change;
        self.add(Event {
            endpoint: Some(endpoint.clone()),
            addresses: verdict.addresses.iter().map(address).collect(),
            ..Event::new("endpoint", (from.as_str(), to.as_str()), verdict.reason.clone(), generation)
        });
    }

    pub(super) fn record_notice(&self, notice: &Notice, generation: u64) {
        let (of, cloud, region, service) = match &notice.subject {
            Subject::Anchor(_) => ("anchor", None, None, None),
            Subject::Site(cloud, region) => ("site", Some(cloud.0.clone()), Some(region.clone()), None),
            Subject::Clients(cloud, region) => ("clients", Some(cloud.0.clone()), Some(region.clone()), None),
            Subject::Cloud(cloud) => ("cloud", Some(cloud.0.clone()), None, None),
            Subject::Own => ("self", None, None, None),
            Subject::Withdrawal => ("withdrawal", None, None, None),
            Subject::Fence(service) => ("soft", None, None, Some(service.clone())),
        };
        let (good, bad) = if service.is_some() { ("heeded", "unheeded") } else { ("working", "failing") };
        let turn = if notice.failing { (good, bad) } else { (bad, good) };
        self.add(Event { cloud, region, service, ..Event::new(of, turn, notice.reason.clone(), generation) });
    }

    /// Services turned together, of which this is the first.
    pub(super) fn record_services(
        &self,
        first: Arc<str>,
        turn: (&'static str, &'static str),
        reason: String,
        generation: u64,
    ) {
        self.add(Event { service: Some(first), ..Event::new("service", turn, reason, generation) });
    }

    /// An order is in force from now on, or no more.
    pub(super) fn record_order(&self, order: &Override, begins: bool, reason: String, generation: u64) {
        let site = |name: &str| name.split_once('/').map(|(cloud, region)| (cloud.into(), region.into())).unzip();
        let (mut endpoint, mut service, mut place) = (None, None, (None, None));
        match &order.scope {
            Scope::All => {}
            Scope::Cloud(name) => place.0 = Some(name.clone()),
            Scope::Site(name) => place = site(name),
            Scope::Endpoint(name) => endpoint = Some(name.clone()),
            Scope::Service(name) => service = Some(name.clone()),
        }
        let (word, (cloud, region)) = (order.action.as_str(), place);
        let turn = if begins { ("off", word) } else { (word, "off") };
        let target = Some(order.scope.to_string());
        self.add(Event { endpoint, cloud, region, service, target, ..Event::new("order", turn, reason, generation) });
    }

    /// Numbers it, keeps it and tells it.
    fn add(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Arc::new(Event { id: kept.back().map_or(1, |last| last.id + 1), ..event });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        let _ = self.listeners.send(event); // nobody may listen
    }

    /// The latest, oldest first, up to so many.
    #[must_use]
    pub fn latest(&self, at_most: usize) -> Vec<Arc<Event>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().skip(kept.len().saturating_sub(at_most)).cloned().collect()
    }

    /// Those kept that came after the one of that id, and a listener that hears all that come after them. An id that
    /// none has yet is of an earlier process: then all.
    #[must_use]
    pub fn listen(&self, after: Option<u64>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.back().map_or(0, |event| event.id);
        let after = after.map_or(newest, |after| if after > newest { 0 } else { after });
        (kept.iter().filter(|event| event.id > after).cloned().collect(), self.listeners.subscribe())
    }

    /// Who listens.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.listeners.receiver_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::overrides::Action;
    use crate::model::{Cloud, EndpointId, State};

    #[test]
    fn a_thousand_are_kept_and_none_is_heard_twice_or_missed() {
        let events = Events::default();
        let change = StateChange { from: State::Up, to: State::Down };
        let verdict = Verdict {
            endpoint: EndpointId(0),
            change,
            addresses: vec![("192.0.2.1".parse().unwrap(), change)],
            doubt: true,
            reason: "refused".to_owned(),
        };
        let record = |count| (0..count).for_each(|_| events.record(&"a".into(), &verdict, 7));
        record(1500);
        let ids = |events: &[Arc<Event>]| (events.first().unwrap().id, events.last().unwrap().id, events.len());
        assert_eq!(ids(&events.latest(2000)), (501, 1500, 1000));
        assert_eq!(ids(&events.latest(20)), (1481, 1500, 20));
        let (before, mut listener) = events.listen(Some(1490));
        assert_eq!((ids(&before), events.listeners()), ((1491, 1500, 10), 1));
        let heard = |after| events.listen(after).0.len();
        assert_eq!([None, Some(1500), Some(1501), Some(0)].map(heard), [0, 0, 1000, 1000]);
        record(1);
        assert_eq!(listener.try_recv().unwrap().id, 1501);
        record(BEHIND + 3);
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Lagged(3)));
        assert_eq!(listener.try_recv().unwrap().id, 1505);
        let event = serde_json::to_string(&*events.latest(1)[0]).unwrap();
        assert!(
            event.contains(r#""from":"up","to":"down","addresses":[{"address":"192.0.2.1","from":"up""#),
            "{event}"
        );
    }

    #[test]
    fn of_what_it_is_and_which_is_told() {
        let events = Events::default();
        let aws = Cloud::new("aws");
        let site = Subject::Site(aws.clone(), "eu-west-1".into());
        let anchor = Subject::Anchor("192.0.2.1:443".parse().unwrap());
        let clients = Subject::Clients(aws.clone(), "eu-west-1".into());
        for subject in [
            site,
            clients,
            Subject::Cloud(aws),
            Subject::Own,
            Subject::Withdrawal,
            Subject::Fence("www".into()),
            anchor,
        ] {
            events.record_notice(&Notice { subject, failing: true, reason: "3 of 4".to_owned() }, 7);
        }
        let texts: Vec<_> = events.latest(7).iter().map(|event| serde_json::to_string(&**event).unwrap()).collect();
        let order = Override {
            scope: Scope::Site("aws/eu-west-1".into()),
            action: Action::Drain,
            over_s: None,
            reason: "patching".to_owned(),
            author: "anna".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            until: None,
        };
        events.record_order(&order, true, order.to_string(), 8);
        let text = serde_json::to_string(&*events.latest(1)[0]).unwrap();
        assert!(
            text.contains(r#""of":"order","cloud":"aws","region":"eu-west-1","target":"aws/eu-west-1","from":"off","to":"drained""#),
            "{text}"
        );
        assert!(text.contains("drained by anna"), "{text}");
        for (text, expected) in texts.iter().zip([
            r#""of":"site","cloud":"aws","region":"eu-west-1","from":"working","to":"failing""#,
            r#""of":"clients","cloud":"aws","region":"eu-west-1","from":"working","to":"failing""#,
            r#""of":"cloud","cloud":"aws","from":"working","to":"failing""#,
            r#""of":"self","from":"working","to":"failing""#,
            r#""of":"withdrawal","from":"working","to":"failing""#,
            r#""of":"soft","service":"www","from":"heeded","to":"unheeded""#,
            r#""of":"anchor","from":"working","to":"failing""#,
        ]) {
            assert!(text.contains(expected), "{text}");
        }
    }
}
