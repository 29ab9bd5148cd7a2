//! The idle lane: work that takes longer than a verdict may wait, on threads that run only while no
//! answer, probe or verdict wants the core (`SCHED_IDLE`). Such a thread gives way at once when a
//! worker wakes up; one that is merely nice would finish its slice, milliseconds, before it does.
//!
//! The price: with all cores busy the kernel leaves it three parts in a thousand. Whoever waits for
//! the outcome of an edit must not wait for hours, so [`run_soon`] begins the same work a second time
//! on a thread with a tenth of a core once the first one is seen to get next to none.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};
use std::thread;
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::warn;

/// How often a thread that is waited for is looked at: has it run?
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel's unit of processor time in `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// When a thread may run.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// While nobody else wants to.
    Idle,
    /// Nice 10: a tenth of a core that others want whole.
    Tenth,
}

/// Makes the calling thread an idle one. Where the system refuses, it goes on as it is.
pub(super) fn be_idle() {
    take(Turn::Idle);
}

fn take(turn: Turn) {
    static TOLD: Once = Once::new();
    let (priority, policy) = match turn {
        Turn::Idle => (ThreadPriority::Min, NormalThreadSchedulePolicy::Idle),
        // 22 of 99 on that crate's scale from nice 19 to -20.
        Turn::Tenth => {
            let nice_10 = 22_u8.try_into().expect("it is below 100");
            (ThreadPriority::Crossplatform(nice_10), NormalThreadSchedulePolicy::Other)
        }
    };
    let taken = set_thread_priority_and_policy(thread_native_id(), priority, ThreadSchedulePolicy::Normal(policy));
    if let Err(error) = taken {
        TOLD.call_once(|| warn!(?error, "loading and freeing run at normal priority and may slow answers down"));
    }
}

/// Runs `job` whenever the machine has time for it. An error is the panic's message.
pub(super) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    Thread::start(Turn::Idle, job)?.outcome.await.map_err(|_| GONE.to_owned())?
}

/// Runs work that somebody waits for on the idle lane. While the thread starves on a machine without
/// idle time, `job` is begun once more at nice 10, and what is done first counts.
///
/// # Errors
/// The message of its panic.
pub async fn run_soon<T: Send + 'static>(job: impl Fn() -> T + Clone + Send + 'static) -> Result<T, String> {
    run_with_patience(job, PATIENCE, Look::is_starved).await
}

async fn run_with_patience<T: Send + 'static>(
    job: impl Fn() -> T + Clone + Send + 'static,
    patience: Duration,
    is_starved: impl Fn(Option<Look>, Option<Look>, Duration) -> bool,
) -> Result<T, String> {
    let mut first = Thread::start(Turn::Idle, job.clone())?;
    let mut before = None;
    loop {
        tokio::select! {
            biased;
            outcome = &mut first.outcome => return outcome.map_err(|_| GONE.to_owned())?,
            () = sleep(patience) => {}
        }
        let now = first.look();
        if is_starved(before, now, patience) {
            break;
        }
        before = now;
    }
    warn!("all cores are busy: files are read on a thread that takes a tenth of one");
    let second = Thread::start(Turn::Tenth, job)?;
    let outcome = tokio::select! {
        outcome = first.outcome => outcome,
        outcome = second.outcome => outcome,
    };
    outcome.map_err(|_| GONE.to_owned())?
}

/// A thread sends its outcome whatever happens to its job.
const GONE: &str = "its thread is gone";

/// A thread that does one job.
struct Thread<T> {
    outcome: oneshot::Receiver<Result<T, String>>,
    /// The kernel's folder about it, once it has begun.
    folder: Arc<OnceLock<PathBuf>>,
}

impl<T: Send + 'static> Thread<T> {
    fn start(turn: Turn, job: impl FnOnce() -> T + Send + 'static) -> Result<Self, String> {
        let (sender, outcome) = oneshot::channel();
        let folder = Arc::new(OnceLock::new());
        let own = folder.clone();
        let work = move || {
            if let Ok(link) = fs::read_link("/proc/thread-self") {
                let _ = own.set(PathBuf::from("/proc").join(link)); // nobody else sets it
            }
            take(turn);
            let outcome = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| message(&*panic));
            // Where the other thread was faster, what this one made is dropped here.
            drop(sender.send(outcome));
        };
        let started = thread::Builder::new().name("idle".to_owned()).spawn(work);
        started.map_err(|error| format!("no thread can be started: {error}"))?;
        Ok(Self { outcome, folder })
    }

    fn look(&self) -> Option<Look> {
        Look::parse(&fs::read_to_string(self.folder.get()?.join("stat")).ok()?)
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

/// How a thread fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// It could run now; otherwise it waits for a disk.
    runnable: bool,
    /// Processor time that it has had.
    used: Duration,
}

impl Look {
    /// Reads `/proc/PID/task/TID/stat`: the name may hold anything, so fields count from its end.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (user, system): (u32, u32) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
        Some(Self { runnable: *fields.first()? == "R", used: TICK * (user + system) })
    }

    /// Has it had less than a hundredth of the time? A thread of nice 10 takes a tenth from the answers, in turns
    /// of up to a tick, 4 ms, each: with 5 in 100 it is better to wait (measured: p99 doubles). One of which
    /// nothing is known may not have begun.
    fn is_starved(before: Option<Self>, now: Option<Self>, between: Duration) -> bool {
        let Some(now) = now else { return true };
        let used = now.used - before.map_or(Duration::ZERO, |before| before.used);
        now.runnable && used < between / 100
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Scheduling policy and nice value of the calling thread, as the kernel tells them.
    fn policy_and_nice() -> (String, String) {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[38].to_owned(), fields[16].to_owned())
    }

    #[tokio::test]
    async fn work_runs_on_an_idle_thread_and_its_panic_is_told() {
        let (policy, _) = run(policy_and_nice).await.unwrap();
        assert_eq!(policy, "5", "SCHED_IDLE");
        assert_eq!(run(|| panic!("out of {}", "luck")).await, Err::<(), _>("out of luck".to_owned()));
        assert_eq!(run_soon(|| panic!("again")).await, Err::<(), _>("again".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_starves_is_begun_again_with_a_tenth_of_a_core() {
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let job = move || {
            let own = policy_and_nice();
            if own.0 == "5" {
                let _ = released.lock().unwrap().recv(); // until the test is over
            }
            own
        };
        let looks = AtomicUsize::new(0);
        // Neither patience nor a look ends it: only what the look shows.
        let starved = |_, _, _| looks.fetch_add(1, Ordering::SeqCst) == 2;
        let done = run_with_patience(job, Duration::from_secs(1), starved).await;
        assert_eq!(done, Ok(("0".to_owned(), "10".to_owned())));
        assert_eq!(looks.into_inner(), 3);
        drop(release);
    }

    #[test]
    fn a_look_tells_starving_from_working_and_from_waiting_for_a_disk() {
        let look = |state, used| {
            let text = format!("7 (a) b) {state} 1 1 1 0 -1 4 0 0 0 0 {used} 5 0 0 39 19 1 0");
            Some(Look::parse(&text).unwrap())
        };
        assert_eq!(look("R", 20), Some(Look { runnable: true, used: Duration::from_millis(250) }));
        let starved = |before, now| Look::is_starved(before, now, Duration::from_secs(10));
        assert!(starved(None, None), "it has not begun");
        assert!(starved(None, look("R", 4)));
        assert!(!starved(None, look("R", 5)));
        assert!(starved(look("R", 100), look("R", 109)));
        assert!(!starved(look("R", 600), look("D", 600)));
        assert!(Look::parse("").is_none() && Look::parse("7 (a) R 1").is_none());
        assert!(Look::parse(&fs::read_to_string("/proc/thread-self/stat").unwrap()).is_some());
    }
}
