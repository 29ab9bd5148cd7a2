//! The end of `meridian scripts`: what starts programs, and kills them.

use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answer, Ended, READY, Request, line};
use crate::probe::attempt::bounded;

/// Octets of a program's output that are kept. The rest is read, so that it goes on, and forgotten.
const MAX_OUTPUT: usize = 4096;
/// When a program has ended and all in its group are killed, what they have said is there. Who left the group may hold the
/// pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts what it is asked to, until nobody asks any more. What runs then is killed.
///
/// # Errors
/// Who asks is gone in another way, or makes no sense.
pub async fn serve(socket: Socket) -> io::Result<()> {
    // The end of who asks ends it, and no signal that is meant for that.
    let _held = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    socket.set_nonblocking(true)?;
    let (read, mut write) = UnixStream::from_std(socket)?.into_split();
    write.write_all(&[READY]).await?;
    let mut lines = BufReader::new(read).lines();
    let mut runs = JoinSet::new();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let request: Request = serde_json::from_str(&line)?;
                runs.spawn(async move { Answer { id: request.id, ended: run(&request).await } });
            }
            Some(answer) = runs.join_next() => write.write_all(&line(&answer?)?).await?,
        }
    }
    runs.shutdown().await;
    Ok(())
}

/// All that a program has started, unless it left the group: killed when this is dropped.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGKILL); // nobody may be left
    }
}

async fn run(request: &Request) -> Ended {
    let (mut child, group) = match start(request) {
        Ok(started) => started,
        Err(error) => return Ended::NotStarted { code: error.raw_os_error(), why: error.to_string() },
    };
    let (mut output, mut kept) = (child.stdout.take(), Vec::new());
    let ended = {
        let listened = async {
            listen(&mut output, &mut kept).await;
            std::future::pending::<()>().await; // it may have closed its output and go on
        };
        let ended = async {
            tokio::select! {
                ended = child.wait() => Some(ended),
                () = listened => None,
            }
        };
        timeout(Duration::from_millis(request.limit_ms), ended).await
    };
    drop(group);
    let Ok(Some(ended)) = ended else { return Ended::Late };
    let _ = timeout(LAST_WORDS, listen(&mut output, &mut kept)).await;
    match ended {
        Ok(status) => said(status, &kept),
        Err(error) => Ended::NotStarted { code: None, why: error.to_string() },
    }
}

fn start(request: &Request) -> io::Result<(Child, Option<Group>)> {
    let (program, arguments) = request.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(&request.environment).process_group(0).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // It leads its group, whose number is its own.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(|id| Group(Pid::from_raw(id)));
    Ok((child, group))
}

/// Reads to the end, and keeps the beginning.
async fn listen(output: &mut Option<ChildStdout>, kept: &mut Vec<u8>) {
    let Some(output) = output else { return };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length.min(MAX_OUTPUT - kept.len())]);
    }
}

fn said(status: ExitStatus, output: &[u8]) -> Ended {
    let text = String::from_utf8_lossy(output);
    let said = bounded(text.lines().next().unwrap_or_default().trim());
    match status.code() {
        Some(code) => Ended::Exit { code, said },
        None => Ended::Signal { number: status.signal().unwrap_or_default(), said },
    }
}
