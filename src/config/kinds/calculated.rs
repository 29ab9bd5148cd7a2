//! `calculated`: what others come to.

use std::sync::Arc;

use super::Calculated;
use crate::config::report::{At, quoted};
use crate::config::table::{Table, Value};

/// The most probes that one counts.
const MOST: usize = 16;

/// None: it has errors, reported already. `named` gets the probes that must be there.
pub(super) fn read(table: &mut Table<'_>, named: &mut Vec<At<Arc<str>>>) -> Option<Calculated> {
    let names = |value: &Value<'_>| {
        let names = value.filled_list(|item| item.word().map(Arc::from))?;
        if names.len() > MOST {
            return value.bad(format!("it counts at most {MOST} probes"), None);
        }
        Some(names)
    };
    let (all, any, of) = (table.optional("all", names), table.optional("any", names), table.optional("of", names));
    let at_least = table.optional("at_least", |value| value.integer(1..=MOST as u32).map(|number| number as usize));
    let typed = ["all", "any", "of", "at_least"].iter().filter(|word| table.has(word)).count();
    let good =
        [all.is_some(), any.is_some(), of.is_some(), at_least.is_some()].into_iter().filter(|good| *good).count();
    if good < typed {
        return None; // what is wrong with it has been said
    }
    let (typed, needed) = match (all, any, of, at_least) {
        (Some(all), None, None, None) => {
            let needed = all.value.len();
            (all.value, needed)
        }
        (None, Some(any), None, None) => (any.value, 1),
        (None, None, Some(of), Some(needed)) if needed.value <= of.value.len() => (of.value, needed.value),
        (None, None, Some(of), Some(needed)) => {
            let message = format!("`at_least` is {}, of {} probes", needed.value, of.value.len());
            table.report.error("bad-value", &needed.span, message);
            return None;
        }
        _ => {
            let message = "it needs `all`, or `any`, or `at_least` with `of`, and no two of these";
            let help = "as in `at_least = 2` and `of = [\"one\", \"two\", \"three\"]`".to_owned();
            table.report.error_help("bad-value", &table.span, message, Some(help));
            return None;
        }
    };
    let mut of: Vec<Arc<str>> = Vec::new();
    for at in &typed {
        if of.contains(&at.value) {
            table.report.error("bad-value", &at.span, format!("{} stands there twice", quoted(&at.value)));
            return None;
        }
        of.push(at.value.clone());
    }
    named.extend(typed);
    Some(Calculated { at_least: needed, of })
}
