//! Names for guests: each question is passed on to whoever knows names in the control domain's network.
//!
//! Nothing is kept, and nothing but the question's number is looked at. Over TCP nobody listens: a guest
//! whose answer was cut off (RFC 2181 §9) has to do with what it got.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread::scope;
use std::time::Duration;

const PORT: u16 = 53;
/// The largest answer (RFC 6891 §6.2.5 and what servers send).
const MOST: usize = 4096;
/// How long an answer is waited for; guests ask again by themselves.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions under way; further ones are dropped.
const MOST_UNDER_WAY: usize = 64;

/// Who knows names, as the control domain's adapters were told.
#[derive(Debug, Default)]
pub struct NameServers(Mutex<Vec<Ipv4Addr>>);

impl NameServers {
    /// The last one to be told counts.
    pub fn set(&self, servers: &[Ipv4Addr]) {
        if !servers.is_empty() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = servers.to_vec();
        }
    }

    fn first(&self) -> Option<Ipv4Addr> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.first().copied()
    }
}

/// Serves at the switch's address.
pub fn serve(address: Ipv4Addr, names: &NameServers) -> io::Result<()> {
    let socket = UdpSocket::bind((address, PORT))?;
    let under_way = AtomicUsize::new(0);
    let mut bytes = [0; MOST];
    scope(|threads| {
        loop {
            let (length, from) = socket.recv_from(&mut bytes)?;
            let Some(server) = names.first().map(|server| SocketAddr::from((server, PORT))) else {
                continue;
            };
            if under_way.fetch_add(1, SeqCst) >= MOST_UNDER_WAY {
                under_way.fetch_sub(1, SeqCst);
                continue;
            }
            let question = bytes[..length].to_vec();
            let (socket, under_way) = (&socket, &under_way);
            threads.spawn(move || {
                if let Ok(answer) = pass_on(&question, server) {
                    let _ = socket.send_to(&answer, from);
                }
                under_way.fetch_sub(1, SeqCst);
            });
        }
    })
}

/// Each question has a port of its own, which is what makes answers hard to forge (RFC 5452).
fn pass_on(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut bytes = vec![0; MOST];
    loop {
        let length = socket.recv(&mut bytes)?;
        // The number of a question comes first (RFC 1035 §4.1.1).
        if length >= 2 && bytes[..2] == *question.get(..2).unwrap_or_default() {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_another_number_is_passed_over() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        let knows = std::thread::spawn(move || {
            let mut bytes = [0; MOST];
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            assert_eq!(bytes[..length], *b"\x12\x34 who?");
            server.send_to(b"\x99\x99 forged", from).unwrap();
            server.send_to(b"\x12\x34 me", from).unwrap();
        });
        assert_eq!(pass_on(b"\x12\x34 who?", address).unwrap(), b"\x12\x34 me");
        knows.join().unwrap();
    }
}
