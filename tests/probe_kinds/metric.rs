//! `metric`: figures, their bounds, and the many ways of having none.

use std::time::Duration;

use meridian::config::{Aim, Limits, Metric, Probe, ProbeKind, Sample, Tls};
use meridian::health::{Cause, Outcome};

use crate::support::{Authority, Reply, Web, closed_port, found_by, probe};

/// Nothing may go there: a metric's target is not asked.
const TARGET: &str = "192.0.2.7:9";

fn metric(url: String, aim: Aim) -> Metric {
    let limits = Limits { degraded_over: Some(30.0), down_over: Some(300.0), ..Limits::default() };
    Metric { url, tls: None, aim, limits, missing_degrades: false }
}

fn sample(text: &str) -> Aim {
    Aim::Sample(Sample::begin(text).unwrap().0)
}

async fn found(metric: Metric) -> Outcome {
    found_by(probe(ProbeKind::Metric(metric)), TARGET.parse().unwrap(), &[]).await
}

async fn asked(reply: Reply, aim: Aim) -> Outcome {
    let web = Web::start(reply, None).await;
    found(metric(format!("http://{}/metrics", web.address), aim)).await
}

fn text(body: &str) -> Reply {
    Reply::Text(format!("HTTP/1.1 200 OK\r\n\r\n{body}").leak())
}

fn lag(figure: &str) -> Reply {
    text(&format!("# TYPE lag gauge\nlag{{group=\"a\"}} {figure}\nlag{{group=\"b\"}} 1e9\n"))
}

#[tokio::test]
async fn figures_are_held_against_their_bounds() {
    let aim = || sample("lag{group=\"a\"}");
    assert!(asked(lag("30"), aim()).await.is_success());
    let Outcome::Degraded { why, .. } = asked(lag("42"), aim()).await else { panic!() };
    assert_eq!(why, "lag is 42, over 30");
    let down = |why: &str| Outcome::Failure { cause: Cause::Figure(why.to_owned()) };
    assert_eq!(asked(lag("+Inf"), aim()).await, down("lag is inf, over 300"));
    let web = Web::start(text("{\"queue\": [{\"lag\": \"3\"}]}"), None).await;
    let under = Limits { down_under: Some(4.0), ..Limits::default() };
    let pointer = Aim::Pointer(["queue", "0", "lag"].map(str::to_owned).to_vec());
    let metric = Metric { limits: under, ..metric(format!("http://{}/", web.address), pointer) };
    assert_eq!(found(metric).await, down("/queue/0/lag is 3, under 4"));
}

#[tokio::test]
async fn no_figure_is_missing_and_no_failure() {
    let endless = Reply::Endless("HTTP/1.1 200 OK\r\n\r\n");
    let lines = format!("HTTP/1.1 200 OK\r\n\r\nlag 1\n{}", "x\n".repeat(2 * 1024 * 1024));
    for (reply, words) in [
        (text("lag NaN\n"), "lag is NaN"),
        (text("lag 1 1000\n"), "lag is stale"),
        (text(""), "lag is not there"),
        (text("{\"lag\": 1}"), "lag is not there"),
        (Reply::Text("HTTP/1.1 404 No\r\n\r\nlag 1"), "status 404"),
        (Reply::Text("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), "status 302"),
        (Reply::Text("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nlag 1\n"), "does not tell"),
        (Reply::Text("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\u{8b}"), "lag is not there"),
        (Reply::Text("SSH-2.0\r\n"), "does not tell"),
        (Reply::Reset, "connection reset"),
        (endless, "over 64 KiB"),
        (Reply::Text(lines.leak()), "over 4 MiB"),
    ] {
        let Outcome::Missing { why } = asked(reply, sample("lag")).await else { panic!("{words}") };
        assert!(why.contains(words), "{words}: {why}");
    }
    let (_held, closed) = closed_port();
    let dead = || metric(format!("http://{closed}/"), sample("lag"));
    assert!(matches!(found(dead()).await, Outcome::Missing { why } if why.contains("connection refused")));
    let Outcome::Degraded { why, .. } = found(Metric { missing_degrades: true, ..dead() }).await else { panic!() };
    assert!(why.contains("connection refused"), "{why}");
}

#[tokio::test]
async fn silence_is_missing_before_it_is_a_timeout() {
    let web = Web::start(Reply::Hang("HTTP/1.1 200 OK\r\n\r\nlag 1\n"), None).await;
    let metric = metric(format!("http://{}/", web.address), sample("lag"));
    let timeout = Duration::from_millis(200);
    let probe = Probe { timeout, interval: Duration::from_secs(20), ..probe(ProbeKind::Metric(metric)) };
    let Outcome::Missing { why } = found_by(probe, TARGET.parse().unwrap(), &[]).await else { panic!() };
    assert_eq!(why, "127.0.0.1 does not tell within 180ms");
}

#[tokio::test]
async fn names_are_resolved_and_private_addresses_must_be_meant() {
    let web = Web::start(lag("1"), None).await;
    let metric = |host: &str| metric(format!("http://{host}:{}/", web.address.port()), sample("lag{group=\"a\"}"));
    assert!(found(metric("localhost")).await.is_success());
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let probe = Probe { allow_private: false, ..probe(ProbeKind::Metric(metric(host))) };
        let Outcome::Missing { why } = found_by(probe, TARGET.parse().unwrap(), &[]).await else { panic!("{host}") };
        assert!(why.contains("allow_private"), "{why}");
    }
}

#[tokio::test]
async fn endpoint_and_address_are_filled_in() {
    let mut web = Web::start(text("lag{at=\"192.0.2.7\",of=\"e\"} 1\nlag{at=\"192.0.2.8\"} 999\n"), None).await;
    let metric = metric(
        format!("http://{}/{{endpoint}}/{{address}}", web.address),
        sample("lag{at=\"{address}\",of=\"{endpoint}\"}"),
    );
    assert!(found(metric).await.is_success());
    assert!(web.requests.recv().await.unwrap().starts_with("GET /e/192.0.2.7 "));
}

#[tokio::test]
async fn a_bad_certificate_is_missing_too() {
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor = authority.acceptor("localhost", 2999);
    let web = Web::start(lag("1"), Some(acceptor)).await;
    let tls = Some(Tls { ca: Some("ca.pem".into()), ..Tls::default() });
    let url = format!("https://localhost:{}/", web.address.port());
    let probe =
        || probe(ProbeKind::Metric(Metric { tls: tls.clone(), ..metric(url.clone(), sample("lag{group=\"a\"}")) }));
    let found = |ca: String| async move { found_by(probe(), TARGET.parse().unwrap(), &[("ca.pem", &ca)]).await };
    assert!(found(authority.0.pem()).await.is_success());
    assert!(matches!(found(other.0.pem()).await, Outcome::Missing { why } if why.contains("TLS")));
}
