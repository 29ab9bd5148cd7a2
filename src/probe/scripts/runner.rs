//! One check by a script.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::asking::NotRun;
use super::{Ended, Scripts};
use crate::config::Script;
use crate::health::{Cause, Check};
use crate::probe::attempt::{Attempt, Failed, Found, Unfit};

/// Runs a script and judges its end.
pub(in crate::probe) struct ScriptRunner {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    timeout: Duration,
    scripts: Scripts,
    /// So many of its runs are not over.
    under_way: AtomicUsize,
    /// So many tell all that is asked.
    enough: usize,
}

impl ScriptRunner {
    /// # Errors
    /// There is nobody who could start it.
    pub(in crate::probe) fn new(check: &Check, script: &Script, scripts: Option<&Scripts>) -> Result<Self, Unfit> {
        let unready = "no script can be started, since there was none at the start: restart needed";
        let scripts = scripts.cloned().ok_or_else(|| Unfit::Unready(unready.to_owned()))?;
        let environment = [
            ("MERIDIAN_ENDPOINT", check.endpoint.to_string()),
            ("MERIDIAN_TARGET", check.target.to_string()),
            ("MERIDIAN_CLOUD", check.cloud.to_string()),
            ("MERIDIAN_REGION", check.region.to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let (command, timeout) = (script.command.clone(), check.probe.timeout);
        let enough = check.probe.down_after as usize;
        Ok(Self { command, environment, timeout, scripts, under_way: AtomicUsize::new(0), enough })
    }
}

impl Attempt for ScriptRunner {
    async fn attempt(&self) -> Result<Found, Failed> {
        let others = self.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&self.under_way);
        if others >= self.enough {
            return Err(Failed::Crowded);
        }
        match self.scripts.run(&self.command, &self.environment, self.timeout, others > 0).await {
            Ok(ended) => judge(ended, &self.command[0], self.timeout),
            Err(NotRun::Gone) => {
                Ok(Found::Missing("the process that starts scripts is gone: restart needed".to_owned()))
            }
            // Says nothing of the target.
            Err(NotRun::NoTurn) if others > 0 => Err(Failed::Crowded),
            Err(NotRun::NoTurn) => Err(Failed::Here("too many scripts run already".to_owned())),
        }
    }
}

/// A run, until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn judge(ended: Ended, program: &str, limit: Duration) -> Result<Found, Failed> {
    let or = |said: String, otherwise: String| if said.is_empty() { otherwise } else { said };
    match ended {
        Ended::Exit { code: 0, .. } => Ok(Found::Good),
        Ended::Exit { code: 1, said } => Ok(Found::Degraded(or(said, format!("{program} ends with status 1")))),
        Ended::Exit { code, said } => {
            Err(Failed::There(Cause::Told(or(said, format!("{program} ends with status {code}")))))
        }
        Ended::Signal { number, said } => {
            Err(Failed::There(Cause::Told(or(said, format!("{program} is ended by signal {number}")))))
        }
        Ended::Late => Err(Failed::There(Cause::Timeout(limit))),
        // EAGAIN, ENOMEM, ENFILE, EMFILE: this machine is out of something.
        Ended::NotStarted { code: Some(11 | 12 | 23 | 24), why } => Err(Failed::Here(why)),
        // The instrument is at fault, and not the target.
        Ended::NotStarted { why, .. } => Ok(Found::Missing(format!("{program} cannot be started: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_decides_and_the_first_line_says_why() {
        let judge = |ended| judge(ended, "/x", Duration::from_secs(1));
        let exit = |code, said: &str| judge(Ended::Exit { code, said: said.to_owned() });
        let told = |why: &str| Err(Failed::There(Cause::Told(why.to_owned())));
        assert_eq!((exit(0, ""), exit(0, "all is well")), (Ok(Found::Good), Ok(Found::Good)));
        assert_eq!(exit(1, "two of three"), Ok(Found::Degraded("two of three".to_owned())));
        assert_eq!(exit(1, ""), Ok(Found::Degraded("/x ends with status 1".to_owned())));
        assert_eq!((exit(2, "no stock"), exit(255, "")), (told("no stock"), told("/x ends with status 255")));
        assert_eq!(judge(Ended::Signal { number: 11, said: String::new() }), told("/x is ended by signal 11"));
        assert_eq!(judge(Ended::Late), Err(Failed::There(Cause::Timeout(Duration::from_secs(1)))));
        let not_started = |code| judge(Ended::NotStarted { code, why: "why".to_owned() });
        assert_eq!(not_started(Some(2)), Ok(Found::Missing("/x cannot be started: why".to_owned())));
        assert_eq!(not_started(Some(24)), Err(Failed::Here("why".to_owned())));
    }
}
