//! `metric`

use super::{Aim, Limits, Metric, Reader, Sample};
use crate::config::report::{At, quoted};
use crate::config::table::{Table, Value};

/// Far enough for any figure, and readable in messages.
const MOST: f64 = 1e15;

impl Reader<'_> {
    /// None: it has errors, reported already.
    pub(super) fn metric(&mut self, table: &mut Table<'_>) -> Option<Metric> {
        let example = "\"http://prometheus.shop.example:9090/metrics\"";
        let url = table.required("url", example, |value| url(value, example));
        let tls = url.as_ref().is_some_and(|url| url.value.starts_with("https://")).then(|| self.tls(table, false));
        let sample = table.optional("sample", sample);
        let pointer = table.optional("pointer", pointer);
        let aim = match (sample, pointer) {
            (Some(_), Some(pointer)) => {
                let help = Some("leave one of them out".to_owned());
                table.report.error_help("bad-value", &pointer.span, "`sample` and `pointer` are for two formats", help);
                None
            }
            (Some(sample), None) => Some(Aim::Sample(sample.value)),
            (None, Some(pointer)) => Some(Aim::Pointer(pointer.value)),
            (None, None) => {
                if !table.has("sample") && !table.has("pointer") {
                    table.missing("sample", "\"up\"");
                }
                None
            }
        };
        let limits = read_limits(table);
        let missing = table.or("missing", false, |value| value.choice(&[("unknown", false), ("degraded", true)]));
        Some(Metric { url: url?.value, tls, aim: aim?, limits: limits?, missing_degrades: missing })
    }
}

fn read_limits(table: &mut Table<'_>) -> Option<Limits> {
    let number = |value: &Value<'_>| value.number(-MOST..=MOST);
    let (degraded_over, down_over) = (table.optional("degraded_over", number), table.optional("down_over", number));
    let (degraded_under, down_under) = (table.optional("degraded_under", number), table.optional("down_under", number));
    let value = |at: &Option<At<f64>>| at.as_ref().map(|at| at.value);
    let limits = Limits {
        degraded_over: value(&degraded_over),
        down_over: value(&down_over),
        degraded_under: value(&degraded_under),
        down_under: value(&down_under),
    };
    let keys = ["degraded_over", "down_over", "degraded_under", "down_under"];
    if keys.iter().all(|key| !table.has_nearly(key)) {
        table.missing("down_over", "300");
        return None;
    }
    let never = |message, at: Option<At<f64>>| {
        let help = "a value is degraded before it is down".to_owned();
        at.map(|at| table.report.error_help("bad-value", &at.span, message, Some(help)))
    };
    if limits.degraded_over.zip(limits.down_over).is_some_and(|(degraded, down)| degraded >= down) {
        never("`degraded_over` is not below `down_over`: it would never count", degraded_over);
    }
    if limits.degraded_under.zip(limits.down_under).is_some_and(|(degraded, down)| degraded <= down) {
        never("`degraded_under` is not above `down_under`: it would never count", degraded_under);
    }
    Some(limits)
}

/// A URL of http or https; `example` shows one.
pub(in crate::config) fn url(value: &Value<'_>, example: &str) -> Option<String> {
    let text = value.word()?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let good = |rest: &str| !rest.starts_with(['/', ':', '?']) && !rest.is_empty();
    if !rest.is_some_and(good) || !text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') {
        return value.bad(format!("{} is no URL of http or https", quoted(text)), format!("as in {example}"));
    }
    Some(text.to_owned())
}

fn sample(value: &Value<'_>) -> Option<Sample> {
    let text = value.word()?;
    match Sample::begin(text) {
        Some((sample, "")) => Some(sample),
        _ => {
            let help = "as in 'kafka_consumer_lag_seconds{group=\"inventory\"}'; all the labels must be the sample's";
            value.bad(format!("{} is no name of a sample", quoted(text)), help.to_owned())
        }
    }
}

/// RFC 6901, into its parts.
fn pointer(value: &Value<'_>) -> Option<Vec<String>> {
    let text = value.word()?;
    let Some(path) = text.strip_prefix('/') else {
        return value.bad(format!("{} is no JSON pointer", quoted(text)), "as in \"/queue/lag\"".to_owned());
    };
    Some(path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}
