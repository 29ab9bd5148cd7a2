//! What one client may ask and get in a second, by all its connections to a listener's gate together.
//!
//! Who is over it is not closed but waits: nothing more is read of it meanwhile, so that its own queries pile up where
//! they come from. A generic cell rate algorithm (as of ATM) for queries and one for octets: each has the time at which all
//! that was taken is paid for, and [`BURST`] ahead of now is free.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Faults, TcpSettings};

/// So much of a second's worth may be taken at once.
const BURST: Duration = Duration::from_millis(100);

pub(super) struct Allowance {
    client: IpAddr,
    /// A query's part of a second, and an octet's in nanoseconds.
    query: Duration,
    octet: f64,
    /// When the queries are paid for, and the octets.
    paid_at: Mutex<[Instant; 2]>,
    faults: Arc<Faults>,
}

impl Allowance {
    pub(super) fn new(client: IpAddr, settings: TcpSettings, faults: &Arc<Faults>) -> Self {
        Self {
            client,
            query: Duration::from_secs(1) / settings.client_queries.max(1),
            octet: 1e9 / settings.client_octets.max(1) as f64,
            paid_at: Mutex::new([Instant::now(); 2]),
            faults: Arc::clone(faults),
        }
    }

    /// Takes that much, and waits where it was too much. Octets are those of queries and of answers.
    pub(super) async fn take(&self, queries: u32, octets: usize) {
        if let Some(until) = self.take_at(Instant::now(), queries, octets) {
            self.faults.count_pause(self.client);
            sleep_until(until).await;
        }
    }

    /// Is all paid for that was taken? Then nothing is lost when it is forgotten.
    pub(super) fn is_paid(&self) -> bool {
        let paid_at = *self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        paid_at.iter().all(|paid_at| *paid_at <= Instant::now())
    }

    /// Until when to wait.
    fn take_at(&self, now: Instant, queries: u32, octets: usize) -> Option<Instant> {
        let costs = [self.query * queries, Duration::from_nanos((octets as f64 * self.octet) as u64)];
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        for (paid_at, cost) in paid_at.iter_mut().zip(costs) {
            *paid_at = now.max(*paid_at) + cost;
        }
        let paid_at = paid_at[0].max(paid_at[1]);
        (paid_at > now + BURST).then(|| paid_at - BURST)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn allowance(queries: u32, octets: usize) -> Allowance {
        let idle = Duration::from_secs(10);
        let settings =
            TcpSettings { connections: 1, client_connections: 1, client_queries: queries, client_octets: octets, idle };
        Allowance::new(Ipv4Addr::LOCALHOST.into(), settings, &Arc::default())
    }

    /// Seconds that a hundred turns take.
    async fn a_hundred(allowance: &Allowance, queries: u32, octets: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..100 {
            allowance.take(queries, octets).await;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_over_it_waits_so_long_that_the_rate_is_kept() {
        // 10,000 queries at 1,000 a second, but for the burst; timers go by milliseconds.
        let allowance = allowance(1000, 1_000_000);
        let taken = a_hundred(&allowance, 100, 100).await;
        assert!((9.89..9.92).contains(&taken), "{taken}");
        assert!(allowance.faults.paused() > 90);
        // 10 MB at 1 MB a second.
        tokio::time::advance(Duration::from_secs(1)).await;
        let taken = a_hundred(&allowance, 1, 100_000).await;
        assert!((9.89..9.92).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_below_it_never_waits() {
        let allowance = allowance(1000, 1_000_000);
        for _ in 0..1000 {
            allowance.take(1, 900).await;
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        allowance.take(100, 0).await; // a tenth of a second's worth at once
        assert_eq!(allowance.faults.paused(), 0);
        allowance.take(1, 0).await;
        assert_eq!(allowance.faults.paused(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn saved_up_time_is_no_more_than_a_burst() {
        let allowance = allowance(1000, 1_000_000);
        tokio::time::advance(Duration::from_secs(3600)).await;
        allowance.take(101, 0).await;
        assert_eq!(allowance.faults.paused(), 1);
    }
}
