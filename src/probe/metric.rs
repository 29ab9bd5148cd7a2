//! `metric` probes: a figure that somebody else measures, asked for at a URL. Whoever measures is not the
//! target, so no answer says nothing of the target.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Response, Url};
use tokio::time::timeout;

use super::attempt::{Attempt, Failed, Found, Unfit, classify};
use super::expiry::Expiry;
use super::figures::{TextSearch, in_json};
use super::lookup::web_client;
use super::trust::Trust;
use crate::config::{Aim, Limits, Metric, Sample};
use crate::health::{Cause, Check};

/// So much of a body is read at most.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Asks for a figure and judges it.
pub(super) struct MetricClient {
    client: reqwest::Client,
    url: Url,
    aim: Aim,
    limits: Limits,
    missing_degrades: bool,
    /// Before the probe's own timeout, which would be the target's failure.
    patience: Duration,
    expiry: Option<Expiry>,
}

impl MetricClient {
    /// # Errors
    /// Why the settings make no request.
    pub(super) fn new(check: &Check, metric: &Metric, trust: &Trust) -> Result<Self, Unfit> {
        let address = check.target.ip();
        let in_url = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let fill =
            |text: &str, address: &str| text.replace("{endpoint}", &check.endpoint).replace("{address}", address);
        let plain = |text: &str| fill(text, &address.to_string());
        let url = fill(&metric.url, &in_url);
        let url = Url::parse(&url).map_err(|error| Unfit::Unready(format!("{url:?} is no URL: {error}")))?;
        let tls = trust.client_config(metric.tls.as_ref(), &["http/1.1"])?;
        let client = web_client(&url, tls, check.probe.allow_private).map_err(Unfit::Unready)?;
        let aim = match &metric.aim {
            Aim::Sample(Sample { name, labels }) => {
                let labels = labels.iter().map(|(label, value)| (label.clone(), plain(value))).collect();
                Aim::Sample(Sample { name: name.clone(), labels })
            }
            Aim::Pointer(path) => Aim::Pointer(path.iter().map(|part| plain(part)).collect()),
        };
        Ok(Self {
            client,
            url,
            aim,
            limits: metric.limits,
            missing_degrades: metric.missing_degrades,
            patience: check.probe.timeout.mul_f64(0.9),
            expiry: metric.tls.as_ref().map(|tls| Expiry::new(check, tls)),
        })
    }

    /// # Errors
    /// This machine is out of something; or, within, why there is no figure.
    async fn figure(&self) -> Result<Result<f64, String>, Failed> {
        let in_words = |error: reqwest::Error| match classify(&error) {
            Failed::There(cause) => Ok(Err(format!("{} does not tell: {cause}", self.host()))),
            here => Err(here),
        };
        let response = match self.client.get(self.url.clone()).send().await {
            Ok(response) => response,
            Err(error) => return in_words(error),
        };
        let shown = response.extensions().get::<reqwest::tls::TlsInfo>().and_then(|info| info.peer_certificate());
        if let Some((expiry, certificate)) = self.expiry.as_ref().zip(shown) {
            expiry.observe(certificate);
        }
        let status = response.status().as_u16();
        if status != 200 {
            return Ok(Err(format!("{} does not tell: status {status}", self.host())));
        }
        match &self.aim {
            Aim::Sample(sample) => {
                let mut search = TextSearch::new(sample, Timestamp::now().as_millisecond() as f64);
                Ok(match read(response, |chunk| search.observe(chunk)).await {
                    Ok(Ok(())) => search.finish(),
                    Ok(Err(why)) => Err(why),
                    Err(error) => return in_words(error),
                })
            }
            Aim::Pointer(path) => {
                let mut body = Vec::new();
                let add = |chunk: &[u8]| {
                    body.extend_from_slice(chunk);
                    Ok(())
                };
                Ok(match read(response, add).await {
                    Ok(Ok(())) => in_json(&body, path),
                    Ok(Err(why)) => Err(why),
                    Err(error) => return in_words(error),
                })
            }
        }
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn judge(&self, figure: f64) -> Result<Found, Failed> {
        let over = |bound: Option<f64>| bound.filter(|&bound| figure > bound).map(|bound| format!("over {bound}"));
        let under = |bound: Option<f64>| bound.filter(|&bound| figure < bound).map(|bound| format!("under {bound}"));
        let what = match &self.aim {
            Aim::Sample(sample) => sample.name.clone(),
            Aim::Pointer(path) => format!("/{}", path.join("/")),
        };
        let Limits { degraded_over, down_over, degraded_under, down_under } = self.limits;
        if let Some(how) = over(down_over).or_else(|| under(down_under)) {
            return Err(Failed::There(Cause::Figure(format!("{what} is {figure}, {how}"))));
        }
        Ok(match over(degraded_over).or_else(|| under(degraded_under)) {
            Some(how) => Found::Degraded(format!("{what} is {figure}, {how}")),
            None => Found::Good,
        })
    }
}

impl Attempt for MetricClient {
    async fn attempt(&self) -> Result<Found, Failed> {
        let figure = match timeout(self.patience, self.figure()).await {
            Ok(figure) => figure?,
            Err(_) => Err(format!("{} does not tell within {:?}", self.host(), self.patience)),
        };
        match figure {
            Ok(figure) => self.judge(figure),
            Err(why) if self.missing_degrades => Ok(Found::Degraded(why)),
            Err(why) => Ok(Found::Missing(why)),
        }
    }
}

/// Hands a body over piece by piece, until its end, its bound or an error.
async fn read(
    mut response: Response,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<Result<(), String>, reqwest::Error> {
    let mut length = 0;
    while let Some(chunk) = response.chunk().await? {
        length += chunk.len();
        if length > MAX_BODY {
            return Ok(Err("its body is over 4 MiB".to_owned()));
        }
        if let Err(why) = take(&chunk) {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}
