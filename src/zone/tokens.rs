//! Master-file text → entries of tokens (RFC 1035 §5.1): white space, comments, quotes, parentheses.
//!
//! An error costs one entry: reading goes on at the next line (in open parentheses at the next line
//! that begins with neither blank nor parenthesis, since that is where the next record must be).

use std::ops::Range;

/// A line of a master file, or several joined by parentheses.
pub(super) struct Entry<'t, 'a> {
    pub(super) tokens: &'t [Token<'a>],
    /// It begins with white space: its owner is the last one.
    pub(super) indented: bool,
}

/// A word or quoted string, its escapes not undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// Without the quotes.
    pub(super) raw: &'a [u8],
    pub(super) quoted: bool,
    /// Is something between the token before and this one? (`alpn="h2"` is two tokens, the second
    /// not apart.)
    pub(super) apart: bool,
    /// Octets of the file, quotes included.
    pub(super) span: Range<usize>,
}

/// What is wrong with a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: String,
    pub(super) span: Range<usize>,
}

impl Fault {
    pub(super) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>, help: &str) -> Self {
        Self { code, message: message.into(), help: help.to_owned(), span }
    }
}

impl Token<'_> {
    /// Is it that word, unquoted, whatever its case?
    pub(super) fn is(&self, word: &str) -> bool {
        !self.quoted && self.raw.eq_ignore_ascii_case(word.as_bytes())
    }

    /// For messages: what stands there, at most 60 octets of it.
    pub(super) fn say(&self) -> String {
        let shown = &self.raw[..self.raw.len().min(60)];
        format!("'{}{}'", String::from_utf8_lossy(shown), if shown.len() < self.raw.len() { "…" } else { "" })
    }
}

/// Walks over the entries of a text.
pub(super) struct Entries<'a> {
    text: &'a [u8],
    at: usize,
    /// Of the octet at `at`, from 1.
    line: u32,
    line_start: usize,
    /// Where the entry being read begins: line and its first octet.
    begun: (u32, usize),
}

impl<'a> Entries<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, begun: (1, 0) }
    }

    /// The line of the last entry or fault, and that line's first octet.
    pub(super) fn begun(&self) -> (u32, usize) {
        self.begun
    }

    /// The next entry that has tokens, which come into `tokens`; none at the end.
    pub(super) fn next<'t>(&mut self, tokens: &'t mut Vec<Token<'a>>) -> Option<Result<Entry<'t, 'a>, Fault>> {
        while self.at < self.text.len() {
            self.begun = (self.line, self.line_start);
            let indented = matches!(self.text[self.at], b' ' | b'\t');
            tokens.clear();
            match self.tokens(tokens) {
                Ok(()) if tokens.is_empty() => {}
                Ok(()) => return Some(Ok(Entry { tokens, indented })),
                Err(fault) => return Some(Err(fault)),
            }
        }
        None
    }

    /// The tokens up to the end of the entry, which is passed over.
    fn tokens(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<(), Fault> {
        let mut opened = Vec::new();
        let mut apart = true;
        while let Some(&octet) = self.text.get(self.at) {
            let here = self.at..self.at + 1;
            match octet {
                b'\n' => {
                    self.next_line();
                    if opened.is_empty() {
                        return Ok(());
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.skip_to_line_end(),
                b'(' => {
                    opened.push(self.at);
                    self.at += 1;
                }
                b')' => {
                    if opened.pop().is_none() {
                        let help = "remove it, or open it before";
                        return Err(self.give_up(false, "unopened-paren", here, "')' without '('", help));
                    }
                    self.at += 1;
                }
                _ => {
                    let token = if octet == b'"' { self.quoted() } else { self.word() };
                    let token = token.map_err(|(code, span, message, help)| {
                        self.give_up(!opened.is_empty(), code, span, message, help)
                    })?;
                    tokens.push(Token { apart, ..token });
                    apart = false;
                    continue;
                }
            }
            apart = true;
        }
        match opened.first() {
            None => Ok(()),
            Some(&at) => {
                (self.line, self.line_start) = self.begun;
                self.at = at;
                Err(self.give_up(true, "unclosed-paren", at..at + 1, "'(' is never closed", "close it with ')'"))
            }
        }
    }

    fn word(&mut self) -> Result<Token<'a>, Broken> {
        let start = self.at;
        while let Some(&octet) = self.text.get(self.at) {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                _ => self.pass(octet)?,
            }
        }
        let span = start..self.at;
        Ok(Token { raw: &self.text[span.clone()], quoted: false, apart: false, span })
    }

    fn quoted(&mut self) -> Result<Token<'a>, Broken> {
        let start = self.at;
        self.at += 1;
        while let Some(&octet) = self.text.get(self.at) {
            match octet {
                b'"' => {
                    self.at += 1;
                    let span = start..self.at;
                    return Ok(Token { raw: &self.text[start + 1..self.at - 1], quoted: true, apart: false, span });
                }
                b'\n' => break,
                b'\t' => self.at += 1,
                _ => self.pass(octet)?,
            }
        }
        let message = "a quoted string does not end on its line";
        Err(("unclosed-quote", start..start + 1, message, "close it with '\"'; a long text may be several strings"))
    }

    /// Passes over one octet of a token, or a backslash and the octet behind it.
    fn pass(&mut self, octet: u8) -> Result<(), Broken> {
        let escaped = self.text.get(self.at + 1).is_some_and(|next| !next.is_ascii_control());
        if octet.is_ascii_control() || (octet == b'\\' && !escaped) {
            let message = "a control character, or a backslash with nothing behind it";
            return Err(("control-character", self.at..self.at + 1, message, "remove it, or write it as \\DDD"));
        }
        self.at += if octet == b'\\' { 2 } else { 1 };
        Ok(())
    }

    fn next_line(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    fn skip_to_line_end(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|&octet| octet == b'\n').unwrap_or(rest.len());
    }

    /// The fault, with reading set to where the next entry begins.
    fn give_up(&mut self, in_parens: bool, code: &'static str, at: Range<usize>, message: &str, help: &str) -> Fault {
        while self.at < self.text.len() {
            self.skip_to_line_end();
            if self.at < self.text.len() {
                self.next_line();
            }
            let blank = matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n' | b')' | b'(' | b';'));
            if !(in_parens && blank) {
                break;
            }
        }
        Fault::new(code, at, message, help)
    }
}

/// A fault before reading is set behind it: code, place, message, help.
type Broken = (&'static str, Range<usize>, &'static str, &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of each entry joined by `|`, an indented one behind `>`; faults by code and place.
    fn read(text: &str) -> Vec<String> {
        let mut entries = Entries::new(text.as_bytes());
        let (mut tokens, mut seen) = (Vec::new(), Vec::new());
        while let Some(entry) = entries.next(&mut tokens) {
            seen.push(match entry {
                Ok(entry) => {
                    let tokens: Vec<_> = entry.tokens.iter().map(|token| str::from_utf8(token.raw).unwrap()).collect();
                    format!("{}{}{}", entries.begun().0, if entry.indented { ">" } else { ":" }, tokens.join("|"))
                }
                Err(fault) => format!("{}!{} {:?}", entries.begun().0, fault.code, fault.span),
            });
        }
        seen
    }

    #[test]
    fn entries_and_tokens() {
        assert_eq!(read("a A 1 ; c\r\n\n\tB \"x ; (\\\" y\"z"), ["1:a|A|1", "3>B|x ; (\\\" y|z"]);
        assert_eq!(read("a SOA ( 1 ; one\n 2 ) 3\nb"), ["1:a|SOA|1|2|3", "3:b"]);
        let text = b"alpn=\"h2\" x";
        let mut tokens = Vec::new();
        let Ok(entry) = Entries::new(text).next(&mut tokens).unwrap() else { panic!() };
        assert_eq!(entry.tokens.iter().map(|token| token.apart).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(&text[entry.tokens[1].span.clone()], b"\"h2\"");
    }

    #[test]
    fn a_fault_costs_one_entry() {
        assert_eq!(read("a )\nb"), ["1!unopened-paren 2..3", "2:b"]);
        assert_eq!(read("a \"b\nc"), ["1!unclosed-quote 2..3", "2:c"]);
        assert_eq!(read("a ( b\n c\n d\ne f\ng"), ["1!unclosed-paren 2..3", "4:e|f", "5:g"]);
        assert_eq!(read("a ( \"b\n c )\ne f"), ["1!unclosed-quote 4..5", "3:e|f"]);
        assert_eq!(read("a \x01\nb\\\nc"), ["1!control-character 2..3", "2!control-character 5..6", "3:c"]);
        assert_eq!(read("("), ["1!unclosed-paren 0..1"]);
    }
}
