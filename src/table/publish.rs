//! The one published pointer (DESIGN invariant 2).

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Snapshot;

/// What is served now. Readers load it once a batch; `control` alone publishes.
#[derive(Debug)]
pub struct Published(ArcSwap<Snapshot>);

impl Published {
    /// Begins with this snapshot.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The snapshot to answer a batch from; let go of it before blocking.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The same for those who keep it longer.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Swaps `snapshot` in and hands back the one that served until now. The caller keeps that until
    /// no worker reads it any more, so that none has to free it.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.0.swap(Arc::new(snapshot))
    }
}
