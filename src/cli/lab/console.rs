//! The lab itself: carries out commands, and reads typed ones.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc};

use super::command::HELP;
use super::{Behaviour, Command, StandIn, StandIns, parse};

/// The longest typed line, in octets; what is longer counts as several.
const LONGEST_LINE: u64 = 1024;
/// Typed lines that wait to be carried out; then typing waits.
const MOST_WAITING: usize = 16;
/// How often a lab in the background looks whether it has come to the foreground.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const PROMPT: &str = "lab> ";

/// Stand-ins that obey commands.
#[derive(Debug)]
pub struct Lab {
    /// Who they are; what each does is told by `stand_ins`.
    roster: Vec<StandIn>,
    stand_ins: Mutex<StandIns>,
    quit: Notify,
}

impl Lab {
    /// Opens a door for every stand-in; all of them answer.
    ///
    /// # Errors
    /// As [`StandIns::start`].
    pub async fn start(wanted: Vec<StandIn>) -> io::Result<Self> {
        let stand_ins = StandIns::start(wanted).await?;
        let roster = stand_ins.iter().map(|(stand_in, _)| stand_in.clone()).collect();
        Ok(Self { roster, stand_ins: Mutex::new(stand_ins), quit: Notify::new() })
    }

    /// Who the stand-ins are, with the addresses that they listen on.
    #[must_use]
    pub fn roster(&self) -> &[StandIn] {
        &self.roster
    }

    /// Carries out one command and tells its effect, in whole lines.
    ///
    /// # Errors
    /// Why it was not, or not wholly, carried out, in whole lines.
    pub async fn obey(&self, line: &str) -> Result<String, String> {
        match parse(line, &self.roster).map_err(|error| error + "\n")? {
            Command::Behave(who, behaviour) => self.behave(&who, behaviour).await,
            Command::Status => Ok(self.status().await),
            Command::Help => Ok(HELP.to_owned()),
            Command::Quit => {
                self.quit.notify_one();
                Ok("the lab ends\n".to_owned())
            }
        }
    }

    /// A table of what each stand-in does.
    pub async fn status(&self) -> String {
        let stand_ins = self.stand_ins.lock().await;
        let rows = stand_ins.iter().map(|(StandIn { endpoint, cloud, region, address }, behaviour)| {
            [endpoint.to_string(), format!("{cloud}/{region}"), address.to_string(), behaviour.to_string()]
        });
        let heading = ["endpoint", "region", "probed at", "what it does"].map(str::to_owned);
        align(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
    }

    /// Waits until `quit` has been commanded.
    async fn until_quit(&self) {
        self.quit.notified().await;
    }

    async fn behave(&self, who: &[usize], behaviour: Behaviour) -> Result<String, String> {
        let mut stand_ins = self.stand_ins.lock().await;
        let mut rows = Vec::with_capacity(who.len());
        let mut failed = false;
        for &index in who {
            let effect = match stand_ins.behave(index, behaviour).await {
                Ok(before) if before == behaviour => ["still ".to_owned() + &behaviour.to_string(), String::new()],
                Ok(before) => [format!("now {behaviour}"), format!("(before: {before})")],
                Err(error) => {
                    failed = true;
                    [format!("still {}", Behaviour::Refuses), format!("({error})")]
                }
            };
            let [now, before] = effect;
            rows.push([self.roster[index].endpoint.to_string(), now, before]);
        }
        let told = align(&rows);
        if failed { Err(told) } else { Ok(told) }
    }
}

/// Columns as wide as their widest cell, two spaces between, none at the end of a line.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _infallible = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Carries out typed lines, telling their effects on `out`, until `quit` has been commanded here or
/// by HTTP. The end of the lines ends nothing: a lab in the background or under a test has none.
/// An `out` that is gone is not missed.
pub async fn run_console(lab: &Lab, mut lines: mpsc::Receiver<String>, out: &mut (impl Write + Send), prompt: bool) {
    let mut say = |text: &str| {
        let _reader_is_gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    let mut open = true;
    loop {
        if prompt && open {
            say(PROMPT);
        }
        tokio::select! {
            biased;
            () = lab.until_quit() => return,
            line = lines.recv(), if open => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => say(&lab.obey(&line).await.unwrap_or_else(|told| told)),
                None => open = false,
            },
        }
    }
}

/// The lines typed on standard input, and whether they come from a terminal. They are read by a
/// thread of their own and not by tokio's, which would keep the process alive until the next line.
#[must_use]
pub fn typed_lines() -> (mpsc::Receiver<String>, bool) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let terminal = io::stdin().is_terminal();
    std::thread::spawn(move || {
        // To read from the terminal in the background (`meridian lab &`) would stop the process.
        while terminal && in_background() {
            std::thread::sleep(LOOK_AGAIN);
        }
        read_lines(io::stdin().lock(), &sender);
    });
    (receiver, terminal)
}

fn read_lines(mut input: impl BufRead, sender: &mpsc::Sender<String>) {
    let mut line = Vec::new();
    while matches!(input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

/// Is another process group in the foreground of our terminal? Where that cannot be told, no.
fn in_background() -> bool {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(foreground)
        .is_some_and(|foreground| !foreground)
}

/// Of a `/proc/PID/stat` (proc_pid_stat(5)): is the process group (field 5) that of the terminal's
/// foreground (field 8)? The name in field 2 may hold anything, so fields count from its last bracket.
fn foreground(stat: &str) -> Option<bool> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(2);
    Some(fields.next()? == fields.nth(2)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cloud;

    async fn lab() -> Lab {
        let stand_in = |name: &str, cloud: &str, region: &str| StandIn {
            endpoint: name.into(),
            cloud: Cloud::new(cloud),
            region: region.into(),
            address: "127.0.0.1:0".parse().unwrap(),
        };
        let wanted =
            vec![stand_in("aws-virginia", "aws", "us-east-1"), stand_in("gcp-tokyo", "gcp", "asia-northeast1")];
        Lab::start(wanted).await.unwrap()
    }

    #[tokio::test]
    async fn each_effect_is_told() {
        let lab = lab().await;
        let kill = lab.obey("kill gcp").await.unwrap();
        assert_eq!(kill, "gcp-tokyo  now refuses connections  (before: answers)\n");
        let kill = lab.obey("kill all").await.unwrap();
        assert_eq!(
            kill,
            "aws-virginia  now refuses connections    (before: answers)\n\
             gcp-tokyo     still refuses connections\n"
        );
        let heal = lab.obey("heal aws").await.unwrap();
        assert_eq!(heal, "aws-virginia  now answers  (before: refuses connections)\n");
        let status = lab.status().await;
        let lines: Vec<Vec<&str>> = status
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let address = |index: usize| lab.roster()[index].address.to_string();
        assert_eq!(
            lines,
            [
                vec!["endpoint", "region", "probed at", "what it does"],
                vec!["aws-virginia", "aws/us-east-1", &address(0), "answers"],
                vec!["gcp-tokyo", "gcp/asia-northeast1", &address(1), "refuses connections"],
            ]
        );
        assert_eq!(lab.obey("status").await.unwrap(), status);
        assert!(lab.obey("help").await.unwrap().contains("blackhole WHO"));
        assert!(lab.obey("kil all").await.unwrap_err().contains("did you mean kill?"));
    }

    #[tokio::test]
    async fn a_door_that_cannot_be_opened_is_told() {
        let lab = lab().await;
        lab.obey("kill all").await.unwrap();
        let _squatter = std::net::TcpListener::bind(lab.roster()[1].address).unwrap();
        let told = lab.obey("heal all").await.unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("aws-virginia  now answers"), "{told}");
        assert!(lines[1].starts_with("gcp-tokyo     still refuses connections  (cannot listen on"), "{told}");
    }

    #[tokio::test]
    async fn the_console_obeys_until_quit() {
        let lab = lab().await;
        let (sender, lines) = mpsc::channel(8);
        for line in ["kill gcp\n", "\n", "nonsense\n", "quit\n"] {
            sender.send(line.to_owned()).await.unwrap();
        }
        let mut out = Vec::new();
        run_console(&lab, lines, &mut out, true).await;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "lab> gcp-tokyo  now refuses connections  (before: answers)\n\
             lab> lab> no command is called \"nonsense\"; `help` lists them\n\
             lab> the lab ends\nlab> "
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_input_ends_nothing() {
        let lab = lab().await;
        let (sender, lines) = mpsc::channel(1);
        drop(sender);
        let mut out = Vec::new();
        let mut console = Box::pin(run_console(&lab, lines, &mut out, true));
        assert!(tokio::time::timeout(Duration::from_secs(3600), &mut console).await.is_err());
        lab.obey("quit").await.unwrap();
        console.await;
        assert_eq!(out, PROMPT.as_bytes());
    }

    #[test]
    fn lines_are_bounded_and_need_not_be_text() {
        let long = LONGEST_LINE as usize;
        let input = [b"kill all\r\n\xff\n".as_slice(), &vec![b'a'; long + 5]].concat();
        let (sender, mut lines) = mpsc::channel(8);
        read_lines(input.as_slice(), &sender);
        drop(sender);
        let read: Vec<String> = std::iter::from_fn(|| lines.blocking_recv()).collect();
        assert_eq!(read, ["kill all\r\n", "\u{fffd}\n", &"a".repeat(long), "aaaaa"]);
    }

    #[test]
    fn foreground_is_read_past_odd_names() {
        assert_eq!(foreground("7 (a) b (c) S 1 7 7 34816 7 4194560 1"), Some(true));
        assert_eq!(foreground("7 (meridian) S 1 7 6 34816 6 4194560 1"), Some(false));
        assert_eq!(foreground("7 (meridian) S 1 7"), None);
        assert_eq!(foreground(""), None);
    }
}
