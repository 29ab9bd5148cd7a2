//! The words behind a command.

/// `--name value`, as often as wanted, and `--flag`.
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// None where help was asked for and has been given.
    pub fn read(words: Vec<String>, values: &[&str], flags: &[&str], help: &str) -> Result<Option<Self>, String> {
        let (mut given, mut words) = (Vec::new(), words.into_iter());
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_default();
            if matches!(&*word, "--help" | "-h") {
                print!("{help}");
                return Ok(None);
            }
            let value = if flags.contains(&name) {
                String::new()
            } else if values.contains(&name) {
                words.next().ok_or_else(|| format!("{word} wants a value"))?
            } else {
                return Err(format!("`{word}` is not known\n{help}"));
            };
            given.push((name.to_owned(), value));
        }
        Ok(Some(Self(given)))
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn one<'a>(&'a self, name: &'a str) -> Result<&'a str, String> {
        self.all(name).last().ok_or_else(|| format!("--{name} is missing"))
    }

    pub fn number(&self, name: &str, default: f64) -> Result<f64, String> {
        let Some(text) = self.all(name).last() else { return Ok(default) };
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| format!("--{name} {text}: no number"))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}
