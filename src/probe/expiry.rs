//! Tells when the certificate of a check's target ends. An answer is no worse for it: the certificate is
//! good until then, and whoever renews it reads logs and metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::config::Tls;
use crate::health::Check;
use crate::serve;

/// From one warning to the next.
const DAY: Duration = Duration::from_secs(86_400);

/// Of one check.
pub(super) struct Expiry {
    probe: String,
    endpoint: String,
    target: String,
    within: SignedDuration,
    warned: Mutex<Option<Instant>>,
}

impl Expiry {
    pub(super) fn new(check: &Check, tls: &Tls) -> Self {
        Self {
            probe: check.probe.name.to_string(),
            endpoint: check.endpoint.to_string(),
            target: check.target.to_string(),
            within: SignedDuration::try_from(tls.expires_within).unwrap_or(SignedDuration::MAX),
            warned: Mutex::new(None),
        }
    }

    /// Takes in the certificate that the target showed, in DER.
    pub(super) fn observe(&self, certificate: &[u8]) {
        let Some(ends) = serve::ends(certificate) else { return };
        let labels = [("probe", &self.probe), ("endpoint", &self.endpoint), ("target", &self.target)];
        let labels = labels.map(|(key, value)| metrics::Label::new(key, value.clone())).to_vec();
        metrics::gauge!("meridian_probe_certificate_ends_seconds", labels).set(ends.as_second() as f64);
        let left = ends.duration_since(Timestamp::now());
        if self.warns(left, Instant::now()) {
            let Self { probe, endpoint, target, .. } = self;
            tracing::warn!(probe, endpoint, target, %ends, days = left.as_hours() / 24, "certificate ends soon");
        }
    }

    /// Is it time for a word?
    fn warns(&self, left: SignedDuration, now: Instant) -> bool {
        if left >= self.within {
            return false;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|last| now.duration_since(last) >= DAY);
        if due {
            *warned = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_day() {
        let text = || "x".to_owned();
        let within = SignedDuration::from_hours(48);
        let expiry = Expiry { probe: text(), endpoint: text(), target: text(), within, warned: Mutex::new(None) };
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        assert!(!expiry.warns(within, now));
        let soon = SignedDuration::from_hours(47);
        let told = [0, 1, 23, 24, 25, 48].map(|hours| expiry.warns(soon, now + hours * hour));
        assert_eq!(told, [true, false, false, true, false, true]);
    }
}
