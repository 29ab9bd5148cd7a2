//! `[events]`: who is told of changes of verdicts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kinds::{Tls, url};
use super::report::At;
use super::settings::path;
use super::table::{Table, Value};

/// `[events] webhook`: where changes of verdicts are posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Of http or https.
    pub url: String,
    /// The file with the key that signs, resolved against the configuration's folder.
    pub secret: PathBuf,
    /// TLS settings of `https`.
    pub tls: Option<Tls>,
    /// Longest wait for the head of a reply, connecting included.
    pub timeout: Duration,
    /// Loopback, private and link-local targets are meant.
    pub allow_private: bool,
}

/// `[events]` as typed.
#[derive(Default)]
pub(super) struct EventsSpec {
    /// None: there is none, or it has errors, reported already.
    pub(super) webhook: Option<Webhook>,
    /// The file with certificates that it names.
    pub(super) ca: Option<At<PathBuf>>,
}

/// Reads it; relative paths start at `folder`.
pub(super) fn read(root: &mut Table<'_>, folder: &Path) -> EventsSpec {
    let mut spec = EventsSpec::default();
    root.section("events", &[], |table| {
        let example = "\"https://hooks.shop.example/meridian\"";
        let target = table.required("webhook", example, |value| url(value, example));
        let file = |value: &Value<'_>| path(value, folder);
        let secret = table.required("webhook_secret", "\"webhook.key\"", file);
        let is_secure = target.as_ref().is_some_and(|url| url.value.starts_with("https://"));
        spec.ca = if is_secure { table.optional("webhook_ca", file) } else { None };
        let ca = spec.ca.as_ref().map(|at| at.value.clone());
        let range = Duration::from_millis(100)..=Duration::from_secs(60);
        let timeout = table.or("webhook_timeout", Duration::from_secs(5), |value| value.duration(range));
        let allow_private = table.or("webhook_allow_private", false, Value::flag);
        spec.webhook = target.zip(secret).map(|(url, secret)| Webhook {
            url: url.value,
            secret: secret.value,
            tls: is_secure.then(|| Tls { ca, ..Tls::default() }),
            timeout,
            allow_private,
        });
    });
    spec
}
