//! Commands by HTTP: `curl --data 'kill gcp-singapore' http://127.0.0.1:PORT/lab`.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Lab;

/// The longest command, in octets.
const LONGEST_COMMAND: usize = 4 * 1024;

/// `GET /lab` shows what each stand-in does; `POST /lab` carries out the command in its body and
/// tells the effect: 200 when done, 400 when not or not wholly. Plain text both ways.
pub fn router(lab: Arc<Lab>) -> Router {
    Router::new().route("/lab", get(status).post(obey)).layer(DefaultBodyLimit::max(LONGEST_COMMAND)).with_state(lab)
}

/// Serves [`router`] until dropped; see [`listen`](super::listen) for the listener.
///
/// # Errors
/// None in practice: failing connections end alone.
pub async fn serve_http(listener: TcpListener, lab: Arc<Lab>) -> io::Result<()> {
    axum::serve(listener, router(lab)).await
}

async fn status(State(lab): State<Arc<Lab>>) -> String {
    lab.status().await
}

async fn obey(State(lab): State<Arc<Lab>>, headers: HeaderMap, command: String) -> (StatusCode, String) {
    // Any web page may make its reader's browser post to loopback, and then the browser says so.
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "commands from web pages are refused\n".to_owned());
    }
    let obeyed = lab.obey(&command).await;
    tracing::info!(command = command.trim(), obeyed = obeyed.is_ok(), "lab command by HTTP");
    obeyed.map_or_else(|told| (StatusCode::BAD_REQUEST, told), |told| (StatusCode::OK, told))
}

#[cfg(test)]
mod tests {
    use super::super::{StandIn, listen};
    use super::*;
    use crate::model::Cloud;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Served {
        lab: Arc<Lab>,
        at: std::net::SocketAddr,
    }

    async fn serve() -> Served {
        let address = "127.0.0.1:0".parse().unwrap();
        let stand_in = StandIn {
            endpoint: "gcp-tokyo".into(),
            cloud: Cloud::new("gcp"),
            region: "asia-northeast1".into(),
            address,
        };
        let lab = Arc::new(Lab::start(vec![stand_in]).await.unwrap());
        let listener = listen(address, "the lab's commands").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(serve_http(listener, lab.clone()));
        Served { lab, at }
    }

    impl Served {
        async fn ask(&self, method: &str, more: &str, body: &str) -> (u16, String) {
            let length = body.len();
            let request = format!(
                "{method} /lab HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{more}\
                 Content-Length: {length}\r\n\r\n{body}"
            );
            let mut stream = TcpStream::connect(self.at).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
        }
    }

    #[tokio::test]
    async fn commands_and_state_by_http() {
        let served = serve().await;
        let (code, told) = served.ask("POST", "", "delay gcp 800ms\n").await;
        assert_eq!((code, told.as_str()), (200, "gcp-tokyo  now answers after 800ms  (before: answers)\n"));
        let (code, table) = served.ask("GET", "", "").await;
        assert_eq!((code, &table), (200, &served.lab.status().await));
        assert!(table.ends_with("answers after 800ms\n"), "{table}");
        let (code, told) = served.ask("POST", "", "kill nobody").await;
        assert_eq!(code, 400);
        assert!(told.contains("no endpoint, cloud or region is called \"nobody\""), "{told}");
    }

    #[tokio::test]
    async fn web_pages_and_long_bodies_are_refused() {
        let served = serve().await;
        let (code, _) = served.ask("POST", "Origin: https://www.example\r\n", "kill all").await;
        assert_eq!(code, 403);
        let (code, _) = served.ask("POST", "", &"a".repeat(LONGEST_COMMAND + 1)).await;
        assert_eq!(code, 413);
        assert!(served.lab.status().await.ends_with("  answers\n"));
    }

    #[tokio::test]
    async fn quit_by_http_ends_the_console() {
        let served = serve().await;
        let (sender, lines) = tokio::sync::mpsc::channel(1);
        let (code, _) = served.ask("POST", "", "quit").await;
        assert_eq!(code, 200);
        super::super::run_console(&served.lab, lines, &mut Vec::new(), false).await;
        drop(sender);
    }
}
