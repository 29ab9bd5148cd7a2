//! Words that people type: patterns, and what was probably meant.

/// Does `pattern`, where `*` stands for any text, match the whole of `name`?
#[must_use]
pub fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// `did you mean …?`, if one of `candidates` is near enough to be meant.
pub(super) fn did_you_mean<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    closest(found, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The candidate nearest to `found`, if at most a third of it has to change.
#[must_use]
pub fn closest<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LONGEST: usize = 80; // reckoning is quadratic in the length
    if found.len() > LONGEST {
        return None;
    }
    let lower = found.to_lowercase();
    let near = |candidate: &str| strsim::osa_distance(&lower, &candidate.to_lowercase());
    let candidates = candidates.into_iter().filter(|candidate| candidate.len() <= LONGEST).take(10_000);
    let (distance, candidate) = candidates.map(|candidate| (near(candidate), candidate)).min()?;
    (distance <= (found.chars().count() / 3).max(1)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name) in
            [("a", "a"), ("*", "a"), ("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*b*c", "a-b-b-c"), ("a**c", "ac")]
        {
            assert!(glob(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a", ""), ("a*", "ba"), ("*a", "ab"), ("a*a", "a"), ("a*b*c", "acb")] {
            assert!(!glob(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_was_meant() {
        assert_eq!(did_you_mean("intervall", ["interval", "timeout"]).unwrap(), "did you mean `interval`?");
        assert_eq!(closest("TTL", ["tie", "ttl"]), Some("ttl"));
        assert_eq!(closest("colour", ["interval", "timeout"]), None);
        assert_eq!(closest("x", []), None);
    }
}
