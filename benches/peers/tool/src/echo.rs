//! The bare echo: the least that a UDP server on this machine can cost.

use std::net::UdpSocket;

use crate::sys::Batch;

/// Sends every packet back as a response, until the process is ended.
pub fn serve(socket: &UdpSocket) -> Result<(), String> {
    let mut batch = Batch::new(None);
    loop {
        let count = batch.receive(socket).map_err(|error| format!("receiving: {error}"))?;
        for slot in &mut batch.slots[..count] {
            slot[2] |= 0x80;
        }
        batch.send(socket, count).map_err(|error| format!("sending: {error}"))?;
    }
}
