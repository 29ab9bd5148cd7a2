//! `[defaults]` and `[[services]]` as typed.

use std::time::Duration;

use super::blocks::{Blocks, Miscut};
use super::report::{At, Report, Span, quoted};
use super::settings::{latency_ms, ttl};
use super::table::{Table, Value};
use crate::model::{MAX_MULTIVALUE, Name, Service, Within};

/// Words of policies that later versions bring.
const POLICY_LATER: &[&str] = &["when_full", "answer_as"];

/// The most fences, and the most preferences, of one service.
const MAX_RULES: usize = 64;

/// The longest ramp, and the longest that panic holds on.
pub const MAX_RAMP: Duration = Duration::from_secs(86_400);

/// What both `[defaults]` and a service may say.
#[derive(Default)]
pub(super) struct PolicySpec<'a> {
    pub(super) ttl: Option<At<Duration>>,
    pub(super) ttl_doubt: Option<At<Duration>>,
    pub(super) spread: Option<At<SpreadWord>>,
    /// There is a `spread`, and it was not understood.
    pub(super) spread_lost: bool,
    pub(super) multivalue: Option<At<u8>>,
    pub(super) tie_ms: Option<At<f32>>,
    pub(super) min_gain_ms: Option<At<f32>>,
    pub(super) when_none: Option<At<WhenNoneSpec<'a>>>,
    pub(super) degraded_share: Option<At<f64>>,
    pub(super) warmup: Option<At<Duration>>,
    pub(super) drain: Option<At<Duration>>,
    pub(super) panic_below: Option<At<f64>>,
    pub(super) panic_hold: Option<At<Duration>>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum SpreadWord {
    Sticky,
    Random,
    Multivalue,
}

#[derive(Clone, Copy)]
pub(super) enum WhenNoneSpec<'a> {
    IgnoreHealth,
    Endpoint(&'a str),
    Servfail,
    Nodata,
}

/// A service as typed. What has errors is missing, and was reported.
pub(super) struct ServiceSpec<'a> {
    pub(super) name: Option<At<Name>>,
    pub(super) label: &'a str,
    pub(super) endpoints: Option<Vec<At<&'a str>>>,
    /// None: some part of it has errors.
    pub(super) fences: Option<Vec<FenceSpec<'a>>>,
    pub(super) fence_unknown: Option<At<&'a str>>,
    /// None: some part of it has errors.
    pub(super) preferences: Option<Vec<PreferenceSpec<'a>>>,
    pub(super) cost_budget_ms: f32,
    pub(super) policy: PolicySpec<'a>,
}

/// All services as typed.
pub(super) enum Services<'a> {
    /// Read at once.
    Read(Vec<ServiceSpec<'a>>),
    /// Each read when it is asked for.
    Blocks(Blocks<'a>),
}

/// A service with its place.
pub(super) struct Steered {
    /// The service; with errors its name, if that is good.
    pub(super) meaning: Result<Service, Option<Name>>,
    /// Its name as typed; empty where there is none.
    pub(super) span: Span,
}

impl Services<'_> {
    /// Hands each to `look`, in the order of the file.
    pub(super) fn each(&self, report: &Report<'_>, mut look: impl FnMut(&ServiceSpec<'_>)) -> Result<(), Miscut> {
        match self {
            Self::Read(specs) => specs.iter().for_each(look),
            Self::Blocks(blocks) => return blocks.each(report, &mut look),
        }
        Ok(())
    }

    /// Hands that one to `look`.
    pub(super) fn one(&self, index: usize, report: &Report<'_>, mut look: impl FnMut(&ServiceSpec<'_>)) {
        match self {
            Self::Read(specs) => look(&specs[index]),
            Self::Blocks(blocks) => blocks.one(index, report, look),
        }
    }
}

impl Steered {
    pub(super) fn name(&self) -> Option<&Name> {
        self.meaning.as_ref().map_or_else(Option::as_ref, |service| Some(&service.name))
    }
}

/// An element of `fence`.
pub(super) struct FenceSpec<'a> {
    pub(super) place: At<&'a str>,
    pub(super) inside: At<&'a str>,
    pub(super) narrowed: Narrowed<'a>,
}

/// An element of `prefer`.
pub(super) struct PreferenceSpec<'a> {
    pub(super) place: At<&'a str>,
    pub(super) narrowed: Narrowed<'a>,
    pub(super) within: Within,
}

/// `clouds` and `endpoints` of a fence or preference; empty: not typed.
pub(super) struct Narrowed<'a> {
    pub(super) clouds: Vec<At<&'a str>>,
    pub(super) endpoints: Vec<At<&'a str>>,
}

/// Reads `[defaults]`.
pub(super) fn read_defaults<'a>(root: &mut Table<'a>) -> PolicySpec<'a> {
    let mut defaults = PolicySpec::default();
    root.section("defaults", POLICY_LATER, |table| defaults = read_policy(table));
    defaults
}

/// Reads all `[[services]]`.
pub(super) fn read<'a>(root: &mut Table<'a>) -> Vec<ServiceSpec<'a>> {
    let tables = super::tables(root, "services", "name", POLICY_LATER);
    tables.into_iter().map(read_one).collect()
}

fn read_one<'a>(mut table: Table<'a>) -> ServiceSpec<'a> {
    let name = table.required("name", "\"www.shop.example\"", |value| Some((service_name(value)?, value.text()?)));
    let rules = |value: &Value<'a>| value.items().filter(|items| items.len() <= MAX_RULES).or_else(|| too_many(value));
    let fences = table.value("fence").map(|value| rules(&value)?.iter().map(read_fence).collect());
    let prefer = table.value("prefer").map(|value| rules(&value)?.iter().map(read_preference).collect());
    let spec = ServiceSpec {
        label: name.as_ref().map_or("", |at| at.value.1),
        name: name.map(|at| At { value: at.value.0, span: at.span }),
        endpoints: table
            .required("endpoints", "[\"aws-*\"]", |value| value.filled_list(Value::word))
            .map(|at| at.value),
        fences: fences.unwrap_or_else(|| Some(Vec::new())),
        fence_unknown: table.optional("fence_unknown", Value::text).filter(|at| at.value != "strictest"),
        preferences: prefer.unwrap_or_else(|| Some(Vec::new())),
        cost_budget_ms: table.or("cost_budget", 0.0, latency_ms),
        policy: read_policy(&mut table),
    };
    table.finish();
    spec
}

fn too_many<T>(value: &Value<'_>) -> Option<T> {
    if value.is_text() || value.is_table() {
        return None; // reported as a wrong type
    }
    value.bad(format!("there are over {MAX_RULES} of them"), None)
}

fn service_name(value: &Value<'_>) -> Option<Name> {
    let text = value.word()?;
    match text.parse::<Name>() {
        Ok(name) => Some(name),
        Err(error) => value.bad(format!("{} is no domain name: {error}", quoted(text)), None),
    }
}

fn read_policy<'a>(table: &mut Table<'a>) -> PolicySpec<'a> {
    let spreads =
        [("sticky", SpreadWord::Sticky), ("random", SpreadWord::Random), ("multivalue", SpreadWord::Multivalue)];
    let policy = PolicySpec {
        ttl: table.optional("ttl", ttl),
        ttl_doubt: table.optional("ttl_doubt", ttl),
        spread: table.optional("spread", |value| value.choice(&spreads)),
        spread_lost: false,
        multivalue: table
            .optional("multivalue", |value| value.integer(1..=MAX_MULTIVALUE as u32).map(|number| number as u8)),
        tie_ms: table.optional("tie", latency_ms),
        min_gain_ms: table.optional("min_gain", latency_ms),
        when_none: table.optional("when_none", when_none),
        degraded_share: table.optional("degraded_share", |value| value.number(0.0..=1.0)),
        warmup: table.optional("warmup", ramp),
        drain: table.optional("drain", ramp),
        panic_below: table.optional("panic_below", |value| value.number(0.0..=1.0)),
        panic_hold: table.optional("panic_hold", ramp),
    };
    PolicySpec { spread_lost: policy.spread.is_none() && table.has_nearly("spread"), ..policy }
}

fn ramp(value: &Value<'_>) -> Option<Duration> {
    value.duration(Duration::ZERO..=MAX_RAMP)
}

fn when_none<'a>(value: &Value<'a>) -> Option<WhenNoneSpec<'a>> {
    if let Some(name) = value.text()?.strip_prefix("endpoint:") {
        return Some(WhenNoneSpec::Endpoint(name));
    }
    value.choice(&[
        ("ignore_health", WhenNoneSpec::IgnoreHealth),
        ("servfail", WhenNoneSpec::Servfail),
        ("nodata", WhenNoneSpec::Nodata),
        ("endpoint:NAME", WhenNoneSpec::Endpoint("NAME")),
    ])
}

fn read_fence<'a>(value: &Value<'a>) -> Option<FenceSpec<'a>> {
    let mut table = value.table("a fence", &[])?;
    let place = table.required("where", "\"eu\"", Value::text);
    let inside = table.required("in", "\"eu\"", Value::text);
    let narrowed = read_narrowed(&mut table);
    table.finish();
    Some(FenceSpec { place: place?, inside: inside?, narrowed: narrowed? })
}

fn read_preference<'a>(value: &Value<'a>) -> Option<PreferenceSpec<'a>> {
    let mut table = value.table("a preference", &[])?;
    let place = table.required("where", "\"apac\"", Value::text);
    let within = table.required("within", "\"30ms\"", |value| match value.duration_text()? {
        "any" => Some(Within::Any),
        _ => latency_ms(value).map(Within::Ms),
    });
    if !table.has("clouds") && !table.has("endpoints") {
        table.missing("clouds", "[\"gcp\"]");
    }
    let narrowed = read_narrowed(&mut table);
    table.finish();
    Some(PreferenceSpec { place: place?, narrowed: narrowed?, within: within?.value })
}

/// None where one of them has errors.
fn read_narrowed<'a>(table: &mut Table<'a>) -> Option<Narrowed<'a>> {
    let mut words = |key| {
        let typed = table.has(key);
        let words = table.optional(key, |value| value.filled_list(Value::word));
        if typed { words.map(|at| at.value) } else { Some(Vec::new()) }
    };
    let (clouds, endpoints) = (words("clouds"), words("endpoints"));
    Some(Narrowed { clouds: clouds?, endpoints: endpoints? })
}
