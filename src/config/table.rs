//! Reading a TOML tree without stopping at the first error.
//!
//! A [`Table`] is asked for its keys one by one; what it was not asked for is unknown, and
//! [`Table::finish`] says so. A [`Value`] reports what is wrong with itself and yields nothing then,
//! so that whoever asked can go on.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{At, Report, Span, one_of, quoted};
use super::scalar::{DURATION_FORM, duration, show_duration};
use super::words::{closest, did_you_mean};

/// A table being read.
pub(super) struct Table<'a> {
    pub(super) report: &'a Report<'a>,
    /// As messages name it, such as `[server]`.
    label: String,
    pub(super) span: Span,
    entries: &'a DeTable<'a>,
    /// Where the text that the tree was made of begins in the file.
    base: usize,
    asked: Vec<&'static str>,
    later: &'static [&'static str],
}

impl<'a> Table<'a> {
    /// `later` are words that this version does not act on yet.
    pub(super) fn new(
        report: &'a Report<'a>,
        label: impl Into<String>,
        span: Span,
        entries: &'a DeTable<'a>,
        later: &'static [&'static str],
    ) -> Self {
        Self { report, label: label.into(), span, entries, base: 0, asked: Vec::new(), later }
    }

    /// The same of a text that begins at `base` in the file.
    pub(super) fn based(self, base: usize) -> Self {
        Self { base, ..self }
    }

    /// What `read` makes of the value of `key`, if it is there and good.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        Some(At { value: read(&value)?, span: value.span() })
    }

    /// The same without its place, or what holds where nothing good is written.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Value<'a>) -> Option<T>) -> T {
        self.optional(key, read).map_or(default, |at| at.value)
    }

    /// The same as [`Table::optional`], but the key has to be there; `example` shows how it is written.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        if !self.has(key) {
            self.ask(key);
            self.missing(key, example);
            return None;
        }
        self.optional(key, read)
    }

    /// Reports that `key` is not there.
    pub(super) fn missing(&self, key: &str, example: &str) {
        if !self.report.is_partial() {
            let message = format!("{} has no `{key}`", self.label);
            self.report.error_help("missing-key", &self.span, message, Some(format!("add `{key} = {example}`")));
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Is the key there, or one that may have been meant for it?
    pub(super) fn has_nearly(&self, key: &str) -> bool {
        self.has(key) || self.entries.keys().any(|typed| closest(typed.get_ref(), [key]).is_some())
    }

    /// The value of `key`, whatever it is.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.ask(key);
        let inner = self.entries.get(key)?;
        Some(Value { report: self.report, key, base: self.base, inner })
    }

    /// Notes that the key is known.
    fn ask(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    /// A table within, read by `read` to its end.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        later: &'static [&'static str],
        read: impl FnOnce(&mut Table<'a>),
    ) {
        if let Some(mut table) = self.value(key).and_then(|value| value.table(format!("[{key}]"), later)) {
            read(&mut table);
            table.finish();
        }
    }

    /// All entries in the order of the file, for tables whose keys are the operator's own words.
    pub(super) fn into_entries(self) -> Vec<(At<&'a str>, Value<'a>)> {
        let entry = |(key, inner): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &'a Spanned<toml::de::DeString<'a>> = key;
            let value = Value { report: self.report, key: key.get_ref(), base: self.base, inner };
            (At { value: &**key.get_ref(), span: moved(key.span(), self.base) }, value)
        };
        let mut entries: Vec<_> = self.entries.iter().map(entry).collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// Reports what was not asked for.
    pub(super) fn finish(self) {
        for key in self.entries.keys() {
            let (word, span) = (&**key.get_ref(), moved(key.span(), self.base));
            if self.asked.contains(&word) {
                continue;
            }
            if self.later.contains(&word) {
                not_built_yet(self.report, word, &span);
                continue;
            }
            let message = format!("{} knows no key {}", self.label, quoted(word));
            let near = closest(word, self.asked.iter().chain(self.later).copied());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.asked.is_empty() => "nothing stands here".to_owned(),
                None => format!("it knows {}", one_of(self.asked.iter().copied())),
            };
            self.report.error_help("unknown-key", &span, message, Some(help));
        }
    }
}

/// Reports a word of the vocabulary that a later version brings.
pub(super) fn not_built_yet(report: &Report<'_>, word: &str, span: &Span) {
    let message = format!("`{word}` is a word of a later version; this one does not act on it");
    report.error_help("not-built-yet", span, message, Some("leave it out for now".to_owned()));
}

fn moved(span: Span, by: usize) -> Span {
    span.start + by..span.end + by
}

/// A value being read.
pub(super) struct Value<'a> {
    pub(super) report: &'a Report<'a>,
    /// The key that it stands behind.
    key: &'a str,
    /// As the table's.
    base: usize,
    inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn span(&self) -> Span {
        moved(self.inner.span(), self.base)
    }

    /// The value with its place.
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { value, span: self.span() }
    }

    /// Reports that it is not good; yields nothing.
    pub(super) fn bad<T>(&self, message: impl Into<String>, help: impl Into<Option<String>>) -> Option<T> {
        self.report.error_help("bad-value", &self.span(), message, help.into());
        None
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self.inner.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("text in quotes", None),
        }
    }

    /// Text that is not empty, has no control characters and at most 255 octets.
    pub(super) fn word(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            let allowed = "1 to 255 octets without control characters";
            return self.bad(format!("`{}` is {}; it must be {allowed}", self.key, quoted(text)), None);
        }
        Some(text)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.inner.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type("`true` or `false`", None),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let allowed = words.iter().map(|(word, _)| *word);
        let message = format!("`{}` is {}; it must be {}", self.key, quoted(text), one_of(allowed.clone()));
        self.bad(message, did_you_mean(text, allowed))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let form = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.inner.get_ref() else { return self.wrong_type(&form, None) };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        number.or_else(|| {
            self.bad(format!("`{}` is {}; it must be {form}", self.key, quoted(&integer.to_string())), None)
        })
    }

    /// A whole or decimal number.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let form = format!("a number from {} to {}", range.start(), range.end());
        let (typed, number) = match self.inner.get_ref() {
            DeValue::Float(float) => (float.as_str().to_owned(), float.as_str().parse().ok()),
            DeValue::Integer(integer) if integer.radix() == 10 => (integer.to_string(), integer.as_str().parse().ok()),
            _ => return self.wrong_type(&form, None),
        };
        let number = number.filter(|number| range.contains(number));
        number.or_else(|| self.bad(format!("`{}` is {}; it must be {form}", self.key, quoted(&typed)), None))
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.duration_text()?;
        let Some(found) = duration(text) else {
            let message = format!("`{}` is {}; a duration is {DURATION_FORM}", self.key, quoted(text));
            return self.bad(message, None);
        };
        if !range.contains(&found) {
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            let key = self.key;
            let help = if found < *range.start() {
                format!("write `{key} = \"{least}\"` or longer")
            } else {
                format!("write `{key} = \"{most}\"` or shorter")
            };
            let found = if found.is_zero() { "zero".to_owned() } else { quoted(text) };
            return self.bad(format!("`{key}` is {found}; it must be from {least} to {most}"), help);
        }
        Some(found)
    }

    /// The text of a duration; a number without its unit gets a word about units.
    pub(super) fn duration_text(&self) -> Option<&'a str> {
        match self.inner.get_ref() {
            DeValue::String(text) => Some(text),
            DeValue::Integer(integer) => {
                let help = format!("say the unit: `{key} = \"{integer}s\"` or \"{integer}ms\"", key = self.key);
                self.wrong_type(&format!("a duration: {DURATION_FORM}"), Some(help))
            }
            _ => self.wrong_type(&format!("a duration: {DURATION_FORM}"), None),
        }
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.inner.get_ref() else {
            let help = match self.inner.get_ref() {
                DeValue::String(_) => Some("write it in brackets: `[\"…\"]`".to_owned()),
                DeValue::Table(_) => Some("write it in brackets: `[{ … }]`, or its head in two: `[[…]]`".to_owned()),
                _ => None,
            };
            return self.wrong_type("a list", help);
        };
        Some(array.iter().map(|inner| Value { inner, ..*self }).collect())
    }

    /// The good elements of a list, each with its place.
    pub(super) fn list<T>(&self, read: impl Fn(&Value<'a>) -> Option<T>) -> Option<Vec<At<T>>> {
        let items = self.items()?;
        Some(items.iter().filter_map(|item| read(item).map(|value| item.at(value))).collect())
    }

    /// The same of a list that must hold something.
    pub(super) fn filled_list<T>(&self, read: impl Fn(&Value<'a>) -> Option<T>) -> Option<Vec<At<T>>> {
        if self.items()?.is_empty() {
            return self.bad(format!("`{}` is an empty list; it must name something", self.key), None);
        }
        self.list(read)
    }

    /// A table; `later` as in [`Table::new`].
    pub(super) fn table(&self, label: impl Into<String>, later: &'static [&'static str]) -> Option<Table<'a>> {
        match self.inner.get_ref() {
            DeValue::Table(entries) => {
                Some(Table::new(self.report, label, self.span(), entries, later).based(self.base))
            }
            _ => self.wrong_type("a table", None),
        }
    }

    /// An element of `[[key]]`; messages name it by the text of its `name_key`, where it has one.
    pub(super) fn named_table(&self, key: &str, name_key: &str, later: &'static [&'static str]) -> Option<Table<'a>> {
        let name = self.inner.get_ref().get(name_key).and_then(|name| name.get_ref().as_str());
        self.table(name.map_or(format!("[[{key}]]"), |name| format!("[[{key}]] {}", quoted(name))), later)
    }

    pub(super) fn is_table(&self) -> bool {
        self.inner.get_ref().is_table()
    }

    pub(super) fn is_text(&self) -> bool {
        self.inner.get_ref().is_str()
    }

    /// Reports that it is something else than `allowed`; yields nothing.
    pub(super) fn wrong_type<T>(&self, allowed: &str, help: Option<String>) -> Option<T> {
        let found = match self.inner.get_ref() {
            DeValue::String(text) => format!("the text {}", quoted(text)),
            DeValue::Integer(number) => format!("the number {}", quoted(&number.to_string())),
            DeValue::Float(number) => format!("the number {}", quoted(number.as_str())),
            DeValue::Boolean(flag) => format!("`{flag}`"),
            DeValue::Datetime(time) => format!("the time `{time}`"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("`{}` is {found}; it must be {allowed}", self.key);
        self.report.error_help("wrong-type", &self.span(), message, help);
        None
    }
}
