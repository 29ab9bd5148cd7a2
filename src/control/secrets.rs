//! The file of DNS cookie secrets that nodes share (RFC 9018 §5).
//!
//! ```text
//! # ours since Monday
//! e5e973e5a6b2a43f48e7dc849e37bfcf
//! # the one before, until all cookies of it are an hour old
//! dd3bdf9344b678b185a6f5cb60fca715
//! ```
//! Neither a secret nor a piece of the file is ever said.

use std::path::Path;

use crate::model::{CookieSecrets, Files, Problem};

/// So many do, whatever the rotation.
const MOST: usize = 8;
/// A file that is longer is another one.
const LONGEST: usize = 64 << 10;

/// What the file at `path` says; none: the set at hand has no secrets.
pub(super) fn read(files: &mut dyn Files, path: &Path) -> Result<Option<CookieSecrets>, Problem> {
    let unreadable = |error: std::io::Error| {
        let problem =
            Problem::error("cookie-secrets", path, format!("cannot read the secrets of DNS cookies: {error}"));
        problem.help("write one line of 32 hexadecimal digits, as `openssl rand -hex 16` makes it")
    };
    let Some(content) = files.secret(path).map_err(unreadable)? else { return Ok(None) };
    parse(&content, path).map(Some)
}

/// The secrets in the order of their lines.
pub(super) fn parse(content: &[u8], path: &Path) -> Result<CookieSecrets, Problem> {
    // Without a spot: what stands there would be shown.
    let error = |message: String| {
        let problem = Problem::error("cookie-secrets", path, message);
        problem.help("one secret a line, of 32 hexadecimal digits, as `openssl rand -hex 16` makes it")
    };
    if content.len() > LONGEST {
        return Err(error("it is too long for a file of secrets".to_owned()));
    }
    let mut secrets = Vec::new();
    for (index, line) in content.split(|octet| *octet == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let secret = secret(line).ok_or_else(|| error(format!("line {} is no secret", index + 1)))?;
        if secrets.len() == MOST {
            return Err(error(format!("line {} is one too many: eight secrets do", index + 1)));
        }
        secrets.push(secret);
    }
    if secrets.is_empty() {
        return Err(error("there is no secret in it".to_owned()));
    }
    Ok(CookieSecrets::new(secrets))
}

fn secret(line: &[u8]) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = line.try_into().ok()?;
    let mut secret = [0; 16];
    for (octet, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *octet = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_file_of_secrets() {
        let (one, two) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "DD3BDF9344B678B185A6F5CB60FCA715");
        let path = Path::new("cookies.secrets");
        let good = format!("# first\n{one}\r\n\n  {two}\n");
        assert!(parse(good.as_bytes(), path).is_ok());
        let nine = format!("{one}\n").repeat(9);
        for (text, why) in [
            ("", "there is no secret"),
            ("# none\n", "there is no secret"),
            ("\n\nxyz973e5a6b2a43f48e7dc849e37bfcf\n", "line 3 is no secret"),
            ("e5e973e5\n", "line 1 is no secret"),
            (nine.as_str(), "line 9 is one too many"),
        ] {
            let problem = parse(text.as_bytes(), path).unwrap_err();
            assert!(problem.message.contains(why) && problem.spot.is_none(), "{problem}");
            assert!(!problem.to_string().contains("73e5"), "no secret is said: {problem}");
        }
    }
}
