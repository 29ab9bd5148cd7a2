//! Single values as text: durations, prefixes, socket addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// Units of durations, largest first, in ms.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// How a duration is written.
pub(super) const DURATION_FORM: &str = "a whole number with its unit: `ms`, `s`, `m`, `h` or `d`, as in \"250ms\"";

/// The duration in `text`: a whole number (underscores allowed) and its unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (digits, unit) = text.split_at(digits_end);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.replace('_', "").parse().ok()?;
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*ms)?))
}

/// As the configuration writes it, in the largest unit that leaves no rest.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, unit) = UNITS.iter().find(|(_, unit)| ms >= *unit && ms % unit == 0).unwrap_or(&("s", 1000));
    format!("{}{name}", ms / unit)
}

/// Why text is no prefix.
#[derive(Debug, PartialEq)]
pub(super) enum NotPrefix {
    /// It has bits set behind its length; this is the prefix without them.
    HostBits(IpNet),
    /// It is an address without a length; this is the prefix of it alone.
    NoLength(IpNet),
    /// It is something else.
    Other,
}

/// The prefix in `text`: no bit set behind its length, IPv4 as IPv4.
pub(super) fn prefix(text: &str) -> Result<IpNet, NotPrefix> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(NotPrefix::NoLength(address.into()));
    }
    let net: IpNet = text.parse().map_err(|_| NotPrefix::Other)?;
    if net.trunc() == net { Ok(net) } else { Err(NotPrefix::HostBits(net.trunc())) }
}

/// `ADDRESS:PORT`, or an address alone where `default_port` says which port that means. Port 0 only with
/// `any_port`: the system's choice.
pub(super) fn socket(text: &str, default_port: Option<u16>, any_port: bool) -> Option<SocketAddr> {
    let socket = match text.parse() {
        Ok(socket) => socket,
        Err(_) => SocketAddr::new(text.parse().ok()?, default_port?),
    };
    (any_port || socket.port() != 0).then_some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("250ms", 250), ("2s", 2000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("1_000ms"), Some(Duration::from_secs(1)));
        for text in ["", "5", "s", "5 s", "5sec", "-5s", "1.5s", "_5s", "99999999999999999999s", "9999999999999999999d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["250ms", "2s", "5m", "36h", "7d", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn prefixes_and_sockets() {
        assert_eq!(prefix("198.51.100.0/24"), Ok("198.51.100.0/24".parse().unwrap()));
        assert_eq!(prefix("198.51.100.7/24"), Err(NotPrefix::HostBits("198.51.100.0/24".parse().unwrap())));
        assert_eq!(prefix("2001:db8::1"), Err(NotPrefix::NoLength("2001:db8::1/128".parse().unwrap())));
        assert_eq!(prefix("198.51.100.0/33"), Err(NotPrefix::Other));
        assert_eq!(socket("[::1]:5300", None, false), "[::1]:5300".parse().ok());
        assert_eq!(socket("192.0.2.1", Some(53), false), "192.0.2.1:53".parse().ok());
        assert_eq!(socket("192.0.2.1", None, false), None);
        assert_eq!(socket("192.0.2.1:0", None, false), None);
        assert_eq!(socket("127.0.0.1:0", None, true), "127.0.0.1:0".parse().ok());
    }
}
