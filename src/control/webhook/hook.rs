//! Where events go, and how a receiver knows that they are ours.
//!
//! `Meridian-Signature: t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 of `SECONDS.BODY` under the key. The time is that
//! of the try, so that a receiver can refuse what somebody recorded and sends again later.

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use ring::hmac;
use tokio::time::timeout;

use super::{Body, Post, Refusal};
use crate::config::Webhook;
use crate::model::{Digest, Files, Problem};
use crate::probe::{Trust, innermost};

/// What is shorter can be guessed, and what is longer is another file.
const KEY: std::ops::RangeInclusive<usize> = 16..=4096;

/// A webhook with what is needed to post there.
#[derive(Debug)]
pub(in crate::control) struct Hook {
    settings: Webhook,
    url: Url,
    key: hmac::Key,
    client: reqwest::Client,
    /// The key and the authorities: whether they have changed.
    made_of: Digest,
}

impl Hook {
    /// With the key of its file. `config` is the file that names it.
    ///
    /// # Errors
    /// Every problem found.
    pub(in crate::control) fn read(
        settings: &Webhook,
        trust: &Trust,
        files: &mut dyn Files,
        config: &Path,
    ) -> Result<Self, Vec<Problem>> {
        let problem = |message: &str| {
            let problem = Problem::error("webhook", config, format!("[events] `webhook`: {message}"));
            problem.help("a URL of http or https; a private address is meant where `webhook_allow_private = true`")
        };
        let url = Url::parse(&settings.url).map_err(|error| problem(&error.to_string()));
        let tls = settings.tls.as_ref();
        let connect = |url: Url| match trust.client(&url, tls, settings.allow_private) {
            Ok(client) => Ok((url, client)),
            Err(why) => Err(problem(&why)),
        };
        match (url.and_then(connect), read_key(&settings.secret, files)) {
            (Ok((url, client)), Ok(secret)) => {
                let authorities = tls.and_then(|tls| trust.pem_of(tls)).map_or(&[][..], |pem| &pem[..]);
                let made_of = Digest::of_all([&Digest::of(&secret).0[..], authorities]);
                let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                Ok(Self { settings: settings.clone(), url, key, client, made_of })
            }
            (hook, key) => Err(hook.err().into_iter().chain(key.err()).collect()),
        }
    }

    /// Would it post alike?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings && self.made_of == other.made_of
    }

    fn signature(&self, at: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{at}.").as_bytes());
        context.update(body);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref()); // SHA-256 has 32 octets
        format!("t={at},v1={}", Digest(tag))
    }

    async fn try_once(&self, newest: u64, json: Bytes) -> Result<(), Refusal> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let signature = self.signature(Timestamp::now().as_second(), &json);
        let request = request.header("Meridian-Event-Id", newest).header("Meridian-Signature", signature);
        let reply = request.body(json).send().await;
        // The body of the reply is not read, and the connection ends with it.
        let status = reply.map_err(|error| Refusal { why: innermost(&error), for_good: false })?.status();
        if status.is_success() {
            return Ok(());
        }
        let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        Err(Refusal { why: format!("status {}", status.as_u16()), for_good: !passes })
    }
}

impl Post for Hook {
    async fn post(&self, body: &Body) -> Result<(), Refusal> {
        let patience = self.settings.timeout;
        let late = |_| Refusal { why: format!("no answer within {patience:?}"), for_good: false };
        timeout(patience, self.try_once(body.newest, body.json.clone())).await.map_err(late)?
    }
}

/// Without the white space around it, which editors leave. Nothing of it is ever said.
fn read_key(path: &Path, files: &mut dyn Files) -> Result<Vec<u8>, Problem> {
    let problem = |message: String| {
        let problem = Problem::error("webhook-secret", path, message);
        problem.help("write a line of random text, as `openssl rand -hex 32` makes it")
    };
    let unreadable = |error| problem(format!("cannot read the webhook's secret: {error}"));
    let content = files.secret(path).map_err(unreadable)?.unwrap_or_default();
    let key = content.trim_ascii();
    if !KEY.contains(&key.len()) {
        return Err(problem(format!("the webhook's secret must have {} to {} octets", KEY.start(), KEY.end())));
    }
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn read(url: &str, secret: &str) -> Result<Hook, Vec<Problem>> {
        let settings = Webhook {
            url: url.to_owned(),
            secret: "key".into(),
            tls: None,
            timeout: Duration::from_secs(5),
            allow_private: false,
        };
        let mut files = BTreeMap::from([(PathBuf::from("key"), Arc::<[u8]>::from(secret.as_bytes()))]);
        let trust = Trust::load(&[], &mut files).unwrap();
        Hook::read(&settings, &trust, &mut files, Path::new("config.toml"))
    }

    #[test]
    fn a_receiver_can_check_it_with_any_library() {
        let hook = read("http://hooks.shop.example/", "  0123456789abcdef\n").unwrap();
        // printf '1700000000.[]' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "t=1700000000,v1=c91545d09b999c13267144ab89f40da36c784c2397a9684263e82122a502a910";
        assert_eq!(hook.signature(1_700_000_000, b"[]"), expected);
    }

    #[test]
    fn what_is_wrong_is_said_at_once_and_no_secret() {
        let codes = |url: &str, secret: &str| {
            let problems = read(url, secret).err().unwrap();
            let text = problems.iter().map(ToString::to_string).collect::<String>();
            assert!(secret.is_empty() || !text.contains(secret), "{text}");
            problems.iter().map(|problem| problem.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("http://127.0.0.1/", "short"), ["webhook", "webhook-secret"]);
        assert_eq!(codes("http://2130706433/", &"x".repeat(16)), ["webhook"], "the same address");
        assert_eq!(codes("http://hooks.shop.example/", &"x".repeat(5000)), ["webhook-secret"]);
        assert_eq!(codes("http://hooks.shop.example/", " \n"), ["webhook-secret"]);
    }

    #[test]
    fn what_changes_it() {
        let hook = |url: &str, secret: &str| read(url, secret).unwrap();
        let (url, secret) = ("http://hooks.shop.example/", "0123456789abcdef");
        assert!(hook(url, secret).is_same(&hook(url, &format!("{secret}\n"))));
        assert!(!hook(url, secret).is_same(&hook(url, "fedcba9876543210")));
        assert!(!hook(url, secret).is_same(&hook("http://hooks.shop.example/other", secret)));
    }
}
