//! `/status`: field names are relied upon; later ones are added, none is renamed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ramp::RampStatus;
use crate::control::{
    Event, Journal, Override, Posting, Reload, ReloadResult, Shared, Talker, Told, Unresolved, Unwritten,
};
use crate::geo::FileInfo;
use crate::health::{Board, Complained, EndpointHealth, Fault, Group, Notice, Subject};
use crate::model::{Endpoint, EndpointId, Family, Problem, Severity, State};
use crate::sandbox::Sandbox;
use crate::table::{Parts, PlanTable, ServiceEntry, Snapshot};

/// Sources shown that ask most.
const TALKERS: usize = 20;
/// Services named by what is wrong with them.
const SERVICES: usize = 20;
/// Events shown.
const EVENTS: usize = 100;

/// The whole.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The program's.
    pub version: &'static str,
    /// Of the snapshot that serves.
    pub generation: u64,
    /// Are steered names answered?
    pub ready: bool,
    /// When the process started.
    pub started: Timestamp,
    /// Over all content that decisions come from: nodes that show the same one decide alike.
    pub decision_hash: String,
    /// What holds the process; null: nothing.
    pub sandbox: Option<SandboxStatus>,
    /// The last reading of files.
    pub reload: ReloadStatus,
    /// What the operator should know of the configuration that serves.
    pub warnings: Vec<ProblemStatus>,
    /// What could not be written to `state`: a restart would begin without it.
    pub unwritten: Vec<Unwritten>,
    /// What the operator ordered by hand.
    pub overrides: Vec<Override>,
    /// All endpoints, in the order of the file.
    pub endpoints: Vec<EndpointStatus>,
    /// Sites and clouds that fail as a whole.
    pub failing: Vec<FailingStatus>,
    /// Sites that clients report errors of: these are probed fast, if there is room for that, and nothing else follows.
    pub client_errors: Vec<FailingStatus>,
    /// Where metrics and slow answers count for nothing, since they speak against too many.
    pub unheeded: Vec<UnheededStatus>,
    /// While the fault is ours; null: it is not.
    #[serde(rename = "self")]
    pub own_fault: Option<OwnFaultStatus>,
    /// Why `/readyz` says no although steered names are answered; null: it does not.
    pub withdrawn: Option<String>,
    /// The services of which some clients have no endpoint up, the first of them.
    pub exhausted: Vec<String>,
    /// Those in panic, likewise.
    pub panicking: Vec<String>,
    /// Services, up to `limit`.
    pub services: Vec<ServiceStatus>,
    /// How many services there are.
    pub services_total: usize,
    /// The latest changes of verdicts, oldest first. `/api/v1/events` tells of them as they come.
    pub events: Vec<Arc<Event>>,
    /// What comes of posting events; null: there is no webhook.
    pub webhook: Option<Posting>,
    /// The databases that serve.
    pub geo: Vec<GeoStatus>,
    /// What is measured.
    pub measured: MeasuredStatus,
    /// The sources (/24, /56) that ask most by UDP, most first; estimated over the last ten to twenty seconds.
    pub talkers: Vec<TalkerStatus>,
}

/// What is measured, and what answers make of it.
#[derive(Clone, Debug, Serialize)]
pub struct MeasuredStatus {
    /// Samples.
    #[serde(flatten)]
    pub samples: Told,
    /// Countries, and autonomous systems in one, whose round trips are expected to be other than without samples.
    pub groups: usize,
    /// Autonomous systems that locations tell from the rest of their countries because these are measured.
    pub networks: usize,
    /// Those for whose locations there is no room, or that are too many.
    pub networks_left_out: usize,
    /// Prefixes that have an order of their own for that reason.
    pub derived_locations: usize,
}

/// What the process gave up at its start.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxStatus {
    /// The user that it became; null: it stayed who it was.
    pub user: Option<String>,
    /// Of capabilities it has at most the one to bind ports below 1024.
    pub capabilities_dropped: bool,
    /// The version of landlock's interface that holds its files; null: none.
    pub landlock: Option<i32>,
    /// Only listed system calls get through.
    pub seccomp: bool,
    /// What was asked for and the kernel did not give.
    pub lacking: Vec<String>,
}

/// How the last reading of files ended.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadStatus {
    /// When.
    pub at: Timestamp,
    /// `ok` or `failed`
    pub result: &'static str,
    /// The files on disk do not pass: what serves is the last good set.
    pub stale: bool,
    /// What serves has edits that take effect at the next restart; the log names their tables.
    pub restart_pending: bool,
    /// Every problem of a failed reading.
    pub errors: Vec<ProblemStatus>,
}

/// A problem and its place.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemStatus {
    /// Which file.
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    /// From 1.
    pub column: Option<usize>,
    /// `error` or `warning`
    pub severity: &'static str,
    /// Its stable name.
    pub code: &'static str,
    /// In words.
    pub message: String,
    /// The likely fix.
    pub help: Option<String>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Its cloud.
    pub cloud: String,
    /// Its region.
    pub region: String,
    /// Its addresses, a hostname's as resolved.
    pub addresses: Vec<AddressStatus>,
    /// `up`, `degraded`, `damped`, `unknown` or `down`
    pub verdict: &'static str,
    /// May it be answered, by its verdict and the operator's hand?
    pub live: bool,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// The latest outcome of its probes.
    pub last: Option<LastStatus>,
    /// The operator's hand on it; null: none.
    pub r#override: Option<String>,
    /// How far a ramp has come; null: none goes on.
    pub ramp: Option<RampStatus>,
    /// Its hostname does not resolve: it goes by what that resolved to last. Null: it does, or there is none.
    pub unresolved: Option<Unresolved>,
}

/// One address of an endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct AddressStatus {
    /// It.
    pub address: String,
    /// As of endpoints.
    pub verdict: &'static str,
    /// Why.
    pub reason: String,
}

/// An outcome.
#[derive(Clone, Debug, Serialize)]
pub struct LastStatus {
    /// When.
    pub at: Timestamp,
    /// `success`, or the failure in words.
    pub outcome: String,
    /// How long a success took.
    pub rtt_ms: Option<f64>,
}

/// A site or cloud of which so many endpoints are down, or that so many clients cannot reach, that it says something of all.
#[derive(Clone, Debug, Serialize)]
pub struct FailingStatus {
    /// Its cloud.
    pub cloud: String,
    /// Its region; null: the whole cloud.
    pub region: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// How many of how many endpoints are down, or networks cannot reach it.
    pub reason: String,
}

/// Endpoints that a fence leaves, where soft signals count for nothing.
#[derive(Clone, Debug, Serialize)]
pub struct UnheededStatus {
    /// The service whose fence it is.
    pub service: String,
    /// How many they speak against, and which.
    pub reason: String,
}

/// The fault is ours: who went down is held as it was.
#[derive(Clone, Debug, Serialize)]
pub struct OwnFaultStatus {
    /// When it was found.
    pub since: Timestamp,
    /// By what.
    pub reason: String,
    /// Names of the endpoints of which an address is held.
    pub held: Vec<String>,
}

/// One service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Names of its endpoints.
    pub endpoints: Vec<String>,
    /// Since the start.
    pub queries: u64,
    /// Some of its clients have no endpoint that is better than down: `when_none` acts for them.
    pub exhausted: bool,
    /// Too little of the capacity of some of its clients' endpoints is up: those that are down keep the excess.
    pub panicking: bool,
}

/// A source that asks much.
#[derive(Clone, Debug, Serialize)]
pub struct TalkerStatus {
    /// Its prefix.
    pub source: String,
    /// Queries a second.
    pub queries_per_second: f64,
    /// Those whose replies were over a limit.
    pub limited_per_second: f64,
}

/// One database.
#[derive(Clone, Debug, Serialize)]
pub struct GeoStatus {
    /// Its path.
    pub file: String,
    /// Its type, as it calls itself.
    pub r#type: String,
    /// When it was made.
    pub built: Timestamp,
    /// Networks in it.
    pub networks: usize,
}

impl Status {
    /// Is there a service of that name?
    #[must_use]
    pub fn knows(shared: &Shared, service: &str) -> bool {
        let snapshot = shared.published.load_full();
        snapshot.services.iter().any(|entry| *snapshot.service(entry).label == *service)
    }

    /// The present status; of services those named `service`, at most `limit`.
    #[must_use]
    pub fn of(shared: &Shared, service: Option<&str>, limit: usize) -> Self {
        // The board first: whoever changes both holds it meanwhile.
        let board = shared.board();
        let snapshot = shared.published.load_full();
        let config = &snapshot.parts.config;
        let endpoints = (0..).map(EndpointId).zip(config.endpoints.iter().zip(board.endpoints()));
        let overrides = shared.overrides().clone();
        let endpoints =
            endpoints.map(|(id, (endpoint, health))| EndpointStatus::of(endpoint, health, board.reason(id)));
        let mut endpoints: Vec<EndpointStatus> = endpoints.collect();
        let failing = board.groups().iter().filter_map(FailingStatus::of).collect();
        let client_errors = board.groups().iter().filter_map(FailingStatus::of_clients).collect();
        let unheeded = board.unheeded().filter_map(UnheededStatus::of).collect();
        let own_fault = OwnFaultStatus::of(&board);
        let withdrawn = board.withdrawn().map(Fault::to_string);
        drop(board);
        let mut unresolved = shared.unresolved();
        for ((id, endpoint), status) in (0..).map(EndpointId).zip(&config.endpoints).zip(&mut endpoints) {
            (status.r#override, status.ramp) = (overrides.describe(endpoint), RampStatus::of(&snapshot, id));
            status.live = is_live(&snapshot, id);
            status.unresolved = unresolved.remove(&endpoint.name);
        }
        let named = |entry: &&ServiceEntry| service.is_none_or(|name| *snapshot.service(entry).label == *name);
        let services = snapshot.services.iter().filter(named).take(limit).map(|entry| ServiceStatus {
            name: snapshot.service(entry).label.to_string(),
            endpoints: snapshot
                .plan(entry)
                .plan
                .members
                .iter()
                .map(|id| config.endpoints[id.index()].name.to_string())
                .collect(),
            queries: shared.count(entry.counter),
            exhausted: snapshot.plan(entry).is_exhausted(),
            panicking: snapshot.plan(entry).is_panicking(),
        });
        let journal = shared.journal();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            generation: snapshot.generation,
            ready: journal.ready,
            started: shared.started,
            decision_hash: journal.decision_hash.to_string(),
            sandbox: shared.sandbox.as_deref().map(SandboxStatus::of),
            reload: ReloadStatus::of(&journal),
            warnings: journal.warnings.iter().map(ProblemStatus::of).collect(),
            unwritten: shared.unwritten(),
            overrides: overrides.list().to_vec(),
            endpoints,
            failing,
            client_errors,
            unheeded,
            own_fault,
            withdrawn,
            exhausted: first_where(&snapshot, PlanTable::is_exhausted),
            panicking: first_where(&snapshot, PlanTable::is_panicking),
            services: services.collect(),
            services_total: snapshot.services.len(),
            events: shared.events.latest(EVENTS),
            webhook: shared.posting(),
            geo: snapshot.parts.geo.files().iter().map(GeoStatus::of).collect(),
            measured: MeasuredStatus::of(shared, &snapshot),
            talkers: shared.talkers(TALKERS).iter().map(TalkerStatus::of).collect(),
        }
    }
}

/// May the endpoint be answered, by its verdict and the operator's hand?
pub(super) fn is_live(snapshot: &Snapshot, id: EndpointId) -> bool {
    let state = |family| snapshot.standing(id).state(family);
    Family::ALL.into_iter().filter_map(state).any(|state| state < State::Unknown)
}

/// The first services of whose plan that is so.
fn first_where(snapshot: &Snapshot, holds: fn(&PlanTable) -> bool) -> Vec<String> {
    snapshot.services_where(holds).take(SERVICES).map(|service| service.label.to_string()).collect()
}

impl MeasuredStatus {
    pub(super) fn of(shared: &Shared, snapshot: &Snapshot) -> Self {
        let Parts { measured, geo, .. } = &snapshot.parts;
        let (groups, derived_locations) = (measured.published.groups(), measured.derived().len());
        let networks = geo.measured_networks().len();
        let networks_left_out = geo.left_out() + measured.published.networks_beyond();
        Self { samples: shared.measuring.told(), groups, networks, networks_left_out, derived_locations }
    }
}

impl GeoStatus {
    fn of(file: &FileInfo) -> Self {
        let FileInfo { path, database_type, built, networks, .. } = file;
        Self { file: path.display().to_string(), r#type: database_type.clone(), built: *built, networks: *networks }
    }
}

impl TalkerStatus {
    fn of(talker: &Talker) -> Self {
        let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
        Self {
            source: talker.source.to_string(),
            queries_per_second: tenths(talker.queries),
            limited_per_second: tenths(talker.limited),
        }
    }
}

impl SandboxStatus {
    fn of(sandbox: &Sandbox) -> Self {
        Self {
            user: sandbox.user.clone(),
            capabilities_dropped: sandbox.capabilities_dropped,
            landlock: sandbox.landlock,
            seccomp: sandbox.seccomp,
            lacking: sandbox.lacking.clone(),
        }
    }
}

impl ReloadStatus {
    fn of(journal: &Journal) -> Self {
        let Journal { reload: Reload { at, result, problems }, stale, restart_pending, .. } = journal;
        let errors = match result {
            ReloadResult::Ok => Vec::new(),
            ReloadResult::Failed => problems.iter().map(ProblemStatus::of).collect(),
        };
        Self { at: *at, result: result.as_str(), stale: *stale, restart_pending: *restart_pending, errors }
    }
}

impl ProblemStatus {
    fn of(problem: &Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: problem.spot.as_ref().map(|spot| spot.line),
            column: problem.spot.as_ref().map(|spot| spot.column),
            severity: if problem.severity == Severity::Error { "error" } else { "warning" },
            code: problem.code,
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}

impl FailingStatus {
    fn of(group: &Group) -> Option<Self> {
        Self::new(group, group.failing_since?, group.words())
    }

    /// What clients report of it.
    fn of_clients(group: &Group) -> Option<Self> {
        let Complained { since, reason, .. } = group.complained.as_ref()?;
        Self::new(group, *since, reason.clone())
    }

    fn new(group: &Group, since: Timestamp, reason: String) -> Option<Self> {
        let (cloud, region) = match &group.subject {
            Subject::Site(cloud, region) => (cloud, Some(region.to_string())),
            Subject::Cloud(cloud) => (cloud, None),
            _ => return None,
        };
        Some(Self { cloud: cloud.to_string(), region, since, reason })
    }
}

impl UnheededStatus {
    fn of(notice: Notice) -> Option<Self> {
        let Notice { subject: Subject::Fence(service), reason, .. } = notice else { return None };
        Some(Self { service: service.to_string(), reason })
    }
}

impl OwnFaultStatus {
    fn of(board: &Board) -> Option<Self> {
        let fault = board.own_fault()?;
        let held = board.endpoints().filter(|endpoint| endpoint.is_held());
        let held = held.map(|endpoint| endpoint.name.to_string()).collect();
        Some(Self { since: fault.since, reason: fault.reason.clone(), held })
    }
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint, health: &EndpointHealth, reason: String) -> Self {
        let addresses = health.addresses.iter().map(|address| AddressStatus {
            address: address.address.to_string(),
            verdict: verdict(address.state),
            reason: address.reason.clone(),
        });
        Self {
            name: endpoint.name.to_string(),
            cloud: endpoint.site.cloud.to_string(),
            region: endpoint.site.region.to_string(),
            addresses: addresses.collect(),
            verdict: verdict(health.state),
            live: false,
            reason,
            since: health.since,
            last: health.last.as_ref().map(|last| LastStatus {
                at: last.at,
                outcome: last.outcome.to_string(),
                rtt_ms: last.outcome.rtt().map(milliseconds),
            }),
            r#override: None,
            ramp: None,
            unresolved: None,
        }
    }
}

/// One of the four words that users rely on; the reason tells more.
fn verdict(state: State) -> &'static str {
    if state == State::Damped { State::Degraded.as_str() } else { state.as_str() }
}

/// To a hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
