//! `/metrics`: Prometheus text, families bounded.
//!
//! Events of the control plane are counted where they happen, through `metrics`' global recorder. The
//! data plane's cells and the present state are handed to a recorder made for each scrape, so that an
//! endpoint or zone that is gone is gone from the next scrape. No family is in both: a text that says
//! one twice is no good to Prometheus.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::status::{MeasuredStatus, is_live};
use crate::control::{Action, Kept, ReloadResult, Shared};
use crate::health::{Board, Subject};
use crate::model::{EndpointId, Severity, State};
use crate::serve::Faults;
use crate::table::{CounterKey, OTHER_ZONES, PlanTable, RCODE_SLOTS};

/// Services with a label of their own; the rest count as `other`.
const MAX_SERVICES: usize = 1000;
/// Configuration errors with a series of their own.
const MAX_ERRORS: usize = 20;
/// Upper bounds of the probe latency buckets, in seconds.
const PROBE_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Orders by hand, by the words of the command line.
const ACTIONS: [(&str, Action); 4] =
    [("drain", Action::Drain), ("up", Action::Up), ("down", Action::Down), ("hold", Action::Hold)];

/// What renders the text.
pub(super) struct Metrics {
    events: PrometheusHandle,
    labelled: Mutex<Labelled>,
}

/// Which services have a label of their own.
#[derive(Default)]
struct Labelled {
    names: BTreeSet<String>,
    /// What `other` keeps of services that have a label now, less what it owes those that lost
    /// theirs: so `other` never goes back when the busiest change.
    kept: i128,
}

impl Metrics {
    /// The recorder of the process is installed once, by whoever comes first.
    pub(super) fn install() -> Self {
        static EVENTS: OnceLock<PrometheusHandle> = OnceLock::new();
        let install = || {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Full("meridian_probe_seconds".to_owned()), &PROBE_BUCKETS)
                .expect("there are buckets");
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            let _ = metrics::set_global_recorder(recorder); // another one means somebody embeds us
            describe_events();
            handle
        };
        Self { events: EVENTS.get_or_init(install).clone(), labelled: Mutex::default() }
    }

    /// Folds histograms, which else grow with each sample until somebody scrapes.
    pub(super) fn upkeep(&self) {
        self.events.run_upkeep();
    }

    /// The whole text.
    pub(super) fn render(&self, shared: &Shared) -> String {
        let recorder: PrometheusRecorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            self.record_cells(shared);
            record_state(shared);
        });
        self.events.render() + &recorder.handle().render()
    }

    fn record_cells(&self, shared: &Shared) {
        describe_counter!(
            "meridian_queries_total",
            "Answers by zone and response code; \"\": none of ours, other: past 1,000 zones."
        );
        describe_counter!("meridian_answers_total", "Answers that named the endpoint.");
        describe_counter!("meridian_locations_total", "Steered answers by where the client's location came from.");
        describe_counter!("meridian_service_queries_total", "Queries for the service; the busiest have a label.");
        describe_counter!("meridian_rate_limited_total", "Replies by UDP over a limit, by kind and what was done.");
        describe_counter!("meridian_denied_total", "Queries of clients that [access] does not admit: silence.");
        let mut services = Vec::new();
        let counters = shared.counters().clone();
        let config = shared.published.load_full().parts.config.clone();
        let mut zones: HashSet<String> = config.zones.iter().map(|zone| zone.name.to_string()).collect();
        zones.extend(["", OTHER_ZONES].map(str::to_owned));
        let endpoints: HashSet<&str> = config.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        for (key, id) in counters.iter() {
            let figure = shared.count(id);
            match &key {
                CounterKey::Endpoint(name) if !endpoints.contains(&**name) => {}
                CounterKey::Queries(zone, _) if !zones.contains(&**zone) => {}
                CounterKey::Queries(zone, slot) if figure > 0 => {
                    let rcode = RCODE_SLOTS[usize::from(*slot)];
                    counter!("meridian_queries_total", "zone" => zone.to_string(), "rcode" => rcode).absolute(figure);
                }
                CounterKey::Queries(..) => {}
                CounterKey::Endpoint(name) => {
                    counter!("meridian_answers_total", "endpoint" => name.to_string()).absolute(figure);
                }
                CounterKey::Location(source) => {
                    counter!("meridian_locations_total", "source" => *source).absolute(figure);
                }
                CounterKey::Limited(kind, action) => {
                    counter!("meridian_rate_limited_total", "kind" => *kind, "action" => *action).absolute(figure);
                }
                CounterKey::Denied => counter!("meridian_denied_total").absolute(figure),
                CounterKey::Service(name) => services.push((name.to_string(), figure)),
            }
        }
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, figure) in labelled.choose(services, MAX_SERVICES) {
            counter!("meridian_service_queries_total", "service" => name).absolute(figure);
        }
    }
}

impl Labelled {
    /// The busiest `at_most` by name, and the rest as `other`.
    fn choose(&mut self, mut services: Vec<(String, u64)>, at_most: usize) -> Vec<(String, u64)> {
        services.sort_by(|(a, a_figure), (b, b_figure)| b_figure.cmp(a_figure).then_with(|| a.cmp(b)));
        let rest = services.split_off(services.len().min(at_most));
        for (name, figure) in &services {
            if self.names.insert(name.clone()) {
                self.kept += i128::from(*figure);
            }
        }
        for (name, figure) in &rest {
            if self.names.remove(name) {
                self.kept -= i128::from(*figure);
            }
        }
        if !rest.is_empty() {
            let other = self.kept + rest.iter().map(|(_, figure)| i128::from(*figure)).sum::<i128>();
            services.push(("other".to_owned(), u64::try_from(other).unwrap_or(0)));
        }
        services
    }
}

/// How endpoints and services stand, and what the operator does to them.
fn record_steering(shared: &Shared) {
    describe_gauge!("meridian_endpoint_live", "1 while the endpoint may be answered, by verdict and orders by hand.");
    let snapshot = shared.published.load_full();
    for (id, endpoint) in (0..).map(EndpointId).zip(&snapshot.parts.config.endpoints) {
        let is_live = u8::from(is_live(&snapshot, id));
        gauge!("meridian_endpoint_live", "endpoint" => endpoint.name.to_string()).set(f64::from(is_live));
    }
    describe_gauge!("meridian_hostname_failing", "1 while the endpoint's hostname does not resolve.");
    for name in shared.unresolved().into_keys() {
        gauge!("meridian_hostname_failing", "endpoint" => name.to_string()).set(1.0);
    }
    describe_gauge!("meridian_services_panicking", "Services for some of whose clients too little capacity is up.");
    describe_gauge!("meridian_overrides", "Orders of the operator in force, by action.");
    let orders = shared.overrides().clone();
    for (word, action) in ACTIONS {
        let count = orders.list().iter().filter(|order| order.action == action).count();
        gauge!("meridian_overrides", "action" => word).set(count as f64);
    }
    describe_gauge!("meridian_override_since_seconds", "When an order in force was given, in Unix time.");
    for order in orders.list() {
        let (word, _) = ACTIONS.into_iter().find(|(_, action)| *action == order.action).expect("all are there");
        let labels = [("action", word.to_owned()), ("target", order.scope.to_string())];
        gauge!("meridian_override_since_seconds", &labels).set(order.at.as_second() as f64);
    }
    describe_gauge!("meridian_services_exhausted", "Services for some of whose clients all endpoints are down.");
    let services = |holds| shared.published.load().services_where(holds).count() as f64;
    gauge!("meridian_services_exhausted").set(services(PlanTable::is_exhausted));
    gauge!("meridian_services_panicking").set(services(PlanTable::is_panicking));
}

/// Whether measuring goes on, and what answers make of it.
fn record_measured(shared: &Shared) {
    describe_gauge!("meridian_measured_prefixes", "Prefixes that have samples.");
    describe_gauge!("meridian_measured_looked_at_seconds", "When samples were looked at last, in Unix time.");
    describe_gauge!("meridian_measured_groups", "Countries and networks that answers know better than the map.");
    describe_gauge!("meridian_measured_locations", "Prefixes that have an order of their own by samples.");
    describe_gauge!(
        "meridian_measured_networks",
        "Measured networks that locations tell from the rest of their country."
    );
    describe_gauge!("meridian_measured_networks_left_out", "Measured networks for whose locations there is no room.");
    let measured = MeasuredStatus::of(shared, &shared.published.load());
    let MeasuredStatus { samples, groups, networks, networks_left_out, derived_locations } = measured;
    gauge!("meridian_measured_prefixes").set(samples.prefixes as f64);
    if let Some(at) = samples.at {
        gauge!("meridian_measured_looked_at_seconds").set(at.as_second() as f64);
    }
    gauge!("meridian_measured_groups").set(groups as f64);
    gauge!("meridian_measured_networks").set(networks as f64);
    gauge!("meridian_measured_networks_left_out").set(networks_left_out as f64);
    gauge!("meridian_measured_locations").set(derived_locations as f64);
}

/// What is so now.
fn record_state(shared: &Shared) {
    describe_gauge!("meridian_build_info", "Always 1; the version is a label.");
    gauge!("meridian_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    describe_gauge!("meridian_generation", "Generation of the snapshot that serves.");
    gauge!("meridian_generation").set(shared.published.load().generation as f64);
    record_steering(shared);
    record_measured(shared);
    if let Some(faults) = shared.faults() {
        record_faults(faults);
    }
    if let Some(ends) = shared.certificates.ends() {
        describe_gauge!("meridian_certificate_ends_seconds", "When the certificate of [tls] ends, in Unix time.");
        gauge!("meridian_certificate_ends_seconds").set(ends.as_second() as f64);
    }
    describe_gauge!("meridian_state_unwritten", "1 while it cannot be written: a restart would begin without it.");
    let unwritten = shared.unwritten();
    for what in Kept::ALL {
        let is_one = unwritten.iter().any(|unwritten| unwritten.what == what);
        gauge!("meridian_state_unwritten", "what" => what.as_str()).set(f64::from(u8::from(is_one)));
    }
    describe_gauge!("meridian_sandbox_lacking", "Protections that were asked for and the kernel did not give.");
    gauge!("meridian_sandbox_lacking").set(shared.sandbox.as_ref().map_or(0, |sandbox| sandbox.lacking.len()) as f64);
    record_files(shared);
    record_health(&shared.board());
}

/// What has gone wrong at the sockets.
fn record_faults(faults: &Faults) {
    describe_counter!("meridian_socket_errors_total", "Errors in receiving, sending and accepting.");
    describe_counter!("meridian_tcp_evictions_total", "Connections of TCP or QUIC closed to make room at the limit.");
    describe_counter!(
        "meridian_tls_handshake_failures_total",
        "Handshakes of TLS or QUIC that failed or took too long."
    );
    describe_counter!(
        "meridian_tcp_client_evictions_total",
        "Connections of TCP or QUIC closed at the limit of one client."
    );
    describe_counter!(
        "meridian_tcp_pauses_total",
        "Waits of clients that had taken what one may in a second by TCP or QUIC."
    );
    describe_counter!("meridian_panics_total", "Panics in answering: bugs of ours.");
    describe_counter!("meridian_udp_drops_total", "Queries by UDP that the kernel dropped before they were read.");
    counter!("meridian_socket_errors_total").absolute(faults.socket_errors());
    counter!("meridian_tcp_evictions_total").absolute(faults.evicted());
    counter!("meridian_tcp_client_evictions_total").absolute(faults.client_evicted());
    counter!("meridian_tcp_pauses_total").absolute(faults.paused());
    counter!("meridian_tls_handshake_failures_total").absolute(faults.failed_handshakes());
    counter!("meridian_panics_total").absolute(faults.panics());
    counter!("meridian_udp_drops_total").absolute(faults.udp_drops());
}

/// What was read, and how that ended.
fn record_files(shared: &Shared) {
    describe_gauge!("meridian_ready", "1 once steered names are answered.");
    describe_gauge!("meridian_config_stale", "1 while the files on disk do not pass and the last good set serves.");
    describe_gauge!("meridian_config_errors", "Errors of the last reading of files.");
    describe_gauge!("meridian_config_warnings", "Warnings of the set that serves.");
    describe_gauge!("meridian_config_error", "Always 1: an error of the last reading of files, with its place.");
    describe_gauge!("meridian_geoip_built_seconds", "When a database that serves was made, in Unix time.");
    for file in shared.published.load().parts.geo.files() {
        let path = file.path.display().to_string();
        gauge!("meridian_geoip_built_seconds", "file" => path).set(file.built.as_second() as f64);
    }
    describe_gauge!("meridian_restart_pending", "1 while what serves has edits that take effect at a restart.");
    describe_gauge!("meridian_config_read_seconds", "When files were read last, in Unix time.");
    let journal = shared.journal().clone();
    gauge!("meridian_restart_pending").set(f64::from(u8::from(journal.restart_pending)));
    gauge!("meridian_config_read_seconds").set(journal.reload.at.as_second() as f64);
    gauge!("meridian_ready").set(f64::from(u8::from(journal.ready)));
    gauge!("meridian_config_stale").set(f64::from(u8::from(journal.stale)));
    gauge!("meridian_config_warnings").set(journal.warnings.len() as f64);
    let errors = journal.reload.problems.iter().filter(|problem| problem.severity == Severity::Error);
    gauge!("meridian_config_errors").set(errors.clone().count() as f64);
    for problem in errors.take(MAX_ERRORS) {
        let (line, column) = problem.spot.as_ref().map_or((0, 0), |spot| (spot.line, spot.column));
        let labels = [
            ("file", problem.file.display().to_string()),
            ("line", line.to_string()),
            ("column", column.to_string()),
            ("cause", problem.code.to_owned()),
        ];
        gauge!("meridian_config_error", &labels).set(1.0);
    }
}

/// What health says.
fn record_health(board: &Board) {
    let figure = |is_so: bool| f64::from(u8::from(is_so));
    describe_gauge!("meridian_endpoint_up", "1 while probes find the endpoint up, degraded or damped.");
    for endpoint in board.endpoints() {
        let up = matches!(endpoint.state, State::Up | State::Degraded | State::Damped);
        gauge!("meridian_endpoint_up", "endpoint" => endpoint.name.to_string()).set(figure(up));
    }
    describe_gauge!("meridian_site_failing", "1 while most endpoints of the site are down; of sites with two or more.");
    describe_gauge!(
        "meridian_cloud_failing",
        "1 while most endpoints of the cloud are down; of clouds with two or more."
    );
    for group in board.groups().iter().filter(|group| group.can_fail()) {
        let gauge = match &group.subject {
            Subject::Site(cloud, region) => {
                gauge!("meridian_site_failing", "cloud" => cloud.to_string(), "region" => region.to_string())
            }
            Subject::Cloud(cloud) => gauge!("meridian_cloud_failing", "cloud" => cloud.to_string()),
            _ => continue,
        };
        gauge.set(figure(group.failing_since.is_some()));
    }
    describe_gauge!("meridian_client_errors", "1 while clients report that they cannot reach the site.");
    for group in board.groups() {
        if let Subject::Site(cloud, region) = &group.subject {
            let labels = [("cloud", cloud.to_string()), ("region", region.to_string())];
            gauge!("meridian_client_errors", &labels).set(figure(group.complained.is_some()));
        }
    }
    describe_gauge!(
        "meridian_soft_unheeded",
        "Fences of services where soft signals count for nothing, since they speak against too many."
    );
    gauge!("meridian_soft_unheeded").set(board.unheeded().count() as f64);
    describe_gauge!("meridian_self_fault", "1 while the fault is ours and verdicts of down are held.");
    gauge!("meridian_self_fault").set(figure(board.own_fault().is_some()));
    describe_gauge!("meridian_withdrawn", "1 while `/readyz` says no since the fault is ours for `withdraw_after`.");
    gauge!("meridian_withdrawn").set(figure(board.withdrawn().is_some()));
    describe_gauge!("meridian_anchor_up", "1 while the anchor answers.");
    for (anchor, state) in board.anchors() {
        gauge!("meridian_anchor_up", "anchor" => anchor.to_string()).set(figure(state == State::Up));
    }
}

fn describe_events() {
    describe_histogram!("meridian_probe_seconds", "Round trips of probes that succeeded, by probe.");
    describe_gauge!(
        "meridian_probe_certificate_ends_seconds",
        "When the certificate that a target shows ends, in Unix time."
    );
    describe_counter!("meridian_probe_outcomes_total", "Outcomes of probes, by probe and kind.");
    describe_counter!("meridian_verdicts_total", "Changes of what health says of an endpoint or an address of it.");
    describe_counter!("meridian_reloads_total", "Readings of files, by result.");
    describe_counter!("meridian_webhook_total", "Events for the webhook, by outcome.");
    for result in [ReloadResult::Ok, ReloadResult::Failed] {
        counter!("meridian_reloads_total", "result" => result.as_str()).increment(0);
    }
    for outcome in ["sent", "failed", "dropped"] {
        counter!("meridian_webhook_total", "outcome" => outcome).increment(0);
    }
    for why in ["late", "exhausted", "crowded"] {
        counter!("meridian_probes_discarded_total", "why" => why).increment(0); // a rate needs the zero
    }
    describe_counter!("meridian_beacons_total", "Sessions of beacons: offered, without anything to time, and taken.");
    describe_counter!("meridian_beacons_refused_total", "What the beacon listener refused, by why.");
    describe_counter!("meridian_probes_discarded_total", "Runs of probes that told nothing of their target, by why.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Control, Options};

    #[tokio::test]
    async fn every_family_and_series_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("zone"), "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n").unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, "geoip.databases = []\n[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n").unwrap();
        let metrics = Metrics::install();
        let control = Control::open(Options { config, strict: true }).unwrap();
        let text = metrics.render(&control.shared());
        let keys = text.lines().filter(|line| !line.is_empty()).map(|line| line.rsplit_once(' ').unwrap().0);
        let mut seen = BTreeSet::new();
        for key in keys {
            assert!(seen.insert(key), "{key} is there twice:\n{text}");
        }
        assert!(text.contains("\nmeridian_generation ") && text.contains("\nmeridian_config_stale 0"), "{text}");
    }

    #[test]
    fn the_busiest_services_have_labels_and_the_rest_never_goes_back() {
        let services = |a, b, c| [("a", a), ("b", b), ("c", c)].map(|(name, n)| (name.to_owned(), n)).to_vec();
        let mut labelled = Labelled::default();
        let figure = |chosen: &[(String, u64)], name: &str| chosen.iter().find(|(n, _)| n == name).map(|(_, f)| *f);
        let first = labelled.choose(services(5, 3, 1), 2);
        assert_eq!((figure(&first, "a"), figure(&first, "other")), (Some(5), Some(5 + 3 + 1)));
        let second = labelled.choose(services(5, 3, 9), 2); // c overtakes b
        assert_eq!((figure(&second, "c"), figure(&second, "b")), (Some(9), None));
        assert!(figure(&second, "other") >= figure(&first, "other"));
        let third = labelled.choose(services(5, 4, 9), 2);
        assert_eq!(figure(&third, "other"), figure(&second, "other").map(|other| other + 1));
    }
}
