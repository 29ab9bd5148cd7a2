//! Just enough of a DNS reader to compare replies.

/// What is compared.
pub struct Reply {
    pub rcode: u8,
    /// Records in the answer section.
    pub answers: u16,
    /// Of its A records, sorted.
    pub addresses: Vec<[u8; 4]>,
    /// The scope of the client subnet option, if there is one.
    pub scope: Option<u8>,
}

const A: u16 = 1;
const OPT: u16 = 41;
const CLIENT_SUBNET: u16 = 8;

impl Reply {
    /// None for what is no well-formed response.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let count = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let flags = count(2)?;
        let [questions, answers, authorities, additionals] = [count(4)?, count(6)?, count(8)?, count(10)?];
        if flags & 0x8000 == 0 {
            return None;
        }
        let mut reply = Self { rcode: (flags & 15) as u8, answers, addresses: Vec::new(), scope: None };
        let mut at = 12;
        for _ in 0..questions {
            at = after_name(bytes, at)? + 4;
        }
        for index in 0..u32::from(answers) + u32::from(authorities) + u32::from(additionals) {
            let fixed = after_name(bytes, at)?;
            let (rtype, length) = (count(fixed)?, usize::from(count(fixed + 8)?));
            let data = bytes.get(fixed + 10..fixed + 10 + length)?;
            match rtype {
                A if index < u32::from(answers) => reply.addresses.push(data.try_into().ok()?),
                OPT => reply.scope = scope(data),
                _ => {}
            }
            at = fixed + 10 + length;
        }
        reply.addresses.sort_unstable();
        Some(reply)
    }
}

fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn scope(mut options: &[u8]) -> Option<u8> {
    while let [code_high, code_low, length_high, length_low, rest @ ..] = options {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([*code_high, *code_low]) == CLIENT_SUBNET {
            return value.get(3).copied();
        }
        options = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        bytes.extend(b"\x03www\x05bench\x07example\0\0\x01\0\x01");
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 20, 0, 4, 192, 0, 2, 1]);
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 21, 1, 2, 3]);
        bytes
    }

    #[test]
    fn addresses_and_scope_are_found() {
        let read = Reply::parse(&reply()).unwrap();
        assert_eq!((read.rcode, read.answers, read.scope), (0, 1, Some(21)));
        assert_eq!(read.addresses, [[192, 0, 2, 1]]);
    }

    #[test]
    fn cut_replies_and_queries_are_none() {
        let (whole, mut query) = (reply(), reply());
        query[2] = 0;
        assert!(Reply::parse(&query).is_none());
        assert!((0..whole.len()).all(|length| Reply::parse(&whole[..length]).is_none()));
    }
}
