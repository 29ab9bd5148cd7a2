//! When files that changed are read: once they have lain still for `settle` (BEHAVIOUR rule 25).

use std::time::Duration;

use tokio::time::Instant;

use super::files::Sight;

/// Knows how the set looked last, and when it is to be read again. Only changes of its looks count:
/// a watched folder may hold a log that is written to all the time.
#[derive(Debug)]
pub(super) struct Settling {
    looks: Sight,
    due: Option<Instant>,
    /// The operator asked for it: no change puts it off.
    hurried: bool,
}

impl Settling {
    /// The set was read when it looked so.
    pub(super) fn new(looks: Sight) -> Self {
        Self { looks, due: None, hurried: false }
    }

    /// How the set looked last.
    pub(super) fn looks(&self) -> &Sight {
        &self.looks
    }

    /// When to read the set; none: it has not changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The set looks so now. If that is new, it is read `settle` from now.
    pub(super) fn observe(&mut self, now: Instant, looks: Sight, settle: Duration) {
        if looks != self.looks {
            self.looks = looks;
            self.wait_until(now + settle);
        }
    }

    /// It is to be read then, changed or not, unless a change puts it off.
    pub(super) fn wait_until(&mut self, at: Instant) {
        if !self.hurried {
            self.due = Some(at);
        }
    }

    /// It is to be read now, changed or not. A look at the set may be on its way that began before.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.due, self.hurried) = (Some(now), true);
    }

    /// Reading begins; what changes from now on is for the next time.
    pub(super) fn begin(&mut self) {
        (self.due, self.hurried) = (None, false);
    }

    /// It was read when it looked so. A reading that has become due meanwhile still is.
    pub(super) fn read(&mut self, looks: Sight) {
        self.looks = looks;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::control::DiskFiles;
    use crate::model::Files as _;

    const SETTLE: Duration = Duration::from_millis(500);

    #[test]
    fn only_the_sets_own_changes_put_its_reading_off() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("config.toml"), folder.path().join("query.log"));
        fs::write(&ours, "1").unwrap();
        let mut files = DiskFiles::default();
        files.read(&ours).unwrap();
        let mut settling = Settling::new(files.sight());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let look = |settling: &mut Settling, ms| {
            let looks = settling.looks().again();
            settling.observe(at(ms), looks, SETTLE);
            settling.due()
        };
        assert_eq!(look(&mut settling, 0), None);
        fs::write(&ours, "22").unwrap();
        assert_eq!(look(&mut settling, 10), Some(at(510)));
        fs::write(&other, "busy").unwrap();
        assert_eq!(look(&mut settling, 300), Some(at(510)), "a log beside it puts nothing off");
        fs::write(&ours, "333").unwrap();
        assert_eq!(look(&mut settling, 400), Some(at(900)), "two writes within settle are read once");
        fs::remove_file(&ours).unwrap();
        assert_eq!(look(&mut settling, 500), Some(at(1000)), "gone is changed");

        settling.begin();
        assert_eq!(look(&mut settling, 1001), None);
        fs::write(&ours, "4444").unwrap();
        assert_eq!(look(&mut settling, 1002), Some(at(1502)));
        settling.read(files.sight().again());
        assert_eq!((settling.due(), look(&mut settling, 1100)), (Some(at(1502)), Some(at(1502))));
        settling.hurry(at(1200));
        assert_eq!(settling.due(), Some(at(1200)), "SIGHUP waits for nothing");
        fs::write(&ours, "55555").unwrap();
        assert_eq!(look(&mut settling, 1201), Some(at(1200)), "nor does a change seen behind it put it off");
        settling.wait_until(at(1700));
        assert_eq!(settling.due(), Some(at(1200)), "nor does a set that changed while it was read");
        settling.begin();
        fs::write(&ours, "666666").unwrap();
        assert_eq!(look(&mut settling, 1300), Some(at(1800)), "until it was read");
    }
}
