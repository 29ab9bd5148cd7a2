//! Any octets, as wire form and as text: a name that is read is what a second reader reads, and what is
//! written of it is read again as the same.

use meridian::model::{Name, NameError};
use meridian::wire::name_length;

/// Reads it both ways.
pub(crate) fn run(input: &[u8]) {
    let read = Name::from_wire(input);
    match labels(input) {
        Some(labels) => {
            let name = read.expect("a second reader reads it");
            assert!(name.labels().eq(labels.iter().map(Vec::as_slice)));
            assert_eq!(name_length(input), Some(input.len()));
            is_itself(&name);
        }
        None => assert!(read.is_err(), "{read:?}"),
    }
    // A name at the start of a message, whatever follows it.
    if let Some(length) = name_length(input) {
        assert!(Name::from_wire(&input[..length]).is_ok());
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(name) = text.parse::<Name>()
    {
        is_itself(&name);
        // The dot at the end may be left out.
        let undotted = text.strip_suffix('.').unwrap_or(text);
        let escapes = undotted.bytes().rev().take_while(|octet| *octet == b'\\').count();
        let is_dotted = undotted != text && escapes % 2 == 0;
        let other = if is_dotted { undotted.to_owned() } else { format!("{text}.") };
        assert_eq!(if other.is_empty() { Ok(Name::root()) } else { other.parse() }, Ok(name), "{text:?}");
    }
}

/// The labels of a whole uncompressed name, lower-cased; none: it is none.
fn labels(input: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut labels = Vec::new();
    let mut left = input.iter();
    loop {
        match usize::from(*left.next()?) {
            0 => break,
            length @ 1..=63 => {
                let label: Vec<u8> = left.by_ref().take(length).map(u8::to_ascii_lowercase).collect();
                if label.len() < length {
                    return None;
                }
                labels.push(label);
            }
            _ => return None,
        }
    }
    (left.next().is_none() && input.len() <= 255).then_some(labels)
}

fn is_itself(name: &Name) {
    assert_eq!(Name::from_wire(name.as_wire()).as_ref(), Ok(name));
    assert_eq!(name.to_string().parse::<Name>().as_ref(), Ok(name), "{name}");
    assert!(name.is_at_or_below(name) && name.is_at_or_below(&Name::root()));
    let mut above = name.parent();
    let mut labels = name.labels().count();
    while let Some(parent) = above {
        labels -= 1;
        assert!(name.is_at_or_below(&parent) && !parent.is_at_or_below(name));
        assert_eq!(parent.labels().count(), labels);
        above = parent.parent();
    }
    assert_eq!(labels, 0);
    let longer = [&[1, b'x'][..], name.as_wire()].concat();
    assert_eq!(Name::from_wire(&longer).err(), (longer.len() > 255).then_some(NameError::LongName));
}
