//! What came out, as text and as a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::judge::{Case, Method, NOISE_MS, Score, quantile, sorted_regrets};
use crate::tables::{City, Measured};

/// Choices that are named.
const DEAREST: usize = 12;

/// Scores by who asks and by method.
pub(crate) fn table(title: &str, cases: &[Case], groups: &[(String, Vec<bool>)]) -> String {
    let mut text = format!(
        "{title}\n{:<8} {:<9} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>7}\n",
        "clients", "method", "cases", "best %", "mean", "median", "p95", "most", "over 10", "RTT"
    );
    for (group, members) in groups {
        for method in Method::ALL {
            let Some(score) = Score::of(cases, method, members) else { continue };
            let Score { cases, best, mean, median, p95, most, beyond_noise, round_trip } = score;
            let _ = writeln!(
                text,
                "{group:<8} {:<9} {cases:>8} {:>7.1} {mean:>7.2} {median:>7.1} {p95:>7.1} {most:>7.0} {beyond_noise:>9.2} \
                 {round_trip:>7.1}",
                method.label(),
                100.0 * best
            );
        }
    }
    text
}

/// The countries whose clients make most of a method's regret.
pub(crate) fn where_it_sits(cases: &[Case], cities: &[City], method: Method) -> String {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for case in cases {
        let (sum, count) = sums.entry(cities[case.city].country.as_str()).or_default();
        (*sum, *count) = (*sum + f64::from(case.regret(method)), *count + 1.0);
    }
    let all: f64 = sums.values().map(|(sum, _)| sum).sum();
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let country = |(country, (sum, count)): &(&str, (f64, f64))| {
        format!("{country} {:.0} % ({:.0} ms)", 100.0 * sum / all, sum / count)
    };
    let countries: Vec<String> = sums.iter().take(12).map(country).collect();
    let regrets = sorted_regrets(cases.iter(), method);
    let (mut far, mut far_sum) = (0.0, 0.0);
    for ms in regrets.iter().filter(|ms| **ms > 50.0) {
        (far, far_sum) = (far + 1.0, far_sum + f64::from(*ms));
    }
    format!(
        "where the regret of the {} sits (and its mean there): {}\nmore than 50 ms: {:.1} % of cases, {:.0} % of the regret\n",
        method.label(),
        countries.join(", "),
        100.0 * far / regrets.len().max(1) as f64,
        100.0 * far_sum / all
    )
}

/// The choices that make most of a method's regret: a city, the region chosen, and the best one.
pub(crate) fn dearest_choices(cases: &[Case], measured: &Measured, method: Method) -> String {
    let mut sums: BTreeMap<(usize, [usize; 2]), (f64, u32)> = BTreeMap::new();
    for case in cases {
        let choice = [case.hosts[method as usize], case.hosts[Method::Oracle as usize]];
        let (sum, count) = sums.entry((case.city, choice)).or_default();
        (*sum, *count) = (*sum + f64::from(case.regret(method)), *count + 1);
    }
    let all: f64 = sums.values().map(|(sum, _)| sum).sum();
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let region = |host: usize| format!("{}/{}", measured.hosts[host].cloud, measured.hosts[host].site.region);
    let mut text = format!(
        "the dearest choices of the {}: its share of the regret, and what it costs in the mean\n",
        method.label()
    );
    for ((city, [chosen, best]), (sum, count)) in sums.into_iter().take(DEAREST) {
        let City { name, country, .. } = &measured.cities[city];
        let (chosen, best, share, mean) = (region(chosen), region(best), 100.0 * sum / all, sum / f64::from(count));
        let _ = writeln!(text, "{share:>5.1} % {mean:>5.0} ms  {name}, {country}: {chosen}, where {best} is nearer");
    }
    text
}

/// What the columns are.
pub(crate) fn legend() -> String {
    format!(
        "ms; regret is the round trip to the chosen region less that to the best one; 'over 10': its mean where less than \
         {NOISE_MS} ms counts as none\n"
    )
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
/// The part of the cases that is drawn: at the lower half no method loses anything.
const FROM: f64 = 0.5;
const HIGHEST_MS: f64 = 120.0;

/// Regret by share of cases, a line for each method that has any.
pub(crate) fn picture(title: &str, cases: &[Case]) -> String {
    let x = |share: f64| MARGIN + (share - FROM) / (1.0 - FROM) * (WIDTH - 2.0 * MARGIN);
    let y = |ms: f64| HEIGHT - MARGIN - ms.min(HIGHEST_MS) / HIGHEST_MS * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">share of cases, %</text>\n\
         <text x=\"{MARGIN}\" y=\"44\" text-anchor=\"middle\">regret, ms</text>\n",
        WIDTH / 2.0,
        HEIGHT - 12.0
    );
    for ms in (0..=HIGHEST_MS as u32).step_by(20).map(f64::from) {
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{0:.1}\" text-anchor=\"end\" dy=\"4\">{ms}</text>",
            y(ms),
            WIDTH - MARGIN,
            MARGIN - 6.0
        );
    }
    for share in [50, 60, 70, 80, 90, 95, 100] {
        let (at, bottom) = (x(f64::from(share) / 100.0), HEIGHT - MARGIN + 16.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{share}</text>");
    }
    for (method, colour, line) in [(Method::Distance, "#c0392b", 70.0), (Method::Prior, "#2456a6", 88.0)] {
        let regrets = sorted_regrets(cases.iter(), method);
        let points = (0..=200).map(|step| FROM + (1.0 - FROM) * f64::from(step) / 200.0);
        let point = |share| Some(format!("{:.1},{:.1}", x(share), y(quantile(&regrets, share)?)));
        let points: Vec<String> = points.filter_map(point).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{line}\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            MARGIN + 12.0,
            method.label()
        );
    }
    svg.push_str("</svg>\n");
    svg
}
