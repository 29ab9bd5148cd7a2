//! What the hostnames of endpoints resolve to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tracing::{info, warn};

use crate::config::Config;
use crate::health::HostAddresses;
use crate::model::{Addresses, Endpoint};
use crate::probe::Resolved;

/// The addresses known of hostname endpoints, by endpoint name, and how long answers may be kept.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    addresses: HostAddresses,
    ttls: BTreeMap<Arc<str>, u32>,
    unresolved: BTreeMap<Arc<str>, Unresolved>,
}

/// A hostname does not resolve: its endpoint goes by what it resolved to last, for `keep_for` of `[resolver]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unresolved {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

impl Hosts {
    pub(super) fn addresses(&self) -> &HostAddresses {
        &self.addresses
    }

    /// Those of this configuration that do not resolve, by endpoint.
    pub(super) fn unresolved(&self, config: &Config) -> BTreeMap<Arc<str>, Unresolved> {
        let hostnames = hostnames(config);
        let mut unresolved = self.unresolved.clone();
        unresolved.retain(|name, _| hostnames.contains_key(&**name)); // one of before the last edit may have been on its way
        unresolved
    }

    /// Bound on the TTL of answers with the endpoint's addresses, in seconds.
    pub(super) fn ttl(&self, endpoint: &Endpoint) -> u32 {
        match endpoint.addresses {
            Addresses::Fixed(_) => u32::MAX,
            Addresses::Hostname(_) => self.ttls.get(&endpoint.name).copied().unwrap_or(u32::MAX),
        }
    }

    /// Takes in what a hostname resolves to from now on. Are they other addresses than before? The TTL
    /// alone changes with almost every answer of a cache.
    pub(super) fn take_in(&mut self, resolved: Resolved) -> bool {
        let Resolved { endpoint, addresses, ttl, problem } = resolved;
        match problem {
            None => drop(self.unresolved.remove(&endpoint)),
            Some(reason) => {
                let since = self.unresolved.get(&endpoint).map_or_else(Timestamp::now, |before| before.since);
                self.unresolved.insert(endpoint.clone(), Unresolved { since, reason });
            }
        }
        let moved = self.addresses.get(&endpoint) != Some(&addresses);
        if addresses.is_empty() {
            warn!(%endpoint, "no address of its hostname is known");
        } else if moved {
            info!(%endpoint, ?addresses, "hostname resolved");
        }
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.ttls.insert(endpoint.clone(), ttl);
        self.addresses.insert(endpoint, addresses);
        moved
    }

    /// Forgets what does not hold any more after an edit. Another hostname at the same site shows the
    /// addresses of the one before until it is resolved; at another site it does not, since a fence
    /// may lie between.
    pub(super) fn edited(&mut self, before: &Config, after: &Config) {
        let (before, after) = (hostnames(before), hostnames(after));
        let stays = |name: &Arc<str>| match (before.get(&**name), after.get(&**name)) {
            (Some(before), Some(after)) => before.addresses == after.addresses || before.site == after.site,
            _ => false,
        };
        self.addresses.retain(|name, _| stays(name));
        self.ttls.retain(|name, _| stays(name));
        let is_the_same = |name: &Arc<str>| {
            let (before, after) = (before.get(&**name), after.get(&**name));
            before.zip(after).is_some_and(|(before, after)| before.addresses == after.addresses)
        };
        self.unresolved.retain(|name, _| is_the_same(name));
    }
}

fn hostnames(config: &Config) -> HashMap<&str, &Endpoint> {
    let hostnames = config.endpoints.iter().filter(|endpoint| matches!(endpoint.addresses, Addresses::Hostname(_)));
    hostnames.map(|endpoint| (&*endpoint.name, endpoint)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;

    fn config(region: &str, addresses: &str) -> Config {
        let text = format!(
            "[[endpoints]]\nname = \"a\"\ncloud = \"aws\"\nregion = \"{region}\"\n{addresses}\n\
             [[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n[geoip]\ndatabases = []\n"
        );
        let files = [("config.toml", text.as_str()), ("zone", "")];
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
            files.map(|(path, text)| (path.into(), text.as_bytes().into())).into();
        crate::config::read(&mut files, Path::new("config.toml")).unwrap().config
    }

    #[test]
    fn what_does_not_resolve_is_told_since_then() {
        let mut hosts = Hosts::default();
        let [one, two] = ["one", "two"].map(|host| config("us-east-1", &format!("hostname = \"{host}.example.net\"")));
        let resolved = |problem: Option<&str>| {
            let (endpoint, addresses) = (Arc::from("a"), vec!["192.0.2.1".parse().unwrap()]);
            Resolved { endpoint, addresses, ttl: Duration::from_secs(7), problem: problem.map(str::to_owned) }
        };
        assert!(hosts.take_in(resolved(None)));
        assert!(!hosts.take_in(resolved(Some("refused"))), "its addresses stay");
        let since = hosts.unresolved(&one)["a"].since;
        hosts.take_in(resolved(Some("timed out")));
        hosts.edited(&one, &one);
        assert_eq!(hosts.unresolved(&one)["a"], Unresolved { since, reason: "timed out".to_owned() });
        hosts.edited(&one, &two);
        assert!(hosts.unresolved(&two).is_empty());
        hosts.take_in(resolved(Some("refused")));
        assert!(hosts.unresolved(&config("us-east-1", "addresses = [\"192.0.2.2\"]")).is_empty());
        hosts.take_in(resolved(None));
        assert!(hosts.unresolved(&two).is_empty());
    }

    #[test]
    fn no_address_is_carried_to_another_site() {
        let (one, two) = ("hostname = \"one.example.net\"", "hostname = \"two.example.net\"");
        let kept = |(region, host): (&str, &str)| {
            let mut hosts = Hosts::default();
            let (endpoint, ttl) = (Arc::from("a"), Duration::from_secs(7));
            let addresses = vec!["192.0.2.1".parse().unwrap()];
            let resolved = Resolved { endpoint, addresses, ttl, problem: None };
            assert!(hosts.take_in(resolved.clone()) && !hosts.take_in(resolved));
            let after = config(region, host);
            hosts.edited(&config("us-east-1", one), &after);
            (hosts.addresses().len(), hosts.ttl(&after.endpoints[0]))
        };
        assert_eq!(kept(("us-east-1", one)), (1, 7));
        assert_eq!(kept(("us-east-1", two)), (1, 7));
        // The resolver goes on with the same hostname and would not tell it again.
        assert_eq!(kept(("eu-west-1", one)), (1, 7));
        assert_eq!(kept(("eu-west-1", two)), (0, u32::MAX));
        assert_eq!(kept(("us-east-1", "addresses = [\"192.0.2.2\"]")), (0, u32::MAX));
    }
}
