//! What arrives together is published once.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::health::{Cause, CheckId, Outcome};
use crate::model::State;
use crate::probe::Report;

const CONFIG: &str = r#"
[geoip]
databases = []
[[zones]]
name = "shop.example"
file = "shop.example.zone"
[probes.shop]
type = "tcp"
port = 443
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
    let seen = control.observe(reports);
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
