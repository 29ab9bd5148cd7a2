//! Connections over a pipe in memory, on a clock that is paused: what waits, waits exactly.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::serve::connection::{Connection, Peer};

type Ended = tokio::task::JoinHandle<std::io::Result<()>>;

/// A connection whose pipe holds `room` octets each way.
fn connect(room: usize) -> (DuplexStream, Ended, watch::Sender<()>) {
    let (alive, stop) = watch::channel(());
    let (ours, theirs) = duplex(room);
    let responders = Arc::new(Responders::new(vec![toy], Arc::default()));
    let peer = Peer { client: "192.0.2.1:5300".parse().unwrap(), transport: Transport::Tcp };
    let connection = Connection::new(peer, 7, responders, Duration::from_secs(30), stop);
    (ours, tokio::spawn(connection.run(theirs)), alive)
}

async fn read_answer(stream: &mut DuplexStream) -> String {
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn assert_ended_without_more(mut stream: DuplexStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test(start_paused = true)]
async fn byte_by_byte() {
    let (mut stream, _ended, _alive) = connect(1);
    for octet in framed("one long query") {
        stream.write_all(&[octet]).await.unwrap();
    }
    assert_eq!(read_answer(&mut stream).await, "one long queryT");
}

#[tokio::test(start_paused = true)]
async fn many_in_one_segment_in_order() {
    let (mut stream, _ended, _alive) = connect(1 << 20);
    let queries: Vec<_> = (0..5000).map(|index| format!("query number {index}")).collect();
    let (whole, half) = (queries.iter().flat_map(|query| framed(query)), framed("this one comes in two"));
    stream.write_all(&whole.chain(half[..9].iter().copied()).collect::<Vec<_>>()).await.unwrap();
    for query in &queries {
        assert_eq!(read_answer(&mut stream).await, format!("{query}T"));
    }
    stream.write_all(&half[9..]).await.unwrap();
    assert_eq!(read_answer(&mut stream).await, "this one comes in twoT");
}

#[tokio::test(start_paused = true)]
async fn the_longest_query() {
    let (mut stream, _ended, _alive) = connect(100_000);
    let query = "x".repeat(65_534);
    stream.write_all(&framed(&query)).await.unwrap();
    assert_eq!(read_answer(&mut stream).await, query + "T");
}

#[tokio::test(start_paused = true)]
async fn idle_from_the_last_whole_query_on() {
    let (mut stream, ended, _alive) = connect(1000);
    stream.write_all(&framed("the first one")).await.unwrap();
    assert_eq!(read_answer(&mut stream).await, "the first oneT");
    tokio::time::sleep(Duration::from_secs(29)).await;
    stream.write_all(&framed("in good time")).await.unwrap();
    assert_eq!(read_answer(&mut stream).await, "in good timeT");
    let answered = Instant::now();
    // A client that dribbles octets of a query gains no time by it.
    for octet in &framed("much too slow")[..10] {
        tokio::time::sleep(Duration::from_millis(2900)).await;
        stream.write_all(&[*octet]).await.unwrap();
    }
    assert_eq!(ended.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(answered.elapsed().as_secs(), 30);
    assert_ended_without_more(stream).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_query_has_less_time() {
    let (mut stream, ended, _alive) = connect(1000);
    let connected = Instant::now();
    for octet in &framed("a byte a second")[..3] {
        stream.write_all(&[*octet]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(ended.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(connected.elapsed().as_secs(), 3);
    assert_ended_without_more(stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_closed() {
    let (mut stream, ended, _alive) = connect(64);
    let started = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let send = async { while writer.write_all(&framed("never read by anyone")).await.is_ok() {} };
    let (_, ended) = tokio::join!(send, ended);
    assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 10);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 64, "no more than the pipe holds");
}

#[tokio::test(start_paused = true)]
async fn lengths_below_a_header_close() {
    for bad in [&[0, 0][..], &framed("eleven long")] {
        let (mut stream, ended, _alive) = connect(1000);
        stream.write_all(&[&framed("a good query")[..], bad, &framed("a later query")].concat()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await, "a good queryT");
        assert_ended_without_more(stream).await;
        ended.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn silence_and_panics_close() {
    for bad in ["?answer nothing", "!panic for me please"] {
        let (mut stream, ended, _alive) = connect(1000);
        stream.write_all(&[framed("a good query"), framed(bad)].concat()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await, "a good queryT");
        assert_ended_without_more(stream).await;
        ended.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_gets_its_answers() {
    let (mut stream, ended, _alive) = connect(1000);
    stream.write_all(&[framed("the first one"), framed("the second one")].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut stream).await, "the first oneT");
    assert_eq!(read_answer(&mut stream).await, "the second oneT");
    assert_ended_without_more(stream).await;
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_has_arrived() {
    let (mut stream, ended, alive) = connect(1000);
    let started = Instant::now();
    stream.write_all(&[&framed("the first one")[..], &framed("the second one"), &[0, 99]].concat()).await.unwrap();
    drop(alive);
    assert_eq!(read_answer(&mut stream).await, "the first oneT");
    assert_eq!(read_answer(&mut stream).await, "the second oneT");
    assert_ended_without_more(stream).await;
    ended.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_millis(200), "nobody waited but for what is on its way");
}
