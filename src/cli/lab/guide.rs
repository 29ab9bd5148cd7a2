//! What a newcomer can try, printed when the lab is up.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;

/// Clients to ask as, with where the shipped database says that they are.
const CLIENTS: [(&str, &str); 5] = [
    ("Sydney", "103.86.96.0/24"),
    ("the Netherlands", "185.107.56.0/24"),
    ("London", "81.2.69.0/24"),
    ("Seattle", "128.95.0.0/24"),
    ("Virginia", "128.143.0.0/24"),
];

/// What the text speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Guide<'a> {
    /// Where the server answers DNS.
    pub dns: SocketAddr,
    /// Where it answers HTTP, if it does.
    pub admin: Option<SocketAddr>,
    /// Where the lab takes commands by HTTP.
    pub lab: SocketAddr,
    /// The steered name to ask for.
    pub service: &'a str,
    /// An endpoint to kill.
    pub endpoint: &'a str,
    /// How this program is called.
    pub program: &'a str,
}

impl Guide<'_> {
    /// The text, in whole lines; bold and dim by ANSI sequences where `colour` is set.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let Self { dns, admin, lab, service, endpoint, program } = self;
        let dig = format!("dig @{} -p {} {service} +short", dns.ip(), dns.port());
        let mut asking: Vec<Row> =
            CLIENTS.iter().map(|(place, prefix)| (format!("{dig} +subnet={prefix}"), *place)).collect();
        let live = admin.map_or(String::new(), |admin| format!(" --live=http://{admin}"));
        asking.push((format!("{program} explain --client 103.86.96.1 {service}{live}"), "why that one"));
        let breaking = [
            (format!("kill {endpoint}"), "then ask again: the next one answers"),
            ("heal all".to_owned(), "it comes back, by steps: `status --watch` shows them"),
            ("help".to_owned(), "delays, errors, resets, black holes; by endpoint, region or cloud"),
        ];
        let mut looking = vec![
            (format!("curl http://{lab}/lab"), "what each stand-in does"),
            (format!("curl --data 'kill {endpoint}' http://{lab}/lab"), "break it from a script"),
        ];
        looking.extend(admin.map(|admin| (format!("curl http://{admin}/status"), "what the server's probes see")));
        let watch = admin.map(|admin| format!("{program} status --watch --server http://{admin}"));
        looking.extend(watch.map(|watch| (watch, "the same in words, each second")));
        let mut text = String::new();
        section(&mut text, "In another terminal, ask as a client in", &asking, colour);
        section(&mut text, "Here, break something", &breaking, colour);
        section(&mut text, "See what goes on", &looking, colour);
        text.push('\n');
        text
    }
}

/// What to type, and what it shows.
type Row = (String, &'static str);

fn section(text: &mut String, heading: &str, rows: &[Row], colour: bool) {
    let (bold, dim, off) = if colour { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let width = rows.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let _infallible = writeln!(text, "\n{bold}{heading}{off}");
    for (command, note) in rows {
        let _infallible = writeln!(text, "  {command:width$}  {dim}# {note}{off}");
    }
}

/// Does standard output want colour: is it a terminal, and `NO_COLOR` not set?
#[must_use]
pub fn colour_wanted() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: Guide<'static> = Guide {
        dns: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5300),
        admin: Some(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8053)),
        lab: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8054),
        service: "www.shop.example",
        endpoint: "gcp-sydney",
        program: "meridian",
    };

    #[test]
    fn plain() {
        insta::assert_snapshot!(GUIDE.text(false), @r#"

        In another terminal, ask as a client in
          dig @127.0.0.1 -p 5300 www.shop.example +short +subnet=103.86.96.0/24                # Sydney
          dig @127.0.0.1 -p 5300 www.shop.example +short +subnet=185.107.56.0/24               # the Netherlands
          dig @127.0.0.1 -p 5300 www.shop.example +short +subnet=81.2.69.0/24                  # London
          dig @127.0.0.1 -p 5300 www.shop.example +short +subnet=128.95.0.0/24                 # Seattle
          dig @127.0.0.1 -p 5300 www.shop.example +short +subnet=128.143.0.0/24                # Virginia
          meridian explain --client 103.86.96.1 www.shop.example --live=http://127.0.0.1:8053  # why that one

        Here, break something
          kill gcp-sydney  # then ask again: the next one answers
          heal all         # it comes back, by steps: `status --watch` shows them
          help             # delays, errors, resets, black holes; by endpoint, region or cloud

        See what goes on
          curl http://127.0.0.1:8054/lab                           # what each stand-in does
          curl --data 'kill gcp-sydney' http://127.0.0.1:8054/lab  # break it from a script
          curl http://127.0.0.1:8053/status                        # what the server's probes see
          meridian status --watch --server http://127.0.0.1:8053   # the same in words, each second
        "#);
    }

    #[test]
    fn colour_only_adds_to_it() {
        let coloured = GUIDE.text(true);
        assert!(coloured.contains("\x1b[1mHere, break something"));
        let plain = ["\x1b[0m", "\x1b[1m", "\x1b[2m"].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, GUIDE.text(false));
    }

    #[test]
    fn without_an_admin_address_it_is_not_named() {
        assert!(!Guide { admin: None, ..GUIDE }.text(false).contains("/status"));
    }
}
