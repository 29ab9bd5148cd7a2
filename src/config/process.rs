//! `[process]`: as whom the server runs, and what holds it.

use super::meaning::{Process, Sandboxing};
use super::table::{Table, Value};

const SANDBOXING: [(&str, Sandboxing); 3] =
    [("on", Sandboxing::On), ("off", Sandboxing::Off), ("require", Sandboxing::Require)];

/// Reads it.
pub(super) fn read(root: &mut Table<'_>) -> Process {
    let mut process = Process::default();
    root.section("process", &[], |table| {
        let user_is_named = table.has("user");
        process.user = table.or("user", None, account);
        if let Some(group) = table.optional("group", account) {
            if !user_is_named {
                let message = "`group` goes with `user`, and there is none";
                let help = "name a `user`, or leave `group` out: it stays who it is then".to_owned();
                table.report.error_help("missing-key", &group.span, message, Some(help));
            }
            process.group = group.value;
        }
        process.scripts = table.or("scripts", false, Value::flag);
        process.sandbox = table.or("sandbox", process.sandbox, |value| value.choice(&SANDBOXING));
    });
    process
}

/// A name, or a number in quotes or without.
fn account(value: &Value<'_>) -> Option<Option<Box<str>>> {
    if value.is_text() {
        return value.word().map(|word| Some(word.into()));
    }
    // The last number stands for 'no change' in the system's calls.
    value.integer(0..=u32::MAX - 1).map(|number| Some(number.to_string().into()))
}
