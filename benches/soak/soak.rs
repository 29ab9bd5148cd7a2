//! Nothing lost, nothing wrong, and how late, at half of the echo server's capacity:
//!
//! ```text
//! echo  |  meridian: a hundred swaps a second, reloads  |  echo  |  echo: the swaps, no reload
//! half  |  the time, and until the last reload is there |  half  |  half
//! ```
//! Meridian is asked without a pause, and all swaps and reloads begin and end under that load. The
//! yardstick is the echo server before and behind it, while nothing else goes on. What the echo does
//! while the same swaps take their processor time tells how much of the difference is the machine's:
//! the client has a core of its own, and on a machine with two all the rest shares the other one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use meridian::cli::serve::Running;

use crate::client::Target;
use crate::echo::Echo;
use crate::kernel::{Cores, drops, keep_to, machine_and_others};
use crate::reply::{TYPES, is_good, only_generation, query};
use crate::swaps::{Generations, Reloader, Swapper};
use crate::world::{Folder, NAME};

/// How often the client looks whether it is over.
const SLICE: Duration = Duration::from_millis(100);
/// A client that sends less of its rate is said to have fallen behind.
const ENOUGH: f64 = 0.95;

/// Asks each server for so long; was nothing lost, nothing wrong, and every reload published?
pub(crate) fn run(each: Duration, smoke: bool) -> bool {
    keep_to(Cores::Servers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = Arc::new(Folder::of_soak());
    let running = runtime.block_on(Running::start(folder.options())).unwrap();
    let (shared, server) = (running.shared(), running.addresses()[0]);
    let echo = Echo::start();
    let generations = Generations::new(each * 2);
    let (reloaded, reloads_come) = channel();
    let reloads = if smoke { 2 } else { 20 };
    let reloader = Reloader::new(folder, shared.clone(), reloaded, reloads);
    let mut swapper = Swapper::new(shared, generations.clone(), reloads_come);
    swapper.swap();
    let judge =
        |kind: usize, query: &[u8], reply: &[u8], sent: Instant| match only_generation(query, reply, TYPES[kind].1) {
            Some(shown) => generations.complaint(shown, sent),
            None => Some(format!("a mixed or strange answer: {reply:02x?}")),
        };
    let queries = || TYPES.map(|(rtype, _)| query(NAME, rtype)).into();
    let mut meridian = Target::new(server, queries(), &judge);
    let mut alone = Target::new(echo.address, queries(), &echoed);
    let mut swapped = Target::new(echo.address, queries(), &echoed);

    keep_to(Cores::Client);
    // A smoke run says nothing of what the machine can bear.
    let rate = half_of_echo(&echo, if smoke { 1 } else { 5 }) / if smoke { 4.0 } else { 1.0 };
    let before = machine_and_others();
    alone.ask(rate, each / 2);
    alone.finish();
    let reloading = runtime.spawn(reloader.run(each));
    // Nor of how long a reload takes.
    let plan = Plan { rate, length: each, limit: each * if smoke { 30 } else { 2 }, reloads };
    under_swaps(&mut meridian, &mut swapper, plan);
    reloading.abort(); // one that has not come by now
    alone.ask(rate, each / 2);
    alone.finish();
    let dropped = [drops(server), drops(echo.address)];
    let all_reloaded = say_reloads(&swapper, &plan, meridian.asked_for);
    under_swaps(&mut swapped, &mut swapper, Plan { length: each / 2, reloads: 0, ..plan });
    let dropped = [dropped[0], dropped[1], drops(echo.address) - dropped[1]];
    let after = machine_and_others();
    let others = after[1].saturating_sub(before[1]) as f64 / (after[0] - before[0]) as f64;
    println!("other programs had {:.1} % of the machine's time", others * 100.0);
    runtime.block_on(async { drop(running) });
    report(meridian, [alone, swapped], dropped, rate, smoke) & all_reloaded
}

/// A reply of the echo server is its query.
fn echoed(_: usize, query: &[u8], reply: &[u8], _: Instant) -> Option<String> {
    (query != reply).then(|| "not what was sent".to_owned())
}

/// Half of an echo server's capacity on this machine, the best of some tries.
///
/// By the clock this is what one client can make of it, if it is the slower of the two; and such a
/// client lets the server's thread wait and wake up, which costs that processor time. So either may
/// understate what the server can do, and the larger one is halved.
pub(crate) fn half_of_echo(echo: &Echo, tries: u32) -> f64 {
    let mut target = Target::new(echo.address, TYPES.map(|(rtype, _)| query(NAME, rtype)).into(), &echoed);
    let (mut by_clock, mut by_processor, mut busy) = (0.0_f64, 0.0_f64, 0.0_f64);
    for _ in 0..tries {
        let (start, before) = (Instant::now(), echo.processor_time());
        let a_second = target.capacity(Duration::from_millis(500));
        let share = (echo.processor_time() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        by_clock = by_clock.max(a_second);
        by_processor = by_processor.max(a_second / share);
        busy = busy.max(share);
    }
    target.finish();
    println!(
        "echo's capacity: {by_processor:.0} replies a second of its processor time, {by_clock:.0} by the clock, where it \
         ran {:.0} % of the time (below 100 the client is the limit)",
        busy * 100.0
    );
    by_processor.max(by_clock) / 2.0
}

/// How a server is asked while snapshots are swapped.
#[derive(Clone, Copy)]
struct Plan {
    rate: f64,
    length: Duration,
    /// No longer than this, even if reloads are missing.
    limit: Duration,
    reloads: u32,
}

/// Asks as planned, and on until the reloads are published. No swap begins before or ends behind it.
fn under_swaps(target: &mut Target<'_>, swapper: &mut Swapper, plan: Plan) {
    let (stop, ready, published) = (AtomicBool::new(false), Barrier::new(2), swapper.reloads.clone());
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            keep_to(Cores::Servers);
            ready.wait();
            swapper.run(&stop)
        });
        ready.wait();
        let start = Instant::now();
        while !swapping.is_finished() {
            target.ask(plan.rate, SLICE);
            let done = start.elapsed() >= plan.length && published.lock().unwrap().len() >= plan.reloads as usize;
            stop.store(done || start.elapsed() >= plan.limit, Ordering::Relaxed);
        }
        let (swaps, a_second, late) = swapping.join().unwrap();
        println!("{swaps} swaps in {:.1?}, {a_second:.1} a second, the latest {late:.1?} late", start.elapsed());
    });
    target.finish();
}

/// Tells of the reloads; are they all there?
fn say_reloads(swapper: &Swapper, plan: &Plan, asked_for: Duration) -> bool {
    let mut took = swapper.reloads.lock().unwrap().clone();
    took.sort_unstable();
    let [median, longest] = [took.get(took.len() / 2), took.last()].map(|one| one.copied().unwrap_or_default());
    println!(
        "reloads {} of {}, begun to published: median {median:.1?}, longest {longest:.1?}",
        took.len(),
        plan.reloads
    );
    let over = asked_for.saturating_sub(plan.length + SLICE * 2);
    if !over.is_zero() {
        println!("the reloads took longer: meridian was asked {over:.1?} more than planned");
    }
    took.len() == plan.reloads as usize
}

/// Prints the table; is all as it should be? A smoke run forgives what the kernel dropped on a busy
/// machine.
fn report(meridian: Target<'_>, echo: [Target<'_>; 2], dropped: [u64; 3], rate: f64, smoke: bool) -> bool {
    println!("asked at {rate:.0} queries/s; µs");
    println!(
        "{:12}{:>10}{:>10}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}",
        "", "asked", "a second", "lost", "drops", "wrong", "p50", "p99", "p99.9"
    );
    let good =
        meridian.latencies.count() > 0 && meridian.lost <= if smoke { dropped[0] } else { 0 } && meridian.wrong == 0;
    let tail = row("meridian", meridian, dropped[0], rate);
    let [alone, swapped] = echo;
    let tails = [row("echo", alone, dropped[1], rate), row("echo, swaps", swapped, dropped[2], rate)];
    println!("p99.9 of meridian ÷ echo: {:.2} (goal 1.3)", tail / tails[0]);
    println!("p99.9 of meridian ÷ echo with the same swaps, without reloads: {:.2}", tail / tails[1]);
    println!("{}", if good { "nothing lost, nothing wrong" } else { "LOST OR WRONG" });
    good
}

/// One server's row; its p99.9.
fn row(name: &str, mut target: Target<'_>, drops: u64, rate: f64) -> f64 {
    let [p50, p99, p999] = target.latencies.quantiles([0.5, 0.99, 0.999]);
    let Target { sent, lost, wrong, asked_for, .. } = target;
    let a_second = sent as f64 / asked_for.as_secs_f64();
    println!("{name:12}{sent:>10}{a_second:>10.0}{lost:>8}{drops:>8}{wrong:>8}{p50:>9.1}{p99:>9.1}{p999:>9.1}");
    target.complaints.iter().for_each(|complaint| println!("  wrong: {complaint}"));
    if a_second < rate * ENOUGH {
        println!("  the client fell behind: {:.1} % of its rate", a_second / rate * 100.0);
    }
    p999
}

/// Is a reply without an error.
pub(crate) fn answered(_: usize, query: &[u8], reply: &[u8], _: Instant) -> Option<String> {
    (!is_good(query, reply)).then(|| "no answer".to_owned())
}
