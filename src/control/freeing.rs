//! Freeing: what was replaced is dropped on a thread of the idle lane.
//!
//! A worker that still reads a retired snapshot must not be the one who frees it, and control has
//! verdicts to publish; so the thread holds it too, and drops it once nobody else does. A reader
//! holds one snapshot at a time, so that no more of them are kept than there are readers, however
//! long one of them is stuck.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::idle;

/// How often the thread looks whether a reader has let go.
const SWEEP: Duration = Duration::from_millis(10);
/// What may wait until the thread has its turn. At the bound, control frees for itself.
const QUEUE: usize = 64;

/// The way to the thread that frees. The thread ends when this is dropped and nothing is left.
pub struct Freeing<T> {
    queue: SyncSender<Garbage<T>>,
    /// What the queue had no room for.
    here: Vec<Arc<T>>,
}

enum Garbage<T> {
    /// Others may still read it.
    Shared(Arc<T>),
    /// Nobody does.
    Owned(Box<dyn Any + Send>),
}

impl<T: Send + Sync + 'static> Freeing<T> {
    /// Starts the thread.
    #[must_use]
    pub fn start() -> Self {
        let (queue, garbage) = sync_channel(QUEUE);
        let started = thread::Builder::new().name("free".to_owned()).spawn(move || {
            idle::be_idle();
            free(&garbage);
        });
        if let Err(error) = started {
            // The queue is closed then, and all is freed by control.
            warn!(%error, "no thread frees what is replaced; publishing takes longer");
        }
        Self { queue, here: Vec::new() }
    }

    /// Takes what is not published any more, and drops it once nobody reads it.
    pub fn retire(&mut self, retired: Arc<T>) {
        if let Err(error) = self.queue.try_send(Garbage::Shared(retired))
            && let Garbage::Shared(retired) = back(error)
        {
            self.here.push(retired);
        }
        sweep(&mut self.here);
    }

    /// Drops what may take a while.
    pub fn free(&self, owned: impl Any + Send) {
        let _ = self.queue.try_send(Garbage::Owned(Box::new(owned))); // no room: dropped here
    }
}

fn back<T>(error: std::sync::mpsc::TrySendError<T>) -> T {
    match error {
        std::sync::mpsc::TrySendError::Full(it) | std::sync::mpsc::TrySendError::Disconnected(it) => it,
    }
}

fn free<T>(garbage: &Receiver<Garbage<T>>) {
    let mut read: Vec<Arc<T>> = Vec::new();
    let mut open = true;
    while open || !read.is_empty() {
        let next = if read.is_empty() { garbage.recv().map_err(Into::into) } else { garbage.recv_timeout(SWEEP) };
        match next {
            Ok(Garbage::Shared(retired)) => read.push(retired),
            Ok(Garbage::Owned(owned)) => drop(owned),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if open => open = false,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(SWEEP),
        }
        sweep(&mut read);
    }
}

/// What is no longer published gets no new reader, so who holds the only reference keeps it.
fn sweep<T>(retired: &mut Vec<Arc<T>>) {
    retired.retain(|retired| Arc::strong_count(retired) > 1);
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex, mpsc};

    use arc_swap::ArcSwap;

    use super::*;

    /// Tells by which thread it was dropped.
    struct Probe(u32, Mutex<mpsc::Sender<(u32, String)>>);

    impl Drop for Probe {
        fn drop(&mut self) {
            let name = thread::current().name().unwrap_or_default().to_owned();
            let _ = self.1.lock().unwrap().send((self.0, name));
        }
    }

    #[test]
    fn a_reader_never_frees() {
        let (sender, dropped) = mpsc::channel();
        let probe = |id| Arc::new(Probe(id, Mutex::new(sender.clone())));
        let free = |id| (id, "free".to_owned());
        let mut freeing = Freeing::start();
        let published = Arc::new(ArcSwap::new(probe(1)));
        let (worker, [holds, letting_go]) = worker(&published);
        holds.wait();
        freeing.retire(published.swap(probe(2)));
        freeing.retire(published.swap(probe(3)));
        assert_eq!(dropped.recv().unwrap(), free(2), "what a reader holds keeps nothing else");
        freeing.free(probe(4));
        assert_eq!(dropped.recv().unwrap(), free(4));
        letting_go.wait();
        worker.join().unwrap();
        assert_eq!(dropped.recv().unwrap(), free(1));

        // Nor does it when control has ended.
        let five = probe(5);
        let reader = five.clone();
        freeing.retire(five);
        drop(freeing);
        drop(reader);
        assert_eq!(dropped.recv().unwrap(), free(5));
    }

    /// Reads what is published, and lets go of it when told to.
    fn worker(published: &Arc<ArcSwap<Probe>>) -> (thread::JoinHandle<()>, [Arc<Barrier>; 2]) {
        let published = published.clone();
        let barriers = [(); 2].map(|()| Arc::new(Barrier::new(2)));
        let [holds, letting_go] = barriers.clone();
        let read = move || {
            let guard = published.load();
            holds.wait();
            letting_go.wait();
            drop(guard);
        };
        (thread::Builder::new().name("worker".to_owned()).spawn(read).unwrap(), barriers)
    }

    #[test]
    fn without_a_turn_for_the_thread_the_sender_frees() {
        let (sender, dropped) = mpsc::channel();
        let probe = |id| Arc::new(Probe(id, Mutex::new(sender.clone())));
        let (queue, garbage) = sync_channel(1);
        let mut freeing = Freeing { queue, here: Vec::new() };
        let own = thread::current().name().unwrap().to_owned();
        let reader = probe(2);
        freeing.retire(probe(1));
        freeing.retire(reader.clone());
        assert!(dropped.try_recv().is_err(), "one waits in the queue, one for its reader");
        freeing.retire(probe(3));
        assert_eq!(dropped.recv().unwrap(), (3, own.clone()));
        freeing.free(probe(4));
        assert_eq!(dropped.recv().unwrap(), (4, own.clone()));
        drop(reader);
        freeing.retire(probe(5));
        assert_eq!([dropped.recv().unwrap(), dropped.recv().unwrap()], [(2, own.clone()), (5, own)]);
        drop(garbage);
        assert_eq!(dropped.recv().unwrap().0, 1);
    }
}
