//! What a probe found.

use std::fmt;
use std::time::Duration;

/// What one run of a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered as it should.
    Success {
        /// From the start of the connection to the last octet that was needed.
        rtt: Duration,
    },
    /// It answered, and what it says of itself is not good.
    Degraded {
        /// As of a success.
        rtt: Duration,
        /// What it says, in words for operators.
        why: String,
    },
    /// Nothing is known of the target: what should tell of it does not (BEHAVIOUR rule 15).
    Missing {
        /// What does not, and how.
        why: String,
    },
    /// It limits our probes (429, 403): that tells nothing of how it serves others (rule 15).
    Limited {
        /// The status.
        status: u16,
    },
    /// No answer yet, for longer than its answers take: nothing is known, but it may be lost (rule 12).
    Silent,
    /// Nothing is known of the target: a timer of ours fired so late that the run was discarded (rule 16).
    Late,
    /// It did not, but a probe that began later succeeded before this was known: it counts, and does not decide.
    Overtaken {
        /// Why it failed.
        cause: Cause,
    },
    /// It did not.
    Failure {
        /// Why.
        cause: Cause,
    },
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens: the connection was refused.
    Refused,
    /// The other side broke the connection.
    Reset,
    /// No whole answer within this time.
    Timeout(Duration),
    /// No way to the address from here.
    Unreachable,
    /// The address is loopback, private or link-local, and the probe does not say `allow_private`.
    Private,
    /// No secure connection, or the certificate is not good: why.
    Tls(String),
    /// A status that is not among the good ones.
    Status(u16),
    /// The body's beginning lacks the text asked for.
    Body,
    /// What is measured of it is beyond its bound: the figure and the bound.
    Figure(String),
    /// Another program says that it is down: why.
    Told(String),
    /// No sense in what came, or another error: which.
    Protocol(String),
}

impl Outcome {
    /// Did it answer as it should?
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success { .. })
    }

    /// How long it took where it answered.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Success { rtt } | Self::Degraded { rtt, .. } => Some(*rtt),
            Self::Missing { .. }
            | Self::Limited { .. }
            | Self::Silent
            | Self::Late
            | Self::Overtaken { .. }
            | Self::Failure { .. } => None,
        }
    }

    /// One word of a small set, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Success { .. } => "success",
            Self::Degraded { .. } => "degraded",
            Self::Missing { .. } => "missing",
            Self::Limited { .. } => "limited",
            Self::Silent => "silent",
            Self::Late => "late",
            Self::Failure { cause } | Self::Overtaken { cause } => cause.kind(),
        }
    }
}

impl Cause {
    /// One word of a small set, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout(_) => "timeout",
            Self::Unreachable => "unreachable",
            Self::Private => "private",
            Self::Tls(_) => "tls",
            Self::Status(_) => "status",
            Self::Body => "body",
            Self::Figure(_) => "figure",
            Self::Told(_) => "told",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// In words for operators.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success { .. } => f.write_str("success"),
            Self::Degraded { why, .. } | Self::Missing { why } => f.write_str(why),
            Self::Silent => f.write_str("no answer yet"),
            Self::Late => f.write_str("our own timer fired late"),
            Self::Limited { status } => write!(f, "status {status}: it limits our probes"),
            Self::Failure { cause } | Self::Overtaken { cause } => cause.fmt(f),
        }
    }
}

/// In words for operators.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Timeout(after) => write!(f, "no whole answer within {after:?}"),
            Self::Unreachable => f.write_str("unreachable from here"),
            Self::Private => f.write_str("the target is a private address and the probe lacks allow_private = true"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Body => f.write_str("the body lacks the expected text"),
            Self::Figure(why) | Self::Told(why) | Self::Protocol(why) => f.write_str(why),
        }
    }
}
