#![allow(missing_docs, dead_code)]
include!("../benches/table_common.rs");
fn cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}
fn main() {
    let plans: usize = std::env::args().nth(1).map_or(1000, |n| n.parse().unwrap());
    let t = cpu();
    let parts = parts(plans);
    println!("load {:.1} ms", cpu() - t);
    let before = resident();
    let t = cpu();
    let s = compile(&parts);
    println!("compile {:.1} ms, {:.1} MB", cpu() - t, (resident() - before) as f64 / 1e6);
    let t = cpu();
    let s2 = Snapshot::compile(parts.clone(), parts.config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Up)).collect(), &mut Counters::default(), Some(meridian::table::Before{snapshot:&s, count:&|_|0})).unwrap();
    println!("reload {:.1} ms", cpu() - t);
    drop(s2);
    let endpoints = &parts.config.endpoints;
    let run = |name: &str, n: usize, f: &dyn Fn(usize) -> bool| {
        let mut best = f64::MAX; let mut sum = 0.0;
        for _ in 0..n {
            let ch: Vec<_> = (0..endpoints.len()).filter(|&i| f(i)).map(|i| (EndpointId::at(i), Standing::all(&endpoints[i], State::Down))).collect();
            let t = cpu();
            let x = s.with_standings(ch);
            best = best.min(cpu() - t); sum += cpu() - t;
            drop(x);
        }
        println!("{name} {best:.3} ms, mean {:.4}", sum / n as f64);
    };
    run("one", 1000, &|i| i == 3);
    run("cloud", 30, &|i| &*endpoints[i].site.cloud.as_str() == "azure");
    let mut orders = 0; let mut m = 0;
    for e in s.services.iter() { let p = s.plan(e); let mx = (0..parts.geo.locations().len()).map(|l| p.order(meridian::model::Family::V4, meridian::model::LocationId::at(l)).index()).max().unwrap()+1; orders += mx; m = m.max(mx); }
    println!("orders a plan {} max {m}, locations {}", orders / s.services.len(), parts.geo.locations().len());
}
