//! An address for the control domain.

use super::message::{ACK, DISCOVER, Mac, Message, OFFER, REQUEST};
use super::{CLIENT_PORT, SERVER_PORT, socket_on};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for before it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions before it is given up for now.
const TRIES: usize = 3;

/// Asks the network of an interface for an address, the one of before if it is free.
///
/// # Errors
/// As the kernel says; a time-out if nobody answers.
pub fn ask(interface: &str, mac: Mac, before: Option<Ipv4Addr>) -> io::Result<Message> {
    let socket = socket_on(interface, CLIENT_PORT)?;
    let mut discover = question(DISCOVER, mac)?;
    discover.wanted = before;
    let offer = exchange(&socket, &discover, OFFER)?;
    let mut request = question(REQUEST, mac)?;
    request.wanted = Some(offer.yours);
    request.server = offer.server;
    exchange(&socket, &request, ACK)
}

fn question(kind: u8, mac: Mac) -> io::Result<Message> {
    let mut id = [0; 4];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut id)?;
    Ok(Message {
        // Without an address nothing else arrives.
        broadcast: true,
        ..Message::new(kind, id, mac)
    })
}

fn exchange(socket: &UdpSocket, question: &Message, wanted: u8) -> io::Result<Message> {
    let mut bytes = [0; 1500];
    for _ in 0..TRIES {
        socket.send_to(&question.write(), (Ipv4Addr::BROADCAST, SERVER_PORT))?;
        let end = Instant::now() + PATIENCE;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let Ok((length, _)) = socket.recv_from(&mut bytes) else {
                break;
            };
            let answer = Message::read(&bytes[..length]);
            let ours = |answer: &Message| {
                answer.reply && answer.id == question.id && answer.mac == question.mac
            };
            if let Some(answer) = answer.filter(ours)
                && answer.kind == wanted
            {
                return Ok(answer);
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "no DHCP server answers",
    ))
}
