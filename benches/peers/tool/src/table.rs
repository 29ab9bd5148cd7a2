//! Raw figures → tables.

use std::fmt::Write;

use crate::stats::{Ratio, cost, percentile, ratio};

/// An echo against another one must come to this at the least, or the machine is too busy.
const SELF_CHECK: f64 = 0.01;

/// One line of the raw file.
struct Row<'a> {
    kind: &'a str,
    mode: &'a str,
    set: &'a str,
    pair: &'a str,
    server: &'a str,
    lost: u64,
    odd: u64,
    answers: u64,
    values: Vec<f64>,
}

/// Tables as text, in the order of the file.
pub fn render(text: &str) -> Result<String, String> {
    let rows: Result<Vec<_>, _> =
        text.lines().enumerate().skip(1).map(|(index, line)| Row::parse(line).ok_or(index + 1)).collect();
    let rows = rows.map_err(|line| format!("line {line} of the raw figures cannot be read"))?;
    let mut out = String::new();
    let mut headings = Vec::new();
    for row in &rows {
        let heading = (row.kind, row.mode, row.set);
        if headings.contains(&heading) {
            continue;
        }
        headings.push(heading);
        let part: Vec<_> = rows.iter().filter(|row| (row.kind, row.mode, row.set) == heading).collect();
        match row.kind {
            "slices" => comparison(&mut out, &part),
            "rate" => rate(&mut out, &part),
            "memory" => memory(&mut out, &part),
            other => return Err(format!("`{other}` is no kind of raw figure")),
        }
    }
    Ok(out)
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [kind, mode, set, pair, server, answers, lost, odd, values] = *fields else { return None };
        let values: Result<Vec<f64>, _> = values.split(' ').map(str::parse).collect();
        let [answers, lost, odd] = [answers.parse().ok()?, lost.parse().ok()?, odd.parse().ok()?];
        Some(Self { kind, mode, set, pair, server, answers, lost, odd, values: values.ok()? })
    }
}

fn describe(set: &str) -> &str {
    match set {
        "geo" => "one steered name, random /24 client subnets",
        "names" => "100,000 steered names at random, random /24 client subnets",
        "static" => "1,000 static names at random",
        "mix" => "70 % steered, 20 % static, 5 % NXDOMAIN, 5 % apex SOA/NS, client subnets",
        other => other,
    }
}

fn comparison(out: &mut String, rows: &[&Row]) {
    let load = if rows[0].mode == "burst" { "Same-core bursts of 64" } else { "Across cores, 200 in flight" };
    let _ = writeln!(out, "\n{load}: {}\n", describe(rows[0].set));
    let head = ["µs/answer", "ratio", "95 % interval", "slices", "lost", "odd"];
    let _ = writeln!(
        out,
        "{:<32}{:>11}{:>9}{:>18}{:>9}{:>8}{:>8}",
        "server", head[0], head[1], head[2], head[3], head[4], head[5]
    );
    let mut echo_written = false;
    for pair in rows.chunk_by(|one, next| one.pair == next.pair) {
        let [base, other] = *pair else { continue };
        let is_echo = base.server == "echo";
        if is_echo && !echo_written {
            echo_written = true;
            let (us, slices) = (cost(&base.values) / 1e3, base.values.len());
            let _ =
                writeln!(out, "{:<32}{us:>11.3}{:>9}{:>18}{slices:>9}{:>8}{:>8}", "echo", 1, "", base.lost, base.odd);
        }
        let Ratio { value, low, high } = ratio(&base.values, &other.values);
        let name =
            if is_echo { format!("{} ÷ echo", other.server) } else { format!("{} ÷ {}", other.server, base.server) };
        let (us, interval, slices) = (cost(&other.values) / 1e3, format!("[{low:.4}, {high:.4}]"), other.values.len());
        let (lost, odd) = (other.lost, other.odd);
        let _ = writeln!(out, "{name:<32}{us:>11.3}{value:>9.4}{interval:>18}{slices:>9}{lost:>8}{odd:>8}");
    }
    let of = |name| rows.iter().find(|row| row.pair == "echo:echo-again" && row.server == name);
    if let (Some(echo), Some(again)) = (of("echo"), of("echo-again")) {
        let off = ratio(&echo.values, &again.values).value - 1.0;
        let verdict = if off.abs() <= SELF_CHECK { "good" } else { "BAD: this machine is too busy to measure on" };
        let _ = writeln!(out, "self-check, the echo against itself: off by {:+.2} %: {verdict}", off * 100.0);
    }
}

fn rate(out: &mut String, rows: &[&Row]) {
    let _ = writeln!(out, "\n{} queries/s: {}\n", rows[0].mode, describe(rows[0].set));
    let head = ["µs/answer", "p50 µs", "p99 µs", "p99.9 µs", "most µs", "answers", "lost", "odd"];
    let why = ["waited", "held up", "stolen"];
    let words = |words: &[&str]| words.iter().map(|word| format!("{word:>11}")).collect::<String>();
    let _ = writeln!(out, "{:<18}{}{}", "server", words(&head), words(&why));
    for row in rows {
        // Figures of before they were taken: without the longest, and why.
        let value = |index: usize| row.values.get(index).map_or(String::from("–"), |value| format!("{value:.0}"));
        let _ = write!(out, "{:<18}{:>11.2}", row.server, row.values[0] / 1e3);
        let _ = write!(out, "{}", [1, 2, 3, 4].map(|index| format!("{:>11}", value(index))).concat());
        let _ = write!(out, "{:>11}{:>11}{:>11}", row.answers, row.lost, row.odd);
        let _ = writeln!(out, "{}", [5, 6, 7].map(|index| format!("{:>11}", value(index))).concat());
    }
    let _ = writeln!(
        out,
        "in ms: the server's threads were ready and did not run, the client did not run, stolen from all cores"
    );
}

fn memory(out: &mut String, rows: &[&Row]) {
    let _ = writeln!(out, "\nResident memory\n");
    for row in rows {
        let _ = writeln!(out, "{:<18}{:>9.1} MiB", row.server, percentile(&row.values, 0.0) / 1024.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "kind,mode,set,pair,server,answers,lost,odd,values
slices,burst,geo,echo:echo-again,echo,900,0,0,3000.0 3000.0 3000.0 3000.0
slices,burst,geo,echo:echo-again,echo-again,900,0,0,3003.0 3003.0 3003.0 3003.0
slices,burst,geo,echo:meridian,echo,900,0,0,3000.0 3000.0 3000.0 3000.0
slices,burst,geo,echo:meridian,meridian,900,2,0,3090.0 3090.0 3090.0 3090.0
rate,20000,geo,,meridian,80000,1,0,12000.0 30.0 80.0 200.0
rate,20000,geo,,gdnsd,80000,1,0,12000.0 30.0 80.0 200.0 450.0 1.0 77.0 90.0
memory,,,,meridian,0,0,0,20480
";

    #[test]
    fn ratios_losses_and_the_self_check_are_told() {
        let told = render(RAW).unwrap();
        assert!(told.contains("meridian ÷ echo") && told.contains("1.0300"), "{told}");
        assert!(told.contains("off by +0.10 %: good"), "{told}");
        let held_up = told.lines().find(|line| line.starts_with("gdnsd")).unwrap();
        assert!(held_up.split_whitespace().rev().take(3).eq(["90", "77", "1"]), "{told}");
        assert!(told.lines().any(|line| line.starts_with("meridian") && line.ends_with('–')), "{told}");
        assert!(told.contains("20.0 MiB") && told.contains("20000 queries/s"), "{told}");
    }

    #[test]
    fn a_damaged_line_is_named() {
        assert!(render(&format!("{RAW}rate,1\n")).unwrap_err().contains("line 9"));
    }
}
