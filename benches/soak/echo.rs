//! The yardstick: a thread that sends back what it receives.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::bind;
use crate::kernel::{processor_time, this_thread};

/// A running echo server; dropping it stops it.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The same in `/proc`.
    task: PathBuf,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let socket: UdpSocket = bind();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let (tell, told) = channel();
        let serve = move || {
            tell.send(this_thread()).unwrap();
            let mut octets = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut octets) {
                    let _ = socket.send_to(&octets[..length], client); // what is lost is counted by the client
                }
            }
        };
        let thread = std::thread::Builder::new().name("echo".to_owned()).spawn(serve).unwrap();
        Self { address, stop, thread: Some(thread), task: told.recv().unwrap() }
    }

    /// Processor time that its thread has had so far.
    pub(crate) fn processor_time(&self) -> Duration {
        processor_time(&self.task)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
