//! Finds one figure in what an exporter tells: Prometheus text, read line by line as it comes, or JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config::Sample;

/// No line of text may be longer.
const MAX_LINE: usize = 64 * 1024;
/// A sample that says that it is older is stale, as for Prometheus itself.
const STALE_MS: f64 = 300_000.0;

/// A search in text that comes in pieces.
pub(super) struct TextSearch<'w> {
    wanted: &'w Sample,
    /// Unix time.
    now_ms: f64,
    line: Vec<u8>,
    largest: Option<f64>,
    /// Why one that matches has no figure.
    why: &'static str,
}

impl<'w> TextSearch<'w> {
    pub(super) fn new(wanted: &'w Sample, now_ms: f64) -> Self {
        Self { wanted, now_ms, line: Vec::new(), largest: None, why: "is not there" }
    }

    /// # Errors
    /// It is no text that anybody writes.
    pub(super) fn observe(&mut self, mut chunk: &[u8]) -> Result<(), String> {
        while let Some(end) = chunk.iter().position(|&octet| octet == b'\n') {
            self.extend(&chunk[..end])?;
            self.end_line();
            chunk = &chunk[end + 1..];
        }
        self.extend(chunk)
    }

    /// The largest figure of those that match.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn finish(mut self) -> Result<f64, String> {
        self.end_line();
        self.largest.ok_or_else(|| format!("{} {}", self.wanted.name, self.why))
    }

    fn extend(&mut self, piece: &[u8]) -> Result<(), String> {
        if self.line.len() + piece.len() > MAX_LINE {
            return Err("a line is over 64 KiB".to_owned());
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match self.figure(&line) {
            Some(Ok(figure)) => self.largest = Some(self.largest.map_or(figure, |largest| largest.max(figure))),
            Some(Err(why)) => self.why = why,
            None => {}
        }
        self.line = line;
        self.line.clear();
    }

    /// None: the line is of another sample, or of none.
    fn figure(&self, line: &[u8]) -> Option<Result<f64, &'static str>> {
        let line = str::from_utf8(line).ok()?.trim_start();
        if !line.starts_with(&self.wanted.name) {
            return None;
        }
        let (sample, rest) = Sample::begin(line)?;
        if !sample.matches(self.wanted) {
            return None;
        }
        let mut words = rest.split_whitespace();
        let figure: f64 = words.next()?.parse().ok()?;
        // Prometheus writes milliseconds, OpenMetrics seconds, mostly with a fraction.
        let time = words.next().filter(|word| !word.starts_with('#'));
        let time = time.and_then(|word| Some((word.contains('.'), word.parse::<f64>().ok()?)));
        let stale = time.is_some_and(|(seconds, time)| {
            let ms = if seconds || time < 1e11 { time * 1000.0 } else { time };
            self.now_ms - ms > STALE_MS
        });
        Some(match figure {
            _ if stale => Err("is stale"),
            figure if figure.is_nan() => Err("is NaN"),
            figure => Ok(figure),
        })
    }
}

/// The number at that place; also one in quotes, as Prometheus' own API writes them.
///
/// # Errors
/// Why there is none.
pub(super) fn in_json(body: &[u8], path: &[String]) -> Result<f64, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Place(path).deserialize(&mut reader).and_then(|found| reader.end().map(|()| found));
    let figure = found.map_err(|error| format!("it is no JSON: {error}"))?;
    figure.filter(|figure| !figure.is_nan()).ok_or_else(|| format!("no number is at /{}", path.join("/")))
}

/// Walks to a place and keeps nothing else.
struct Place<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Place<'_> {
    fn here(&self, figure: f64) -> Option<f64> {
        self.0.is_empty().then_some(figure)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((first, rest)) if *first == key => found = map.next_value_seed(Place(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.split_first().and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
        let (mut found, mut index) = (None, 0);
        loop {
            let more = match wanted {
                Some((at, rest)) if at == index => list.next_element_seed(Place(rest))?.map(|figure| found = figure),
                _ => list.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_f64<E>(self, figure: f64) -> Result<Self::Value, E> {
        Ok(self.here(figure))
    }

    fn visit_i64<E>(self, figure: i64) -> Result<Self::Value, E> {
        Ok(self.here(figure as f64))
    }

    fn visit_u64<E>(self, figure: u64) -> Result<Self::Value, E> {
        Ok(self.here(figure as f64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.parse().ok().and_then(|figure| self.here(figure)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_text(text: &str, wanted: &str) -> Result<f64, String> {
        let (wanted, _) = Sample::begin(wanted).unwrap();
        let mut found = Vec::new();
        for cut in [0, text.len() / 3, text.len() / 2] {
            let mut search = TextSearch::new(&wanted, 1_000_000_000_000.0);
            let (first, second) = text.as_bytes().split_at(cut);
            found.push(search.observe(first).and_then(|()| search.observe(second)).and_then(|()| search.finish()));
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        found.remove(0)
    }

    #[test]
    fn the_largest_that_matches_counts() {
        let text = "# HELP lag x\nlag{group=\"a\",p=\"0\"} 4\nlag{group=\"a\",p=\"1\"} 1.2e1 999999999999\n\
                    lag{group=\"b\"} 99\nlag_max 100\nlag{group=\"a\",p=\"2\"} NaN\nlag{group=\"c\"} +Inf";
        assert_eq!(in_text(text, "lag{group=\"a\"}"), Ok(12.0));
        assert_eq!(in_text(text, "lag{p=\"0\",group=\"a\"}"), Ok(4.0));
        assert_eq!(in_text(text, "lag"), Ok(f64::INFINITY));
        assert_eq!(in_text(text, "lag{p=\"2\"}"), Err("lag is NaN".to_owned()));
        assert_eq!(in_text(text, "la"), Err("la is not there".to_owned()));
        assert_eq!(in_text("lag 1 900000000000\n", "lag"), Err("lag is stale".to_owned()));
        assert_eq!(in_text("lag 1 999999999.5\n", "lag"), Ok(1.0));
        assert_eq!(in_text(&"x".repeat(MAX_LINE + 1), "lag"), Err("a line is over 64 KiB".to_owned()));
    }

    #[test]
    fn pointers_lead_to_numbers() {
        let at = |path: &str| {
            let path: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
            in_json(br#"{"a": {"b": [1, {"c": -2.5}, "7", true, null]}, "": 3, "x": "NaN"}"#, &path)
        };
        assert_eq!((at("/a/b/0"), at("/a/b/1/c"), at("/a/b/2"), at("/")), (Ok(1.0), Ok(-2.5), Ok(7.0), Ok(3.0)));
        for nothing in ["/a", "/a/b", "/a/b/3", "/a/b/4", "/a/b/5", "/a/b/0/0", "/x", "/a/b/-"] {
            assert!(at(nothing).unwrap_err().contains("no number"), "{nothing}");
        }
        for bad in ["", "{", "{}x", "[1,", &"[".repeat(100_000)] {
            assert!(in_json(bad.as_bytes(), &["0".to_owned()]).is_err());
        }
    }
}
