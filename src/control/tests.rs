//! What arrives together is published once, and nothing that takes long keeps it waiting.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::advance;

use super::*;
use crate::health::{Cause, CheckId, Outcome};
use crate::model::{EndpointId, State};
use crate::probe::Report;

const CONFIG: &str = r#"
[geoip]
databases = []
[[zones]]
name = "shop.example"
file = "shop.example.zone"
[health]
first_round = "10m"
[probes.shop]
type = "tcp"
port = 443
interval = "1h"
[[endpoints]]
name = "one"
cloud = "aws"
region = "us-east-1"
addresses = ["192.0.2.1"]
probe = "shop"
[[endpoints]]
name = "two"
cloud = "gcp"
region = "us-west1"
addresses = ["192.0.2.2"]
probe = "shop"
[[endpoints]]
name = "three"
cloud = "azure"
region = "westeurope"
addresses = ["192.0.2.3"]
probe = "shop"
"#;

/// A control plane of three endpoints, whose probes do not run.
fn control(folder: &std::path::Path) -> Control {
    let config = folder.join("config.toml");
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(folder.join("shop.example.zone"), "@ 60 SOA ns1 a 1 1 1 1 1\n@ 60 NS ns1.elsewhere.example.\n")
        .unwrap();
    let control = Control::open(Options { config, strict: true }).unwrap();
    let shared = control.shared();
    shared.board().reconfigure(&control.config(), &Default::default(), Timestamp::now());
    control
}

fn report(check: CheckId, good: bool) -> Report {
    let good = good.then_some(Outcome::Success { rtt: Duration::from_millis(1) });
    let outcome = good.unwrap_or(Outcome::Failure { cause: Cause::Refused });
    Report { check, at: Timestamp::now(), outcome }
}

fn states(shared: &Shared) -> Vec<State> {
    shared.board().endpoints().map(|endpoint| endpoint.state).collect()
}

/// Takes in reports, then publishes once.
fn all<const N: usize>(control: &mut Control, reports: [Report; N]) {
    let seen = control.observe(&mut reports.into());
    control.conclude(&seen);
}

#[tokio::test]
async fn what_arrives_together_is_published_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control(folder.path());
    let shared = control.shared();
    let generation = || shared.published.load().generation;
    let checks: Vec<CheckId> = shared.board().checks().map(|(id, _)| id).collect();
    let start = generation();

    all(&mut control, [report(checks[0], true), report(checks[1], false), report(checks[2], true)]);
    assert_eq!(states(&shared), [State::Up, State::Down, State::Up]);
    assert_eq!(generation(), start + 1, "three verdicts, one publication");

    all(&mut control, [report(checks[0], true), report(checks[1], false)]);
    assert_eq!(generation(), start + 1, "no verdict, no publication");

    let mut news = shared.news();
    all(&mut control, [report(CheckId(u64::MAX), true), report(checks[1], true), report(checks[1], true)]);
    assert_eq!(states(&shared), [State::Up; 3]);
    assert_eq!(generation(), start + 2, "a check that is gone says nothing");
    assert!(news.has_changed().unwrap() && news.changed().await.is_ok());
}

/// Hands reports to a control task that is not busy, and one more while it collects, if it does.
async fn burst(control: &mut Control, reports: Vec<Report>, late: Report) {
    let reporter = control.reporter();
    let mut batch = reports;
    tokio::join!(control.take_reports(&mut batch), async { reporter.send(late).await.unwrap() });
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_collected_and_the_first_verdict_after_quiet_is_not_kept_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control(folder.path());
    let shared = control.shared();
    let generation = || shared.published.load().generation;
    let checks: Vec<CheckId> = shared.board().checks().map(|(id, _)| id).collect();
    let start = generation();

    burst(&mut control, vec![report(checks[0], true)], report(checks[1], true)).await;
    assert_eq!(generation(), start + 1, "quiet: at once");
    assert_eq!(states(&shared), [State::Up, State::Unknown, State::Unknown]);

    let mut batch = vec![control.reports.try_recv().unwrap()];
    let late = report(checks[2], false);
    let reporter = control.reporter();
    tokio::join!(control.take_reports(&mut batch), async { reporter.send(late).await.unwrap() });
    assert_eq!(generation(), start + 2, "a verdict right behind another: what comes meanwhile goes with it");
    assert_eq!(states(&shared), [State::Up, State::Up, State::Down]);

    // Without a verdict there is nothing to collect for.
    burst(&mut control, vec![report(checks[0], true)], report(checks[2], true)).await;
    assert_eq!((generation(), control.reports.len()), (start + 2, 1));

    advance(Duration::from_millis(1)).await;
    burst(&mut control, vec![report(checks[2], true), report(checks[2], true)], report(checks[0], true)).await;
    assert_eq!((generation(), control.reports.len()), (start + 3, 2), "quiet again");
    assert_eq!(states(&shared), [State::Up; 3]);
}

// The clock stands still, so that no probe is ever due.
#[tokio::test(start_paused = true)]
async fn verdicts_are_published_while_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control(folder.path());
    let (shared, reporter) = (control.shared(), control.reporter());
    let checks: Vec<CheckId> = shared.board().checks().map(|(id, _)| id).collect();
    // A reading that goes on until it is told to end.
    let (end, ended) = oneshot::channel();
    control.loading = Some(tokio::spawn(async { ended.await.unwrap() }));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(control.run(async { drop(stopped.await) }));
    for (check, good) in [(checks[0], true), (checks[1], false), (checks[2], true)] {
        let generation = shared.published.load().generation;
        reporter.send(report(check, good)).await.unwrap();
        while shared.published.load().generation == generation {
            yield_now().await;
        }
    }
    assert_eq!(states(&shared), [State::Up, State::Down, State::Up]);
    assert_eq!(shared.journal().reload.result, ReloadResult::Ok, "it has not ended");
    end.send(Err("told to".to_owned())).ok().unwrap();
    while shared.journal().reload.result == ReloadResult::Ok {
        yield_now().await;
    }
    assert!(shared.journal().reload.problems[0].to_string().contains("told to"));
    drop(stop);
    running.await.unwrap();
}

/// BEHAVIOUR rule 20.
#[tokio::test]
async fn ttls_shrink_while_an_answer_may_turn_but_not_in_a_storm() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control(folder.path());
    let shared = control.shared();
    let checks: Vec<CheckId> = shared.board().checks().map(|(id, _)| id).collect();
    let doubts = || {
        let snapshot = shared.published.load();
        [0, 1, 2].map(|index| snapshot.standing(EndpointId(index)).in_doubt)
    };
    all(&mut control, [report(checks[0], true), report(checks[1], true), report(checks[2], true)]);
    assert_eq!(doubts(), [false; 3]);
    all(&mut control, [report(checks[0], false)]);
    assert_eq!(doubts(), [true, false, false], "it may turn");
    all(&mut control, [report(checks[1], false)]);
    assert_eq!(doubts(), [false; 3], "two of three: all would ask at once");
    all(&mut control, [report(checks[0], true), report(checks[0], true)]);
    assert_eq!(doubts(), [false, true, false], "only the other may");
    all(&mut control, [report(checks[1], false), report(checks[1], false)]);
    assert_eq!((doubts(), states(&shared)[1]), ([false; 3], State::Down), "decided");
    // What is down is in no answer: no doubt by its first success.
    all(&mut control, [report(checks[1], true)]);
    assert_eq!((doubts(), shared.board().in_doubt()), ([false; 3], 0));
}
