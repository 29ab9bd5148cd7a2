//! Nothing lost, nothing wrong, and how late: Meridian and an echo server, asked in turn at one rate
//! while snapshots are swapped and files reloaded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use meridian::cli::serve::Running;

use crate::client::{Judge, Target, ask};
use crate::echo::Echo;
use crate::kernel::drops;
use crate::reply::{TYPES, is_good, only_generation, query};
use crate::swaps::{Generations, Reloader, Swapper};
use crate::world::{Folder, NAME};

/// How long one server is asked before it is the other's turn.
const SLICE: Duration = Duration::from_millis(100);
/// Enough for any capacity that is measured.
const MOST: f64 = 240_000.0;

/// Asks each server for so long; was nothing lost and nothing wrong?
pub(crate) fn run(each: Duration, smoke: bool) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = Arc::new(Folder::of_soak());
    let running = runtime.block_on(Running::start(folder.options())).unwrap();
    let (shared, server) = (running.shared(), running.addresses()[0]);
    let echo = Echo::start();
    let (length, reloads) = (each * 2, if smoke { 2 } else { 20 });
    let generations = Generations::new(length);
    let mut swapper = Swapper::new(shared.clone(), generations.clone());
    swapper.swap();

    // A smoke run says nothing of what the machine can bear.
    let rate = half_of_echo(echo.address, if smoke { 1 } else { 5 }) / if smoke { 4.0 } else { 1.0 };
    let (stop, done) = (AtomicBool::new(false), Arc::new(AtomicU32::new(0)));
    let reloader = Reloader { folder, shared, reloaded: swapper.reloaded.clone(), done: done.clone() };
    let reloading = runtime.spawn(reloader.run(reloads, length));
    let judge =
        |kind: usize, query: &[u8], reply: &[u8], sent: Instant| match only_generation(query, reply, TYPES[kind].1) {
            Some(shown) => generations.complaint(shown, sent),
            None => Some(format!("a mixed or strange answer: {reply:02x?}")),
        };
    let asked = [(target(server, rate), &judge as &Judge<'_>), (target(echo.address, rate), &echoed)];
    let (targets, (a_second, late)) = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swapper.run(&stop));
        let targets = take_turns(asked, rate, length);
        stop.store(true, Ordering::Relaxed);
        (targets, swapping.join().unwrap())
    });
    let reloads_took = runtime.block_on(reloading).unwrap();
    let dropped = [drops(server), drops(echo.address)];
    runtime.block_on(async { drop(running) });

    let swaps = generations.made();
    println!("soak: each server asked for {each:?}, in turn, at {rate:.0} queries/s");
    println!("swaps {swaps}, {a_second:.1} a second, the latest {late:.1?} late");
    let longest = reloads_took.iter().max().copied().unwrap_or_default();
    println!("reloads {} of {reloads}, the longest {longest:.0?}", done.load(Ordering::SeqCst));
    report(targets, dropped, smoke) & (done.load(Ordering::SeqCst) == reloads)
}

fn target(server: SocketAddr, rate: f64) -> Target {
    Target::new(server, TYPES.map(|(rtype, _)| query(NAME, rtype)).into(), rate)
}

/// A reply of the echo server is its query.
fn echoed(_: usize, query: &[u8], reply: &[u8], _: Instant) -> Option<String> {
    (query != reply).then(|| "not what was sent".to_owned())
}

/// Half of what an echo server of this machine does, the best of some tries.
pub(crate) fn half_of_echo(echo: SocketAddr, tries: u32) -> f64 {
    let mut target = target(echo, MOST);
    let best = (0..tries).map(|_| target.capacity(Duration::from_millis(300), &echoed)).fold(0.0, f64::max);
    best.min(MOST) / 2.0
}

fn take_turns(mut asked: [(Target, &Judge<'_>); 2], rate: f64, length: Duration) -> [Target; 2] {
    let (start, slices) = (Instant::now(), (length.as_millis() / SLICE.as_millis()) as u32);
    for slice in 0..slices {
        // A B B A: what drifts, drifts for both.
        let one = usize::from([1, 2].contains(&(slice % 4)));
        ask(&mut asked, one, rate, start + SLICE * (slice + 1));
    }
    asked.map(|(mut target, judge)| {
        target.finish(judge);
        target
    })
}

/// Prints the table; is all as it should be? A smoke run forgives what the kernel dropped on a busy
/// machine.
fn report(targets: [Target; 2], dropped: [u64; 2], smoke: bool) -> bool {
    println!(
        "{:10}{:>10}{:>8}{:>8}{:>8}{:>10}{:>10}{:>10}  µs",
        "", "asked", "lost", "drops", "wrong", "p50", "p99", "p99.9"
    );
    let mut good = true;
    let mut tails = Vec::new();
    for ((name, mut target), drops) in ["meridian", "echo"].into_iter().zip(targets).zip(dropped) {
        let [p50, p99, p999] = target.latencies.quantiles([0.5, 0.99, 0.999]);
        let Target { sent, lost, wrong, .. } = target;
        println!("{name:10}{sent:>10}{lost:>8}{drops:>8}{wrong:>8}{p50:>10.1}{p99:>10.1}{p999:>10.1}");
        target.complaints.iter().for_each(|complaint| println!("  wrong: {complaint}"));
        tails.push(p999);
        if name == "meridian" {
            let forgiven = if smoke { drops } else { 0 };
            good = target.latencies.count() > 0 && lost <= forgiven && wrong == 0;
        }
    }
    println!("p99.9 of meridian ÷ echo: {:.2} (goal 1.3)", tails[0] / tails[1]);
    println!("{}", if good { "nothing lost, nothing wrong" } else { "LOST OR WRONG" });
    good
}

/// Is a reply without an error.
pub(crate) fn answered(_: usize, query: &[u8], reply: &[u8], _: Instant) -> Option<String> {
    (!is_good(query, reply)).then(|| "no answer".to_owned())
}
