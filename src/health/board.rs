//! The states of all checks, summed up by address and endpoint.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;

use super::summary::{Bare, Entry};
use super::{Check, CheckId, EndpointHealth, HealthState, Last, Outcome};
use crate::config::{Config, Probe};
use crate::model::{Addresses, Endpoint, EndpointId, State};

/// The addresses of hostname endpoints, by endpoint name. Absent: not asked yet; empty: it does not
/// resolve.
pub type HostAddresses = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// The states of all checks of all endpoints of one configuration.
#[derive(Debug, Default)]
pub struct Board {
    next_id: u64,
    slots: BTreeMap<CheckId, Slot>,
    entries: Vec<Entry>,
    /// Checks without an outcome and hostnames without an answer.
    pending: usize,
    first_round_complete: bool,
}

/// One outcome changed what answers may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whose it was.
    pub endpoint: EndpointId,
    /// The endpoint's states before and now; they are equal where only addresses changed.
    pub change: StateChange,
    /// The addresses that changed.
    pub addresses: Vec<(IpAddr, StateChange)>,
    /// Why, in words for operators: probe, target, cause.
    pub reason: String,
}

/// Before and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) check: Arc<Check>,
    pub(super) health: HealthState,
    /// Index into `entries`.
    endpoint: usize,
    /// The address that it tells of; none: all of them.
    address: Option<IpAddr>,
}

/// What a check is of; its successor after an edit has the same. No address: `probe_target`, which
/// stands for all.
type Key = (Arc<str>, Arc<str>, Option<IpAddr>);

impl Board {
    /// Without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the endpoints and probes of `config` and the addresses of its hostname endpoints.
    /// Unchanged checks keep state and id, edited ones show the state of their predecessor until
    /// their first outcome, the state of removed ones is dropped.
    pub fn reconfigure(&mut self, config: &Config, resolved: &HostAddresses, now: Timestamp) {
        let mut old = Predecessors::take(self);
        let probes: HashMap<&str, Arc<Probe>> =
            config.probes.iter().map(|probe| (&*probe.name, Arc::new(probe.clone()))).collect();
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            self.add_endpoint(index, endpoint, &probes, resolved, &mut old, now);
        }
        let unknown = self.slots.values().filter(|slot| slot.health.state() == State::Unknown).count();
        let unresolved = self.entries.iter().filter(|entry| entry.bare == Some(Bare::Unresolved)).count();
        self.pending = unknown + unresolved;
        self.first_round_complete |= self.pending == 0;
    }

    /// Takes in what a check found. None: nothing that answers may hold has changed, or there is no
    /// such check any more.
    pub fn observe(&mut self, id: CheckId, now: Timestamp, outcome: Outcome) -> Option<Verdict> {
        let slot = self.slots.get_mut(&id)?;
        let index = slot.endpoint;
        self.entries[index].health.last = Some(Last { at: now, outcome: outcome.clone() });
        let change = slot.health.observe(now, outcome)?;
        if change.from == State::Unknown {
            self.pending -= 1;
            self.first_round_complete |= self.pending == 0;
        }
        let reason = format!("probe {} at {}: {}", slot.check.probe.name, slot.check.target, change.reason);
        let entry = &mut self.entries[index];
        let (from, before) = (entry.health.state, entry.address_states());
        entry.sum_up(&self.slots, now);
        let changed = |((address, from), (_, to))| (from != to).then_some((address, StateChange { from, to }));
        let addresses: Vec<_> = before.into_iter().zip(entry.address_states()).filter_map(changed).collect();
        let change = StateChange { from, to: entry.health.state };
        let any = change.from != change.to || !addresses.is_empty();
        any.then(|| Verdict { endpoint: EndpointId::at(index), change, addresses, reason })
    }

    /// What is to be probed.
    pub fn checks(&self) -> impl Iterator<Item = (CheckId, &Arc<Check>)> {
        self.slots.iter().map(|(&id, slot)| (id, &slot.check))
    }

    /// The check of that id, while there is one.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&Arc<Check>> {
        self.slots.get(&id).map(|slot| &slot.check)
    }

    /// All endpoints; `EndpointId` of the configuration last taken over indexes into it.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &EndpointHealth> {
        self.entries.iter().map(|entry| &entry.health)
    }

    /// What health says of an endpoint of the configuration last taken over.
    ///
    /// # Panics
    /// When it is no endpoint of that configuration.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> &EndpointHealth {
        &self.entries[id.index()].health
    }

    /// Has every check had an outcome and every hostname an answer, at some time since the start?
    #[must_use]
    pub fn first_round_complete(&self) -> bool {
        self.first_round_complete
    }

    fn add_endpoint(
        &mut self,
        index: usize,
        endpoint: &Endpoint,
        probes: &HashMap<&str, Arc<Probe>>,
        resolved: &HostAddresses,
        old: &mut Predecessors,
        now: Timestamp,
    ) {
        let (addresses, bare) = addresses_of(endpoint, resolved);
        let mut place = |address: Option<IpAddr>, target: &dyn Fn(&Probe) -> SocketAddr| -> Vec<CheckId> {
            let probes = endpoint.probes.iter().filter_map(|name| probes.get(&**name));
            let checks = probes.map(|probe| {
                let check = Check { endpoint: endpoint.name.clone(), probe: probe.clone(), target: target(probe) };
                self.add_check(index, address, check, old, now)
            });
            checks.collect()
        };
        let checks = match endpoint.probe_target {
            Some(at) => vec![place(None, &|_| at.address); addresses.len()],
            None => {
                let each =
                    |&address: &IpAddr| place(Some(address), &|probe: &Probe| SocketAddr::new(address, probe.port));
                addresses.iter().map(each).collect()
            }
        };
        let health = EndpointHealth::after(old.endpoints.remove(&endpoint.name), &endpoint.name, &addresses, now);
        let mut entry = Entry { checks, bare, health };
        entry.sum_up(&self.slots, now);
        self.entries.push(entry);
    }

    fn add_check(
        &mut self,
        endpoint: usize,
        address: Option<IpAddr>,
        check: Check,
        old: &mut Predecessors,
        now: Timestamp,
    ) -> CheckId {
        let key = (check.endpoint.clone(), check.probe.name.clone(), address);
        let (down_after, up_after) = (check.probe.down_after, check.probe.up_after);
        let (id, slot) = match old.slots.remove(&key) {
            Some((id, slot)) if *slot.check == check => (id, Slot { endpoint, ..slot }),
            other => {
                let health = match other {
                    Some((_, slot)) => slot.health.carried(down_after, up_after),
                    None => HealthState::new(down_after, up_after, now),
                };
                self.next_id += 1;
                (CheckId(self.next_id), Slot { check: Arc::new(check), health, endpoint, address })
            }
        };
        self.slots.insert(id, slot);
        id
    }
}

/// The addresses of an endpoint, each once; and why there are none.
fn addresses_of(endpoint: &Endpoint, resolved: &HostAddresses) -> (Vec<IpAddr>, Option<Bare>) {
    let (addresses, bare) = match &endpoint.addresses {
        Addresses::Fixed(addresses) => (Some(addresses), Bare::Unresolvable),
        Addresses::Hostname(_) => (resolved.get(&endpoint.name), Bare::Unresolved),
    };
    let bare = if addresses.is_some() { Bare::Unresolvable } else { bare };
    let mut seen = HashSet::new();
    let addresses: Vec<_> = addresses.into_iter().flatten().copied().filter(|&address| seen.insert(address)).collect();
    let bare = addresses.is_empty().then_some(bare);
    (addresses, bare)
}

/// What the board knew before an edit.
struct Predecessors {
    slots: HashMap<Key, (CheckId, Slot)>,
    endpoints: HashMap<Arc<str>, EndpointHealth>,
}

impl Predecessors {
    /// Empties the board.
    fn take(board: &mut Board) -> Self {
        let key = |slot: &Slot| (slot.check.endpoint.clone(), slot.check.probe.name.clone(), slot.address);
        let slots = std::mem::take(&mut board.slots).into_iter().map(|(id, slot)| (key(&slot), (id, slot)));
        let entries = std::mem::take(&mut board.entries);
        let endpoints = entries.into_iter().map(|entry| (entry.health.name.clone(), entry.health));
        Self { slots: slots.collect(), endpoints: endpoints.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{
        Access, Admin, Cookies, Ecs, Identity, ProbeKind, Process, RateLimit, Resolver, Server, Transports,
    };
    use crate::health::Cause;
    use crate::model::{Cost, Site, Target, find_region};

    const V4: &str = "203.0.113.20";
    const V6: &str = "2001:db8::20";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn probe(name: &str) -> Probe {
        Probe {
            name: name.into(),
            kind: ProbeKind::Tcp,
            port: 443,
            interval: Duration::from_secs(2),
            jitter: 0.1,
            timeout: Duration::from_secs(1),
            down_after: 2,
            up_after: 2,
            allow_private: false,
        }
    }

    fn endpoint(name: &str, addresses: Addresses, probes: &[&str]) -> Endpoint {
        let region = find_region("aws", "us-east-1").unwrap();
        Endpoint {
            name: name.into(),
            site: Site::from(region),
            addresses,
            bias_ms: 0.0,
            weight: 100,
            cost: Cost::default(),
            probes: probes.iter().map(|&name| name.into()).collect(),
            probe_target: None,
        }
    }

    fn fixed(addresses: &[&str]) -> Addresses {
        Addresses::Fixed(addresses.iter().map(|text| ip(text)).collect())
    }

    fn config(probes: &[Probe], endpoints: &[Endpoint]) -> Config {
        Config {
            server: Server {
                listen: Vec::new(),
                state: "state".into(),
                workers: None,
                receive_buffer: 0,
                steer_by_cpu: false,
                tcp_connections: 1,
                tcp_client_connections: 1,
                tcp_client_queries: 1,
                tcp_client_octets: 1,
                tcp_idle: Duration::ZERO,
                proxy_from: Vec::new(),
                identity: Identity::Off,
                version: None,
                cookies: Cookies::Off,
            },
            access: Access::default(),
            rate_limit: RateLimit::default(),
            ecs: Ecs::default(),
            tls: Transports::default(),
            process: Process::default(),
            admin: Admin { listen: None, allow: Vec::new() },
            databases: Vec::new(),
            geo_memory: 0,
            settle: Duration::ZERO,
            resolver: Resolver { servers: Vec::new(), keep_for: Duration::ZERO, allow_private: false },
            first_round: Duration::ZERO,
            probes: probes.to_vec(),
            endpoints: endpoints.to_vec(),
            zones: Vec::new(),
            services: Vec::new(),
            plans: Vec::new(),
            fence_places: Vec::new(),
            fence_combinations: Vec::new(),
            labels: Vec::new(),
            asns: Vec::new(),
        }
    }

    /// A board with its configuration taken over at second 0.
    fn board(probes: &[Probe], endpoints: &[Endpoint]) -> Board {
        let mut board = Board::new();
        board.reconfigure(&config(probes, endpoints), &HostAddresses::new(), at(0));
        board
    }

    fn id(board: &Board, probe: &str, target: &str) -> CheckId {
        let is_it = |check: &Check| &*check.probe.name == probe && check.target == target.parse().unwrap();
        board.checks().find(|(_, check)| is_it(check)).unwrap().0
    }

    fn success() -> Outcome {
        Outcome::Success { rtt: Duration::from_millis(3) }
    }

    fn refused() -> Outcome {
        Outcome::Failure { cause: Cause::Refused }
    }

    fn state(board: &Board, index: u32) -> State {
        board.endpoint(EndpointId(index)).state
    }

    #[test]
    fn without_a_probe_it_is_up_and_the_first_round_is_over() {
        let board = board(&[], &[endpoint("a", fixed(&[V4]), &[])]);
        let health = board.endpoint(EndpointId(0));
        assert_eq!(
            (health.state, &*health.reason, health.addresses[0].state),
            (State::Up, "it has no probe", State::Up)
        );
        assert!(board.first_round_complete());
        assert_eq!(board.checks().count(), 0);
    }

    #[test]
    fn an_address_that_fails_alone_leaves_and_down_is_when_none_answers() {
        let mut board = board(&[probe("p")], &[endpoint("a", fixed(&[V4, V6, V4]), &["p"])]);
        let (v4, v6) = (id(&board, "p", "203.0.113.20:443"), id(&board, "p", "[2001:db8::20]:443"));
        assert_eq!((board.checks().count(), state(&board, 0)), (2, State::Unknown));

        let verdict = board.observe(v4, at(1), refused()).unwrap();
        assert_eq!(verdict.change, StateChange { from: State::Unknown, to: State::Unknown });
        assert_eq!(verdict.addresses, [(ip(V4), StateChange { from: State::Unknown, to: State::Down })]);
        assert!(!board.first_round_complete());

        let verdict = board.observe(v6, at(2), success()).unwrap();
        assert_eq!(verdict.change, StateChange { from: State::Unknown, to: State::Up });
        assert!(board.first_round_complete());
        let health = board.endpoint(EndpointId(0));
        assert_eq!(
            health.reason,
            "1 of 2 addresses up; 203.0.113.20: probe p: the first outcome is a failure: connection refused"
        );
        assert_eq!((health.since, health.last.as_ref().unwrap().at), (at(2), at(2)));

        assert_eq!(board.observe(v6, at(3), refused()), None);
        assert_eq!(board.endpoint(EndpointId(0)).last, Some(Last { at: at(3), outcome: refused() }));
        let verdict = board.observe(v6, at(4), refused()).unwrap();
        assert_eq!(verdict.change, StateChange { from: State::Up, to: State::Down });
        assert_eq!(verdict.reason, "probe p at [2001:db8::20]:443: 2 failures in a row, the last: connection refused");
        assert!(board.first_round_complete(), "once complete, always complete");
    }

    #[test]
    fn all_probes_of_an_address_must_be_up() {
        let mut board = board(&[probe("p"), probe("q")], &[endpoint("a", fixed(&[V4]), &["p", "q"])]);
        let (p, q) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.20:443"));
        assert_eq!(board.observe(p, at(1), success()), None);
        assert_eq!(state(&board, 0), State::Unknown);
        board.observe(q, at(1), success()).unwrap();
        assert_eq!(state(&board, 0), State::Up);
        board.observe(q, at(2), refused());
        board.observe(q, at(3), refused()).unwrap();
        assert_eq!(state(&board, 0), State::Down);
        board.observe(p, at(4), refused());
        assert_eq!(board.observe(p, at(5), refused()), None, "nothing that answers hold has changed");
    }

    #[test]
    fn a_probe_target_stands_for_all_addresses() {
        let target = Target { address: "127.0.0.1:18020".parse().unwrap() };
        let endpoint = Endpoint { probe_target: Some(target), ..endpoint("a", fixed(&[V4, V6]), &["p"]) };
        let mut board = board(&[probe("p")], &[endpoint]);
        let (check, _) = board.checks().next().unwrap();
        let verdict = board.observe(check, at(1), success()).unwrap();
        assert_eq!((board.checks().count(), verdict.addresses.len()), (1, 2));
        assert!(board.first_round_complete());
    }

    #[test]
    fn an_edit_keeps_the_state_of_what_it_leaves_alone() {
        let ends = [endpoint("a", fixed(&[V4]), &["p"]), endpoint("b", fixed(&["203.0.113.21"]), &["q"])];
        let mut board = board(&[probe("p"), probe("q")], &ends);
        let (a, b) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.21:443"));
        board.observe(a, at(1), success());
        board.observe(b, at(1), refused());

        // q is edited, the order changes, c is new: a's check is the same one still.
        let edited = Probe { down_after: 7, ..probe("q") };
        let ends = [ends[1].clone(), endpoint("c", fixed(&[V4]), &["p"]), ends[0].clone()];
        board.reconfigure(&config(&[probe("p"), edited], &ends), &HostAddresses::new(), at(9));
        assert_eq!([0, 1, 2].map(|index| state(&board, index)), [State::Down, State::Unknown, State::Up]);
        assert_eq!(board.endpoint(EndpointId(2)).since, at(1));
        assert!(board.check(a).is_some() && board.check(b).is_none());
        assert_eq!(board.observe(b, at(10), success()), None, "an outcome of the old check comes too late");
        assert!(board.first_round_complete(), "new checks do not undo it");
        let b = id(&board, "q", "203.0.113.21:443");
        assert_eq!(board.observe(b, at(11), success()).unwrap().change.to, State::Up, "its first outcome decides");

        board.reconfigure(&config(&[], &[]), &HostAddresses::new(), at(12));
        board.reconfigure(&config(&[probe("p")], &ends[2..]), &HostAddresses::new(), at(13));
        assert_eq!(state(&board, 0), State::Unknown, "what was removed is forgotten");
    }

    #[test]
    fn hostnames_wait_for_their_addresses() {
        let host = Addresses::Hostname("lb.cloud.example".parse().unwrap());
        let config = config(&[probe("p")], &[endpoint("a", host, &["p"])]);
        let mut board = Board::new();
        board.reconfigure(&config, &HostAddresses::new(), at(0));
        assert_eq!(state(&board, 0), State::Unknown);
        assert!(!board.first_round_complete());

        let resolve = |addresses: &[&str]| {
            HostAddresses::from([("a".into(), addresses.iter().map(|text| ip(text)).collect::<Vec<_>>())])
        };
        board.reconfigure(&config, &resolve(&[V4]), at(1));
        assert!(!board.first_round_complete());
        board.observe(id(&board, "p", "203.0.113.20:443"), at(2), success()).unwrap();
        assert!(board.first_round_complete());

        board.reconfigure(&config, &resolve(&[V6, V4]), at(3));
        let health = board.endpoint(EndpointId(0));
        assert_eq!(health.addresses.iter().map(|a| a.state).collect::<Vec<_>>(), [State::Unknown, State::Up]);
        assert_eq!((health.state, health.since), (State::Up, at(2)));

        board.reconfigure(&config, &resolve(&[]), at(4));
        let health = board.endpoint(EndpointId(0));
        assert_eq!((health.state, &*health.reason), (State::Down, "its hostname does not resolve"));
    }
}
