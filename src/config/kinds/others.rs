//! `dns`, `script`, `grpc` and `file`

use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::{Dns, Grpc, MAX_TEXT, Reader, Script, StateFile};
use crate::config::report::quoted;
use crate::config::settings::path;
use crate::config::table::{Table, Value};

/// None: it has errors, reported already.
pub(super) fn dns(table: &mut Table<'_>) -> Option<Dns> {
    let name = table.required("name", "\"www.shop.example\"", |value| {
        let text = value.text()?;
        let bad = |error| value.bad(format!("{} is no domain name: {error}", quoted(text)), None);
        text.parse().map_or_else(bad, Some)
    });
    let record = table.or("record", RecordType::A, record_type);
    let expect = table.optional("expect", |value| value.filled_list(|item| item.word().map(str::to_owned)));
    let expect = expect.map_or(Vec::new(), |at| at.value.into_iter().map(|at| at.value).collect());
    Some(Dns { name: name?.value, record, expect })
}

fn record_type(value: &Value<'_>) -> Option<RecordType> {
    let text = value.text()?;
    match text.parse() {
        Ok(found @ (RecordType::ANY | RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::ZERO)) => {
            value.bad(format!("{found} is no type of a record"), "as in \"A\", \"AAAA\" or \"TXT\"".to_owned())
        }
        Ok(found) => Some(found),
        Err(_) => {
            let help = "in capitals, as in \"A\", \"AAAA\" or \"TXT\"";
            value.bad(format!("{} is no type of a record", quoted(text)), help.to_owned())
        }
    }
}

/// None: it has errors, reported already.
pub(super) fn script(table: &mut Table<'_>) -> Option<Script> {
    let example = "[\"/usr/local/bin/check-stock\", \"--fast\"]";
    let command = table.required("command", example, |value| {
        let words = value.filled_list(|item| item.text().map(str::to_owned))?;
        let command: Vec<String> = words.into_iter().map(|at| at.value).collect();
        let octets: usize = command.iter().map(|word| word.len() + 1).sum();
        if octets > MAX_TEXT || command.iter().any(|word| word.contains('\0')) {
            return value.bad(format!("a command has at most {MAX_TEXT} octets, and none that is zero"), None);
        }
        if !command.first()?.starts_with('/') {
            let help = format!("as in {example}; no shell looks for it");
            return value.bad("the first word of a command is the program's absolute path", help);
        }
        Some(command)
    });
    Some(Script { command: command?.value })
}

impl Reader<'_> {
    pub(super) fn grpc(&mut self, table: &mut Table<'_>) -> Grpc {
        let service = table.or("service", String::new(), |value| {
            if value.text()?.is_empty() { Some(String::new()) } else { value.word().map(str::to_owned) }
        });
        let tls = table.or("tls", false, Value::flag).then(|| self.tls(table, true));
        Grpc { service, tls }
    }

    /// None: it has errors, reported already.
    pub(super) fn file(&mut self, table: &mut Table<'_>) -> Option<StateFile> {
        let file = table.required("path", "\"health/{endpoint}\"", |value| {
            let found = path(value, self.folder)?;
            if found.parent().is_some_and(|folder| folder.to_string_lossy().contains(['{', '}'])) {
                let help = "the server may read the folders that it knows at its start, and no others".to_owned();
                return value.bad("only the last part of a path may hold {endpoint} or {address}", help);
            }
            Some(found)
        });
        let (second, most) = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));
        let max_age = table.or("max_age", 60 * second, |value| value.duration(second..=most));
        Some(StateFile { path: file?.value, max_age })
    }
}
