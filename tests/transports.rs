//! The real binary on all transports, asked by tools that others wrote: all say the same. A tool that is not installed
//! is skipped with a line.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "no test binary uses all of it")]
#[path = "support/mmdb.rs"]
mod mmdb;
#[path = "support/server.rs"]
mod server;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use meridian::cli::lab::Lab;
use tokio::process::Command;
use tokio::time::timeout;

use server::{DEADLINE, Program, SYDNEY, Shop};

/// Where each transport is served.
struct Ports {
    dns: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
    quic: SocketAddr,
}

/// A shop with a certificate for `localhost`, served by the real binary.
async fn start() -> ((Shop, Arc<Lab>), Program, Ports) {
    let (shop, lab) = Shop::with_lab().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    shop.write("cert.pem", made.cert.pem());
    shop.write("key.pem", made.signing_key.serialize_pem());
    let listeners = ["listen", "https", "quic", "https3"].map(|key| format!("{key} = [\"127.0.0.1:0\"]\n"));
    shop.append(&format!("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n{}", listeners.concat()));
    let mut serve = Program::start(shop.folder(), &["serve"]);
    let mut address = async |text: &str| {
        let line = serve.line(text).await;
        line.split_once("address=").unwrap().1.trim().parse().unwrap()
    };
    let ports = Ports {
        dns: address("answering by UDP and TCP").await,
        tls: address("answering by TLS").await,
        https: address("answering by HTTPS").await,
        quic: address("answering by QUIC").await,
    };
    serve.line("answering by HTTP/3").await;
    serve.line("ready").await;
    ((shop, lab), serve, ports)
}

/// What a program prints; none, with a line: it is not installed.
async fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(DEADLINE, command.output()).await.expect("an end") {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {program} {arguments:?}: {error}");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].map(|octets| String::from_utf8(octets).unwrap()).concat();
    assert!(output.status.success(), "{program} {arguments:?}:\n{text}");
    Some(text)
}

/// Response code and records of ANSWER, in order, as dig, kdig and drill print them alike.
fn said(text: &str) -> (String, Vec<String>) {
    let header = text.split_once("opcode: QUERY").map_or("", |(_, rest)| rest);
    let code = header.split_once("status: ").or_else(|| header.split_once("rcode: ")).map(|(_, rest)| rest);
    let code = code.unwrap_or_else(|| panic!("no response code in:\n{text}")).split([',', ';']).next().unwrap();
    let section = text.split_once("ANSWER SECTION:\n").map_or("", |(_, rest)| rest);
    let records = section.lines().take_while(|line| !line.is_empty() && !line.starts_with(';'));
    let mut records: Vec<_> = records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    records.sort();
    (code.to_owned(), records)
}

/// A name, the client it is asked for, and what all must say.
const QUESTIONS: [(&str, Option<&str>, &str, &[&str]); 3] = [
    ("www.shop.example", Some(SYDNEY), "NOERROR", &["www.shop.example. 20 IN A 192.0.2.1"]),
    ("static.shop.example", None, "NOERROR", &["static.shop.example. 60 IN A 203.0.113.80"]),
    ("none.shop.example", None, "NXDOMAIN", &[]),
];

/// Asks all questions by one tool in one way.
async fn ask_all(program: &str, port: SocketAddr, way: &[&str]) {
    let (at, port) = (format!("@{}", port.ip()), port.port().to_string());
    for (name, client, code, records) in QUESTIONS {
        let subnet = client.map(|client| format!("+subnet={client}"));
        if program == "drill" && subnet.is_some() {
            continue; // it has no client subnet
        }
        let arguments =
            [&[at.as_str(), "-p", &port, name, "A"], way, &subnet.iter().map(String::as_str).collect::<Vec<_>>()];
        let Some(text) = run(program, &arguments.concat()).await else { return };
        let expected = (code.to_owned(), records.iter().map(|&record| record.to_owned()).collect());
        assert_eq!(said(&text), expected, "{program} {way:?} {name}:\n{text}");
        if client.is_some() {
            let echoed = text.lines().any(|line| line.contains("CLIENT-SUBNET") && line.contains("103.86.96.0/24/"));
            assert!(echoed, "no scope:\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_others_get_the_same_answer_by_each_transport() {
    let ((shop, _lab), _serve, ports) = start().await;
    let authority = shop.path("cert.pem");
    let authority = format!("+tls-ca={}", authority.display());
    // kdig holds the certificate against the name, but for QUIC, where it takes any.
    let verified = [authority.as_str(), "+tls-hostname=localhost"];
    let bounded = ["+time=20", "+retry=0"];
    let kdig = async |port, way: &[&str]| ask_all("kdig", port, &[&bounded, way].concat()).await;
    kdig(ports.dns, &[]).await;
    kdig(ports.dns, &["+tcp"]).await;
    kdig(ports.tls, &[&["+tls"], &verified[..]].concat()).await;
    kdig(ports.https, &[&["+https"], &verified[..]].concat()).await;
    kdig(ports.https, &[&["+https=/dns-query", "+https-get"], &verified[..]].concat()).await;
    match run("kdig", &["--help"]).await {
        Some(help) if !help.contains("quic") => println!("skipped: this kdig has no +quic"),
        _ => kdig(ports.quic, &["+quic"]).await,
    }
    ask_all("dig", ports.dns, &["+time=20", "+tries=1"]).await;
    ask_all("dig", ports.dns, &["+time=20", "+tries=1", "+tcp"]).await;
    match run("dig", &["-h"]).await {
        Some(help) if !help.contains("+[no]https") => println!("skipped: this dig has no +https"),
        _ => {
            ask_all("dig", ports.https, &["+time=20", "+tries=1", "+https"]).await;
            ask_all("dig", ports.https, &["+time=20", "+tries=1", "+https-get"]).await;
            ask_all("dig", ports.tls, &["+time=20", "+tries=1", "+tls"]).await;
        }
    }
    ask_all("drill", ports.dns, &["-u"]).await;
    ask_all("drill", ports.dns, &["-t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken() {
    let ((shop, _lab), _serve, ports) = start().await;
    // static.shop.example A
    let query = "dns=AAABAAABAAAAAAAABnN0YXRpYwRzaG9wB2V4YW1wbGUAAAEAAQ";
    let url = format!("https://localhost:{}/dns-query?{query}", ports.https.port());
    let authority = shop.path("cert.pem");
    for (version, status) in [("--http1.1", "HTTP/1.1 200 OK"), ("--http2", "HTTP/2 200")] {
        let fixed = ["--silent", "--show-error", "--ipv4", "--max-time", "50", "--head", version, "--cacert"];
        let arguments = [&fixed[..], &[authority.to_str().unwrap(), &url]].concat();
        let Some(text) = run("curl", &arguments).await else { return };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let headers =
            ["content-type: application/dns-message", "cache-control: private, max-age=60", "content-length: 53"];
        for line in headers.iter().chain([&status]) {
            assert!(lines.contains(line), "no {line:?} in:\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_loses_nothing_by_any_transport() {
    let ((shop, _lab), _serve, ports) = start().await;
    shop.write("queries", QUESTIONS.map(|(name, ..)| format!("{name} A\n")).concat());
    let queries = shop.path("queries");
    // By HTTPS it has room for one reply in what it reads at once, and loses others.
    let (many, one) = ("30", "1");
    for (mode, port, at_once) in
        [("udp", ports.dns, many), ("tcp", ports.dns, many), ("dot", ports.tls, many), ("doh", ports.https, one)]
    {
        let port = port.port().to_string();
        let queries = queries.to_str().unwrap();
        let fixed = ["-s", "127.0.0.1", "-p", &port, "-d", queries, "-m", mode];
        let bounds = ["-n", "100", "-l", "30", "-t", "20", "-c", "3", "-q", at_once, "-T", "1"];
        let Some(text) = run("dnsperf", &[&fixed[..], &bounds].concat()).await else { return };
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let told: Vec<String> = text.lines().map(words).collect();
        for line in ["Queries sent: 300", "Queries completed: 300 (100.00%)", "Queries lost: 0 (0.00%)"] {
            assert!(told.iter().any(|told| told == line), "{mode}: no {line:?} in:\n{text}");
        }
        let codes = "Response codes: NOERROR 200 (66.67%), NXDOMAIN 100 (33.33%)";
        assert!(told.iter().any(|told| told == codes), "{mode}: {text}");
    }
}
