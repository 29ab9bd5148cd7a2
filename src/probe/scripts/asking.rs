//! The server's end: who asks for programs to be started.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::error;

use super::{AT_ONCE, Answer, Ended, READY, Request, WAITING, line};
use crate::config::Process;

/// `meridian scripts` is ready by then, or never.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Where the server has no `PATH` itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The process that starts scripts, not asked yet. It ends when this, or what was made of it, is dropped.
#[derive(Debug)]
pub struct Spawner {
    socket: Socket,
    process: Child,
}

impl Spawner {
    /// Starts `program`, which is this one, with `scripts`. Waits until it has become the user that it is to be.
    ///
    /// # Errors
    /// It cannot be started, or does not get ready; it says why on standard error.
    pub fn start(program: &Path, wanted: &Process) -> io::Result<Self> {
        let (mut socket, theirs) = Socket::pair()?;
        let mut command = Command::new(program);
        command.args(["scripts", "--sandbox", wanted.sandbox.as_str()]);
        let names = [("--user", &wanted.user), ("--group", &wanted.group)];
        command.args(names.into_iter().filter_map(|(option, name)| Some(format!("{option}={}", name.as_ref()?))));
        let path = std::env::var_os("PATH").unwrap_or(OsString::from(PATH));
        command.env_clear().env("PATH", path).current_dir("/");
        // In a group of its own: what a terminal sends to the server is for that alone.
        command.process_group(0).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let process = command.spawn()?;
        drop(command); // and with it our copy of its end
        socket.set_read_timeout(Some(READY_WITHIN))?;
        let mut ready = [0];
        let not_ready = |why| io::Error::other(format!("the process that starts scripts did not get ready: {why}"));
        socket.read_exact(&mut ready).map_err(not_ready)?;
        if ready != [READY] {
            return Err(not_ready(io::ErrorKind::InvalidData.into()));
        }
        socket.set_read_timeout(None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, process })
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// The way to the process that starts scripts.
#[derive(Clone, Debug)]
pub struct Scripts {
    queue: mpsc::Sender<Asked>,
    turns: Arc<Semaphore>,
}

/// A program that runs, until it has ended, whoever has stopped waiting.
struct Run {
    answer: oneshot::Sender<Ended>,
    /// One of [`AT_ONCE`]; one of [`WAITING`] once it waits and there is room.
    turn: OwnedSemaphorePermit,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Works,
    /// It waits, and still has a turn of those that work.
    WantsRoom,
    HasRoom,
}

/// A program that is waited for.
#[derive(Debug)]
struct Asked {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    limit: Duration,
    answer: oneshot::Sender<Ended>,
    turn: OwnedSemaphorePermit,
}

/// Why nothing is known of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRun {
    /// The process that starts them is gone.
    Gone,
    /// Others had all turns.
    NoTurn,
}

impl From<Spawner> for Scripts {
    /// In a tokio runtime.
    fn from(spawner: Spawner) -> Self {
        let (sender, queue) = mpsc::channel(AT_ONCE);
        tokio::spawn(attend(spawner, queue));
        Self { queue: sender, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Scripts {
    /// Runs a program, once it is its turn; `limit` counts from now, and half of it may go by until then. One that `overlaps`
    /// another of its check does not wait.
    pub(super) async fn run(
        &self,
        command: &[String],
        environment: &BTreeMap<String, String>,
        limit: Duration,
        overlaps: bool,
    ) -> Result<Ended, NotRun> {
        let (start, patience) = (Instant::now(), if overlaps { Duration::ZERO } else { limit / 2 });
        let turn = timeout(patience, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| NotRun::NoTurn)?.map_err(|_| NotRun::Gone)?;
        let limit = limit.saturating_sub(start.elapsed());
        let (command, environment) = (command.to_vec(), environment.clone());
        let (answer, ended) = oneshot::channel();
        let asked = self.queue.send(Asked { command, environment, limit, answer, turn }).await;
        asked.map_err(|_| NotRun::Gone)?;
        ended.await.map_err(|_| NotRun::Gone)
    }
}

/// Until nobody asks any more, or the process is gone. Who waits then hears of it by its channel's end.
async fn attend(spawner: Spawner, queue: mpsc::Receiver<Asked>) {
    let Spawner { socket, mut process } = spawner;
    let ended = match UnixStream::from_std(socket) {
        Ok(socket) => pass_on(socket, queue).await,
        Err(error) => Err(error),
    };
    let Err(why) = ended else { return };
    // Its end of the socket is closed, so it ends.
    let status = tokio::task::spawn_blocking(move || process.wait()).await;
    let status = status.ok().and_then(Result::ok).map_or("unknown".to_owned(), |status| status.to_string());
    error!(%why, status, "the process that starts scripts is gone: script probes tell nothing until a restart");
}

/// # Errors
/// Why the process can be asked no more.
async fn pass_on(socket: UnixStream, mut queue: mpsc::Receiver<Asked>) -> io::Result<()> {
    let (read, mut write) = socket.into_split();
    let (mut lines, mut runs, mut id) = (BufReader::new(read).lines(), HashMap::<u64, Run>::new(), 0);
    let waiting = Arc::new(Semaphore::new(WAITING));
    loop {
        tokio::select! {
            asked = queue.recv() => {
                let Some(Asked { command, environment, limit, answer, turn }) = asked else { return Ok(()) };
                id += 1;
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                write.write_all(&line(&Request { id, command, environment, limit_ms })?).await?;
                runs.insert(id, Run { answer, turn, stage: Stage::Works });
            }
            line = lines.next_line() => {
                let line = line?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let Answer { id, ended } = serde_json::from_str(&line)?;
                match ended {
                    Some(ended) => if let Some(run) = runs.remove(&id) {
                        let _ = run.answer.send(ended); // its probe may have run out of time
                    },
                    None => if let Some(run) = runs.get_mut(&id) {
                        run.stage = Stage::WantsRoom;
                    },
                }
                for run in runs.values_mut().filter(|run| run.stage == Stage::WantsRoom) {
                    let Ok(turn) = Arc::clone(&waiting).try_acquire_owned() else { break };
                    (run.turn, run.stage) = (turn, Stage::HasRoom);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::Lines;
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::task::{AbortHandle, JoinHandle, JoinSet};

    use super::*;

    /// Answers of this end; the other end of what it asks, and of what it is answered.
    struct Bench {
        scripts: Scripts,
        passing: JoinHandle<io::Result<()>>,
        asked: Lines<BufReader<OwnedReadHalf>>,
        write: OwnedWriteHalf,
    }

    impl Bench {
        fn new() -> Self {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (sender, queue) = mpsc::channel(AT_ONCE);
            let passing = tokio::spawn(pass_on(ours, queue));
            let scripts = Scripts { queue: sender, turns: Arc::new(Semaphore::new(AT_ONCE)) };
            let (read, write) = theirs.into_split();
            Self { scripts, passing, asked: BufReader::new(read).lines(), write }
        }

        fn ask(&self, runs: &mut JoinSet<Result<Ended, NotRun>>, overlaps: bool) -> AbortHandle {
            let (scripts, limit) = (self.scripts.clone(), Duration::from_secs(4));
            let command = ["/x".to_owned()];
            runs.spawn(async move { scripts.run(&command, &BTreeMap::new(), limit, overlaps).await })
        }

        async fn answer(&mut self, id: u64, ended: Option<Ended>) {
            self.write.write_all(&line(&Answer { id, ended }).unwrap()).await.unwrap();
        }

        async fn next(&mut self) -> Request {
            serde_json::from_str(&self.asked.next_line().await.unwrap().unwrap()).unwrap()
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_gives_no_turn_back() {
        let (mut bench, mut runs) = (Bench::new(), JoinSet::new());
        let first: Vec<_> = (0..AT_ONCE).map(|_| bench.ask(&mut runs, false)).collect();
        for id in 1..=AT_ONCE as u64 {
            let request = bench.next().await;
            assert_eq!((request.id, &*request.command), (id, &["/x".to_owned()][..]));
            assert!((1..=4000).contains(&request.limit_ms), "what was waited for a turn is no more there");
        }
        first.iter().for_each(AbortHandle::abort);
        let last = bench.ask(&mut runs, false);
        for _ in 0..AT_ONCE {
            assert!(runs.join_next().await.unwrap().unwrap_err().is_cancelled());
        }
        assert_eq!((bench.scripts.turns.available_permits(), last.is_finished()), (0, false));
        bench.answer(7, Some(Ended::Late)).await;
        assert_eq!(bench.next().await.id, AT_ONCE as u64 + 1, "it is its turn");
        let Bench { asked, write, passing, .. } = bench;
        drop((asked, write));
        assert!(passing.await.unwrap().is_err());
        let mut ended = Vec::new();
        while let Some(run) = runs.join_next().await {
            ended.extend(run.ok());
        }
        assert_eq!(ended, [Err(NotRun::Gone)], "the process is gone");
    }

    #[tokio::test]
    async fn those_that_wait_make_room_and_those_that_overlap_do_not_wait_for_it() {
        let (mut bench, mut runs) = (Bench::new(), JoinSet::new());
        for _ in 0..AT_ONCE + WAITING + 1 {
            bench.ask(&mut runs, false);
        }
        for id in 1..=WAITING as u64 {
            bench.next().await;
            bench.answer(id, None).await;
        }
        for _ in 0..AT_ONCE {
            bench.next().await;
        }
        bench.ask(&mut runs, true);
        assert_eq!(runs.join_next().await.unwrap().unwrap(), Err(NotRun::NoTurn));
        let beyond = WAITING as u64 + 1;
        bench.answer(beyond, None).await; // there is no room for it, until one of those that wait ends
        bench.answer(beyond + 1, None).await;
        bench.answer(1, Some(Ended::Late)).await;
        assert_eq!(runs.join_next().await.unwrap().unwrap(), Ok(Ended::Late));
        assert_eq!(bench.next().await.id, beyond + AT_ONCE as u64);
        assert_eq!(bench.scripts.turns.available_permits(), 0);
    }
}
