//! The tables that say whom we answer, whom we believe, and how often: `[access]`, `[ecs]`, `[rate_limit]`.

use super::meaning::{Access, Ecs, RateLimit};
use super::settings::cidr;
use super::table::{Table, Value};
use crate::model::Prefixes;

/// Ten microseconds from one to the next; more is no limit.
const HIGHEST: u32 = 100_000;

pub(super) fn read_access(table: &mut Table<'_>, access: &mut Access) {
    access.deny = prefixes(table, "deny");
    access.allow = prefixes(table, "allow");
}

pub(super) fn read_ecs(table: &mut Table<'_>, ecs: &mut Ecs) {
    ecs.allow = prefixes(table, "allow");
}

pub(super) fn read_rate_limit(table: &mut Table<'_>, limit: &mut RateLimit) {
    limit.answers = table.or("answers", limit.answers, rate);
    limit.errors = table.or("errors", limit.errors, rate);
    limit.slip = table.or("slip", limit.slip, |value| value.integer(0..=10).map(|slip| slip as u8));
    limit.log_only = table.or("log_only", limit.log_only, Value::flag);
    limit.allow = prefixes(table, "allow");
}

fn prefixes(table: &mut Table<'_>, key: &'static str) -> Prefixes {
    let read = table.optional(key, |value| value.list(cidr));
    read.map_or(Prefixes::default(), |at| at.value.into_iter().map(|at| at.value).collect())
}

/// Replies a second, or "off".
fn rate(value: &Value<'_>) -> Option<Option<u32>> {
    if value.is_text() {
        return value.choice(&[("off", None)]);
    }
    Some(Some(value.integer(1..=HIGHEST)?))
}
