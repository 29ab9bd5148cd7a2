//! What came out, as a table.

use std::fmt::Write as _;

use meridian::model::Location;

use crate::browser::CANDIDATES;
use crate::judge::{NOISE_MS, groups, quantile};

/// By what a region is chosen, or when the server was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Great circle, from where the database puts the client.
    Distance,
    Prior,
    One,
    Five,
    Twenty,
    /// Regions have moved, and nobody has measured since.
    Rehomed,
    Found,
    /// The table itself, before regions move.
    Oracle,
}

impl Stage {
    pub(crate) const ALL: [Self; 8] =
        [Self::Distance, Self::Prior, Self::One, Self::Five, Self::Twenty, Self::Rehomed, Self::Found, Self::Oracle];

    fn label(self) -> &'static str {
        match self {
            Self::Distance => "distance",
            Self::Prior => "prior",
            Self::One => "k = 1",
            Self::Five => "k = 5",
            Self::Twenty => "k = 20",
            Self::Rehomed => "rehomed",
            Self::Found => "rehomed + 5",
            Self::Oracle => "oracle",
        }
    }
}

/// One answer.
struct Answer {
    client: usize,
    /// Round trip, ms, and how much longer than need be.
    ms: f32,
    regret_ms: f32,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Outcome {
    /// By stage.
    answers: [Vec<Answer>; Stage::ALL.len()],
    /// By stage: answers to clients in the EU by services under its fence, and those outside it.
    fenced: [[usize; 2]; Stage::ALL.len()],
    /// Of each client.
    pub(super) locations: Vec<Location>,
    /// Cities of which the database has no prefix.
    pub(super) unknown: Vec<String>,
    /// Cases with a way that nobody measured.
    pub(super) left_out: usize,
    pub(super) servers: usize,
}

/// Some answers in figures.
pub(crate) struct Score {
    pub(crate) cases: usize,
    /// Share of those that are as good as can be.
    pub(crate) best: f64,
    /// Regret where less than `NOISE_MS` counts as none, and of all, ms: means and 95th percentiles.
    pub(crate) mean: f64,
    pub(crate) p95: f64,
    pub(crate) mean_all: f64,
    pub(crate) p95_all: f64,
    /// Mean round trip, ms.
    pub(crate) round_trip: f64,
}

impl Outcome {
    pub(super) fn add(&mut self, stage: Stage, client: usize, ms: f32, regret_ms: f32) {
        self.answers[stage as usize].push(Answer { client, ms, regret_ms });
    }

    pub(super) fn add_fenced(&mut self, stage: Stage, cases: usize, outside: usize) {
        let [all, all_outside] = &mut self.fenced[stage as usize];
        (*all, *all_outside) = (*all + cases, *all_outside + outside);
    }

    /// Answers to clients in the EU by services under its fence, and those that cross it.
    pub(crate) fn fenced(&self, stage: Stage) -> [usize; 2] {
        self.fenced[stage as usize]
    }

    /// Of all clients.
    pub(crate) fn score(&self, stage: Stage) -> Option<Score> {
        self.score_of(stage, |_| true)
    }

    /// None of no answers.
    fn score_of(&self, stage: Stage, holds: impl Fn(usize) -> bool) -> Option<Score> {
        let answers = || self.answers[stage as usize].iter().filter(|answer| holds(answer.client));
        let mut regrets: Vec<f32> = answers().map(|answer| answer.regret_ms).collect();
        regrets.sort_by(f32::total_cmp);
        let (count, p95_all) = (regrets.len() as f64, quantile(&regrets, 0.95)?);
        let mean = |least| regrets.iter().filter(|ms| **ms >= least).fold(0.0, |sum, ms| sum + f64::from(*ms)) / count;
        Some(Score {
            cases: regrets.len(),
            best: regrets.iter().filter(|ms| **ms <= 0.0).count() as f64 / count,
            mean: mean(NOISE_MS),
            p95: if p95_all < f64::from(NOISE_MS) { 0.0 } else { p95_all },
            mean_all: mean(0.0),
            p95_all,
            round_trip: answers().map(|answer| f64::from(answer.ms)).sum::<f64>() / count,
        })
    }

    /// All stages, and by continent the prior, five samples and what is found again.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} servers, asked by UDP; clients: one /24 of each of {} cities; no prefix in the database: {}; left out: {} cases \
             with ways that nobody measured\n\
             distance: from where the database puts the prefix; k sessions of each city and service, of the service's \
             {CANDIDATES} nearest by the prior, by HTTP, all of one\nstage within a minute; rehomed: one region of each set 40 to 150 \
             ms farther for a quarter of the clients, the same samples a half-life older (an hour apart)\n\
             regret of less than {NOISE_MS} ms as none but in the columns 'all'; RTT: in the mean; EU: answers to its clients by \
             services under its fence; outside: of these beyond it\n",
            self.servers,
            self.locations.len(),
            if self.unknown.is_empty() { "none".to_owned() } else { self.unknown.join(", ") },
            self.left_out,
        );
        let head = |what: &str| {
            let columns = ["cases", "best %", "mean", "p95", "mean, all", "p95, all", "RTT"];
            let widths = [8, 8, 7, 7, 10, 9, 7];
            let columns = columns.iter().zip(widths).map(|(column, width)| format!("{column:>width$}"));
            format!("{what:<22}{}", columns.collect::<String>())
        };
        let _ = writeln!(text, "{}{:>9}{:>9}", head("stage"), "EU cases", "outside");
        for stage in Stage::ALL {
            let Some(score) = self.score(stage) else { continue };
            let [cases, outside] = self.fenced(stage);
            let _ = write!(text, "{:<22}{}", stage.label(), score.row());
            let _ = if cases > 0 { writeln!(text, "{cases:>9}{outside:>9}") } else { writeln!(text) };
        }
        let _ = writeln!(text, "\n{}", head("clients, stage"));
        for (group, members) in groups(&self.locations).into_iter().skip(1) {
            for stage in [Stage::Distance, Stage::Prior, Stage::Five, Stage::Found] {
                let Some(score) = self.score_of(stage, |client| members[client]) else { continue };
                let _ = writeln!(text, "{group:<8}{:<14}{}", stage.label(), score.row());
            }
        }
        text
    }
}

impl Score {
    fn row(&self) -> String {
        let Self { cases, best, mean, p95, mean_all, p95_all, round_trip } = self;
        let best = 100.0 * best;
        format!("{cases:>8}{best:>8.1}{mean:>7.2}{p95:>7.1}{mean_all:>10.2}{p95_all:>9.1}{round_trip:>7.1}")
    }
}
