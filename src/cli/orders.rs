//! `meridian drain`, `undrain`, `force`, `hold`, `release`: orders to the running server.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use reqwest::StatusCode;

use super::arguments::Order;
use super::report::{self, StartError};
use super::server;
use crate::admin::Ordered;
use crate::control::{Action, Impact, PlanImpact, Request, Scope, Verb};

/// Services and countries without an endpoint that are named, and moves that are told.
const NAMED: usize = 12;

/// Gives the order, and prints what it came to. `lasting` and `over` as of [`Request`].
#[must_use]
pub fn run(verb: Verb, order: &Order, lasting: Option<&str>, over: Option<&str>) -> ExitCode {
    report::start_log();
    report::finish(give(verb, order, lasting, over).and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)))
}

fn give(verb: Verb, order: &Order, lasting: Option<&str>, over: Option<&str>) -> Result<String, StartError> {
    let base = server::base(&order.config, order.server.as_deref())?;
    let request = Request {
        action: verb,
        target: order.target.clone(),
        reason: order.reason.clone(),
        author: order.author.clone().unwrap_or_else(user),
        lasting: lasting.map(str::to_owned),
        over: over.map(str::to_owned),
        accept_impact: order.accept_impact,
        dry_run: order.dry_run,
    };
    let body = serde_json::to_vec(&request).map_err(io::Error::from)?;
    let (status, text) = report::block_on(async {
        let url = format!("{base}/api/v1/overrides");
        server::reply(&base, server::client()?.post(url).header("content-type", "application/json").body(body)).await
    })?;
    if status != StatusCode::OK && status != StatusCode::CONFLICT {
        return Err(server::refused(&base, status, &text));
    }
    let ordered: Ordered = serde_json::from_str(&text).map_err(io::Error::from)?;
    let words = in_words(&ordered);
    let without = "With --accept-impact it is done all the same";
    match &ordered.refused {
        Some(why) => {
            let why = format!("refused, nothing has changed: {why}. {without}. What it would come to:\n{words}");
            Err(io::Error::other(why).into())
        }
        None if request.dry_run && !request.accept_impact && ordered.impact.is_grave() => {
            Err(io::Error::other(format!("it would be refused. {without}.\n{words}")).into())
        }
        None => Ok(words),
    }
}

/// Who is logged in, as far as the environment tells, else whose process it is.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let uid = nix::unistd::getuid();
    let account = || nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    named.into_iter().find(|name| !name.is_empty()).or_else(account).unwrap_or_else(|| format!("uid {uid}"))
}

fn in_words(ordered: &Ordered) -> String {
    let mut text = String::new();
    if ordered.done.is_none() && ordered.refused.is_none() {
        text.push_str("nothing has changed: this is what it would come to, once all steps are taken\n");
        if ordered.impact == Impact::default() {
            text.push_str("no client would get another answer\n");
        }
    }
    for plan in &ordered.impact.plans {
        plan_in_words(&mut text, plan);
    }
    if !ordered.impact.blind.is_empty() {
        let _ = writeln!(text, "DOWN BY THEIR PROBES, and answered all the same: {}", shortened(&ordered.impact.blind));
    }
    let Some(done) = &ordered.done else { return text };
    for order in &done.put {
        let _ = match &order.scope {
            Scope::Endpoint(name) => writeln!(text, "{name}: {order}"),
            _ => writeln!(text, "{order}"), // names it
        };
        if order.until.is_none() {
            let word = if order.action == Action::Drain { "undrain" } else { "release" };
            let _ = writeln!(text, "until `meridian {word} {}`", order.scope);
        }
    }
    for order in &done.replaced {
        let _ = writeln!(text, "in place of: {order}");
        if order.action == Action::Hold {
            text.push_str("what is held stays as it was when that one began\n");
        }
    }
    if let Some(at) = done.drained_at.filter(|_| !done.replaced.is_empty()) {
        let _ = writeln!(text, "it goes on where it was: the last of its clients leave by {at:.0}");
    } else if let Some(at) = done.drained_at {
        let _ = writeln!(
            text,
            "a quarter of its clients leave now, the others by steps, the last at {at:.0}; `meridian status --watch` shows it"
        );
    }
    for order in &done.removed {
        let _ = writeln!(text, "{}: no longer {}", order.scope, order.action.as_str());
    }
    if let Some(at) = done.back_at {
        let _ = writeln!(
            text,
            "who comes back by it has its clients by steps, the last at {at:.0} at the latest; `meridian status --watch` shows it"
        );
    }
    if let Some(error) = &done.not_kept {
        let _ = writeln!(text, "WARNING: in force, but not on disk, so that a restart would lose it: {error}");
    }
    text
}

fn plan_in_words(text: &mut String, plan: &PlanImpact) {
    let _ = writeln!(text, "{}", shortened(&plan.services));
    if !plan.without.is_empty() {
        let _ = writeln!(text, "  NO ENDPOINT that lives is left for clients in {}", shortened(&plan.without));
    }
    if !plan.dead.is_empty() {
        let _ = writeln!(text, "  ALL ARE DOWN, now and then, for clients in {}", shortened(&plan.dead));
    }
    if let Some(left) = plan.scarce {
        let of = shortened(&plan.scarce_of);
        let _ = writeln!(
            text,
            "  TOO LITTLE: {:.0} % of a fence's capacity is left, less than panic_below: of {of}",
            left * 100.0
        );
    }
    for moved in plan.moves.iter().take(NAMED) {
        let (from, to) =
            (format!("{} {:.0} ms", moved.from, moved.from_ms), format!("{} {:.0} ms", moved.to, moved.to_ms));
        let percent = |part: f32| if part < 0.995 { Some(format!("{:.0}", (part * 100.0).max(1.0))) } else { None };
        let others = percent(moved.share).map(|part| format!(", {part} % of those that move")).unwrap_or_default();
        let places = percent(moved.of_country).map(|part| format!(" (of {part} % of its places)")).unwrap_or_default();
        let mixed = if moved.mixed { ", prefixes under several fences" } else { "" };
        let _ = writeln!(text, "  {}{mixed}{places}  {from} -> {to}{others}", moved.country);
    }
    let more = plan.more + plan.moves.len().saturating_sub(NAMED);
    if more > 0 {
        let countries = if more == 1 { "country, which moves" } else { "countries, which move" };
        let _ = writeln!(text, "  and {more} more {countries} less far");
    }
}

fn shortened(words: &[String]) -> String {
    let more = if words.len() > NAMED { format!(", and {} more", words.len() - NAMED) } else { String::new() };
    words[..words.len().min(NAMED)].join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Done, Move, Override};

    #[test]
    fn what_an_order_stands_in_place_of_is_told() {
        let at = "2026-11-29T18:49:00Z".parse().unwrap();
        let hold = |author: &str| Override {
            scope: Scope::All,
            action: Action::Hold,
            over_s: None,
            reason: String::new(),
            author: author.to_owned(),
            at,
            until: None,
        };
        let (put, replaced) = (vec![hold("ben")], vec![hold("anna")]);
        let done = Done { put, removed: Vec::new(), replaced, drained_at: None, back_at: None, not_kept: None };
        let text = in_words(&Ordered { done: Some(done), impact: Impact::default(), refused: None });
        assert_eq!(
            text,
            "held by ben since 2026-11-29T18:49:00Z (all)\n\
             until `meridian release all`\n\
             in place of: held by anna since 2026-11-29T18:49:00Z (all)\n\
             what is held stays as it was when that one began\n"
        );
    }

    #[test]
    fn the_impact_is_told_by_place() {
        let of = |(country, share, of_country): (&str, f32, f32)| Move {
            country: country.into(),
            mixed: share < 1.0,
            from: "a".into(),
            to: "b".into(),
            from_ms: 2.0,
            to_ms: 170.4,
            share,
            of_country,
        };
        let plan = PlanImpact {
            services: vec!["www.shop.example".into(), "api.shop.example".into()],
            without: vec!["DE".into(), "FR".into()],
            dead: vec!["BR".into()],
            scarce: Some(0.25),
            scarce_of: vec!["b".into(), "c".into()],
            moves: [("SG", 1.0, 1.0), ("US", 0.62, 0.002)].map(of).into(),
            more: 1,
        };
        let impact = Impact { plans: vec![plan], blind: vec!["c".into()] };
        let text = in_words(&Ordered { done: None, impact, refused: None });
        assert_eq!(
            text,
            "nothing has changed: this is what it would come to, once all steps are taken\n\
             www.shop.example, api.shop.example\n  \
             NO ENDPOINT that lives is left for clients in DE, FR\n  \
             ALL ARE DOWN, now and then, for clients in BR\n  \
             TOO LITTLE: 25 % of a fence's capacity is left, less than panic_below: of b, c\n  \
             SG  a 2 ms -> b 170 ms\n  \
             US, prefixes under several fences (of 1 % of its places)  a 2 ms -> b 170 ms, 62 % of those that move\n  \
             and 1 more country, which moves less far\n\
             DOWN BY THEIR PROBES, and answered all the same: c\n"
        );
    }
}
