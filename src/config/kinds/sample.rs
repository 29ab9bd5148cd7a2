//! The name of a sample, as Prometheus writes it: `name{label="value"}`.

/// A name and labels. As what is looked for, others' labels do not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `kafka_consumer_lag_seconds`
    pub name: String,
    /// Each with its value.
    pub labels: Vec<(String, String)>,
}

impl Sample {
    /// The one at the beginning of a text, and what follows it.
    #[must_use]
    pub fn begin(text: &str) -> Option<(Self, &str)> {
        let (name, mut rest) = word(text)?;
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (label, after) = word(rest)?;
                let (value, after) = quoted(after.trim_start().strip_prefix('=')?.trim_start())?;
                labels.push((label.to_owned(), value));
                rest = after.trim_start();
                match rest.strip_prefix(',') {
                    Some(more) => rest = more.trim_start(),
                    None if rest.starts_with('}') => {}
                    None => return None,
                }
            }
            rest = &rest[1..];
        }
        Some((Self { name: name.to_owned(), labels }, rest))
    }

    /// Has it this name and all these labels?
    #[must_use]
    pub fn matches(&self, wanted: &Self) -> bool {
        self.name == wanted.name && wanted.labels.iter().all(|label| self.labels.contains(label))
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let first = word.bytes().next()?;
    (!first.is_ascii_digit()).then_some((word, rest))
}

/// A text in quotes with its three escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in inside.char_indices() {
        match c {
            'n' if escaped => value.push('\n'),
            '"' | '\\' if escaped => value.push(c),
            _ if escaped => value.extend(['\\', c]),
            '\\' => {}
            '"' => return Some((value, &inside[at + 1..])),
            c => value.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        let begin = |text| Sample::begin(text).map(|(sample, rest)| (sample.name, sample.labels, rest));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(begin("up 1"), Some(("up".to_owned(), vec![], " 1")));
        assert_eq!(begin("a:b{} 1"), Some(("a:b".to_owned(), vec![], " 1")));
        let two = vec![label("x", "}, \"\\\n\\d"), label("y", "")];
        assert_eq!(begin("a{x=\"}, \\\"\\\\\\n\\d\", y = \"\" , }2"), Some(("a".to_owned(), two, "2")));
        for bad in
            ["", "1a", "{}", "a{", "a{x", "a{x=", "a{x=\"", "a{x=\"\\\"}", "a{x=\"1\" y=\"2\"}", "a{x=1}", "a{,}"]
        {
            assert_eq!(begin(bad), None, "{bad}");
        }
    }
}
