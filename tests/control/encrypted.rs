//! DNS over TLS, and the certificate that it shows, over edits and restarts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use meridian::cli::lab::Lab;

use crate::server::{STATIC, SYDNEY, Server, Shop, WWW, addresses, ask, framed, ip, query, reply};
use crate::tls::{Authority, ask_on};

/// With a certificate of this authority.
async fn shop_with_tls(authority: &Authority) -> (Shop, Arc<Lab>) {
    let (shop, lab) = Shop::with_lab().await;
    let [chain, key] = authority.issue();
    shop.write("chain.pem", chain);
    shop.write("key.pem", key);
    let tls = "[tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\nlisten = [\"127.0.0.1:0\"]\n[admin]";
    shop.edit("[admin]", tls);
    (shop, lab)
}

fn with_option(mut query: Message, option: EdnsOption) -> Message {
    query.edns.get_or_insert_default().options_mut().insert(option);
    query
}

/// Does a client that trusts this authority get an answer?
async fn is_answered(server: &Server, authority: &Authority) -> bool {
    let fixed = query(STATIC, RecordType::A, None);
    let Ok(mut stream) = authority.connect(server.tls.unwrap(), &[]).await else { return false };
    let answer = ask_on(&mut stream, &fixed).await.unwrap();
    addresses(&reply(&fixed, &answer)).0 == [ip("203.0.113.80")]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_udp_but_padded() {
    let authority = Authority::new();
    let (shop, _lab) = shop_with_tls(&authority).await;
    let server = shop.start_ready().await;
    let mut stream = authority.connect(server.tls.unwrap(), &[]).await.unwrap();
    for (name, rtype) in [(WWW, RecordType::A), (STATIC, RecordType::A), ("nowhere.shop.example.", RecordType::AAAA)] {
        let query = query(name, rtype, Some(SYDNEY));
        let by_tls = reply(&query, &ask_on(&mut stream, &query).await.unwrap());
        let by_udp = ask(server.dns, &query).await;
        assert_eq!((&by_tls.answers, &by_tls.metadata), (&by_udp.answers, &by_udp.metadata));
    }
    let padding = EdnsOption::Unknown(12, vec![0; 50]);
    let padded = with_option(with_option(query(WWW, RecordType::A, None), padding), EdnsOption::Unknown(11, vec![]));
    let octets = ask_on(&mut stream, &padded).await.unwrap();
    let edns = reply(&padded, &octets).edns.unwrap();
    assert_eq!(octets.len(), 468);
    assert!(edns.option(EdnsCode::Padding).is_some() && edns.option(EdnsCode::Keepalive).is_some(), "{edns:?}");
    assert!(ask(server.dns, &padded).await.edns.unwrap().option(EdnsCode::Padding).is_none(), "not by UDP");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_pair_is_shown_and_a_bad_one_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let (shop, _lab) = shop_with_tls(&old).await;
    let server = shop.start_ready().await;
    assert!(is_answered(&server, &old).await && !is_answered(&server, &new).await);

    let [chain, key] = new.issue();
    assert_eq!(server.reading("a new chain alone", || shop.replace("chain.pem", &chain)).await, "failed");
    let status = server.status().await;
    let error = &status["reload"]["errors"][0];
    assert!(error["file"].as_str().unwrap().ends_with("key.pem"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("belongs to another certificate"), "{error}");
    assert!(is_answered(&server, &old).await);

    assert_eq!(server.reading("its key as well", || shop.replace("key.pem", &key)).await, "ok");
    assert!(is_answered(&server, &new).await && !is_answered(&server, &old).await);
    assert!(server.metrics().await.contains("\nmeridian_certificate_ends_seconds "));
    assert!(server.metrics().await.contains("\nmeridian_tls_handshake_failures_total "));
    server.stop().await;
    assert_secret(shop.folder(), &key);

    // The last good set has no key in it: what is shown is what is on disk, and where that is bad, nothing.
    shop.append("[[zones\n");
    let server = shop.start_ready().await;
    assert!(is_answered(&server, &new).await);
    server.stop().await;
    shop.write("key.pem", "none");
    let server = shop.start_ready().await;
    assert!(!is_answered(&server, &new).await);
    assert_eq!(addresses(&ask(server.dns, &query(STATIC, RecordType::A, None)).await).0, [ip("203.0.113.80")]);
    server.stop().await;
}

/// Nothing but its own file holds a line of the key.
fn assert_secret(folder: &Path, key: &str) {
    let secret = key.lines().nth(1).unwrap().as_bytes();
    let mut looked = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("key.pem") {
                looked += 1;
                let content = fs::read(&path).unwrap();
                assert!(!content.windows(secret.len()).any(|octets| octets == secret), "{}", path.display());
            }
        }
    }
    assert!(looked > 3, "the kept sets are among them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_who_asks_before_the_handshake() {
    let authority = Authority::new();
    let (shop, _lab) = shop_with_tls(&authority).await;
    let server = shop.start_ready().await;
    assert!(is_answered(&server, &authority).await);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.dns).await.unwrap();
    let mut octets = [0; 1232];
    socket
        .send(&[b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", &query(WWW, RecordType::A, None).to_vec().unwrap()[..]].concat())
        .await
        .unwrap();
    let length = socket.recv(&mut octets).await.unwrap();
    assert_eq!((length, octets[3] & 0xf), (12, 4), "of a stranger it is an opcode that is not implemented");
    let edit = || shop.edit("workers = 1", "workers = 1\nproxy_from = [\"127.0.0.0/8\"]");
    assert_eq!(server.reading("a proxy", edit).await, "ok");
    assert!(!is_answered(&server, &authority).await, "a header is required now");
    // 103.86.96.7 is in Sydney, 185.107.56.7 in the Netherlands.
    for (client, expected) in [([103, 86, 96, 7], "192.0.2.1"), ([185, 107, 56, 7], "192.0.2.3")] {
        let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"[..], &client, &[127, 0, 0, 1, 1, 0, 0, 53]].concat();
        let query = query(WWW, RecordType::A, None);
        let mut stream = authority.connect(server.tls.unwrap(), &header).await.unwrap();
        let by_tls = reply(&query, &ask_on(&mut stream, &query).await.unwrap());
        assert_eq!(addresses(&by_tls).0, [ip(expected)]);

        socket.send(&[&header[..], &query.to_vec().unwrap()].concat()).await.unwrap();
        let length = socket.recv(&mut octets).await.unwrap();
        assert_eq!(addresses(&reply(&query, &octets[..length])).0, [ip(expected)], "by UDP, without a header back");

        let mut stream = tokio::net::TcpStream::connect(server.dns).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &[header, framed(&query)].concat()).await.unwrap();
        let length = tokio::io::AsyncReadExt::read_u16(&mut stream).await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut octets[..length.into()]).await.unwrap();
        assert_eq!(addresses(&reply(&query, &octets[..length.into()])).0, [ip(expected)]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_asks_by_tls() {
    if Command::new("kdig").arg("-V").output().is_err() {
        eprintln!("skipped: there is no kdig (Debian: knot-dnsutils)");
        return;
    }
    let authority = Authority::new();
    let (shop, _lab) = shop_with_tls(&authority).await;
    shop.write("ca.pem", authority.pem());
    let server = shop.start_ready().await;
    let port = server.tls.unwrap().port().to_string();
    let ca = format!("+tls-ca={}", shop.path("ca.pem").display());
    let arguments =
        ["@127.0.0.1", "-p", &port, "+tls", &ca, "+tls-hostname=ns1.shop.example", "+padding=128", "+short"];
    let output = tokio::process::Command::new("kdig").args(arguments).args([STATIC, "A"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.trim(), "203.0.113.80", "{output:?}");
    server.stop().await;
}
