//! Who knows names in the network behind a PC's card. QEMU's own network asks the host for them, and no row
//! can rely on what a host says.
//!
//! It stands in the wire: QEMU sends each Ethernet frame of its network `names`, which the card is in, here as
//! one datagram, and gets it back in its network `beyond`. Questions for names are answered and go no further.
//! Source: RFC 1035 §4, RFC 768, RFC 791.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// Names and their addresses.
pub type Names = BTreeMap<String, Ipv4Addr>;

const ETHERNET: usize = 14;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Where the question's message begins: what asks here sends no IP options.
const MESSAGE: usize = ETHERNET + IPV4_HEADER + UDP_HEADER;
const DNS_HEADER: usize = 12;
/// Behind a question's name: class IN of type A.
const ADDRESS_WANTED: [u8; 4] = [0, 1, 0, 1];
/// An answer of a server that asks others itself.
const ANSWER: [u8; 2] = [0x81, 0x80];
const LIFETIME_SECONDS: u32 = 60;

/// How soon its threads see that it was dropped.
const TICK: Duration = Duration::from_millis(100);

/// Answers, and passes on what is no question, until it is dropped.
pub(crate) struct NameServer {
    near: Arc<Side>,
    far: Arc<Side>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Where the wire was cut.
struct Side {
    socket: UdpSocket,
    /// Of QEMU's end.
    port: u16,
}

impl NameServer {
    pub fn start(names: Names) -> Result<Self> {
        let [near, far] = [Side::new()?, Side::new()?].map(Arc::new);
        let over = Arc::new(AtomicBool::new(false));
        let [away, home] = [0, 1].map(|_| (near.clone(), far.clone(), over.clone()));
        let threads = vec![
            std::thread::spawn(move || {
                let (near, far, over) = away;
                near.each_frame(&over, |frame| match answer(frame, &names) {
                    Some(answer) => near.send(&answer),
                    None => far.send(frame),
                });
            }),
            std::thread::spawn(move || {
                let (near, far, over) = home;
                far.each_frame(&over, |frame| near.send(frame));
            }),
        ];
        Ok(Self {
            near,
            far,
            over,
            threads,
        })
    }

    /// What QEMU is told of its two networks.
    pub fn netdevs(&self) -> Result<[String; 2]> {
        Ok([self.near.netdev("names")?, self.far.netdev("beyond")?])
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Side {
    fn new() -> Result<Self> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let bound = || UdpSocket::bind(any).context("no port is free");
        let socket = bound()?;
        socket.set_read_timeout(Some(TICK))?;
        // Free until QEMU takes it.
        let port = bound()?.local_addr()?.port();
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self { socket, port })
    }

    fn netdev(&self, id: &str) -> Result<String> {
        Ok(format!(
            "dgram,id={id},local.type=inet,local.host=127.0.0.1,local.port={},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={}",
            self.port,
            self.socket.local_addr()?.port()
        ))
    }

    fn each_frame(&self, over: &AtomicBool, then: impl Fn(&[u8])) {
        let mut frame = [0; 1 << 16];
        while !over.load(SeqCst) {
            // None for a while, or nobody at the other end: neither ends the wire.
            if let Ok(length) = self.socket.recv(&mut frame) {
                then(&frame[..length]);
            }
        }
    }

    /// What is lost is sent again by those who miss it.
    fn send(&self, frame: &[u8]) {
        let _ = self.socket.send(frame);
    }
}

fn answer(frame: &[u8], names: &Names) -> Option<Vec<u8>> {
    let asks = frame.get(12..16)? == [0x08, 0x00, 0x45, 0]
        && frame.get(23) == Some(&17)
        && frame.get(36..38)? == [0, 53];
    let message = frame.get(MESSAGE..).filter(|_| asks)?;
    let question = message.get(DNS_HEADER..)?;
    let (name, behind) = name_of(question)?;
    let question = question.get(..behind + ADDRESS_WANTED.len())?;
    let address = names
        .get(&name.to_lowercase())
        .filter(|_| question.ends_with(&ADDRESS_WANTED));

    let mut said = [message.get(..2)?, &ANSWER, &[0, 1, 0]].concat();
    said.extend([u8::from(address.is_some()), 0, 0, 0, 0]);
    said.extend(question);
    if let Some(address) = address {
        // The name stands behind the message's header.
        said.extend([0xc0, DNS_HEADER as u8]);
        said.extend(ADDRESS_WANTED);
        said.extend(LIFETIME_SECONDS.to_be_bytes());
        said.extend([0, 4]);
        said.extend(address.octets());
    }
    Some(sent_back(frame, &said))
}

/// A question's name, and where it ends.
fn name_of(question: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*question.get(at)?);
        let label = question.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(label).into_owned());
    }
}

/// A frame with what is said, from the one that was asked to the one that asked. UDP goes without a checksum.
fn sent_back(frame: &[u8], said: &[u8]) -> Vec<u8> {
    let [to, from] = [&frame[6..12], &frame[..6]];
    let length = (UDP_HEADER + said.len()) as u16;
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0].to_vec();
    ip[2..4].copy_from_slice(&(length + IPV4_HEADER as u16).to_be_bytes());
    ip.extend([&frame[30..34], &frame[26..30]].concat());
    let words = ip.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let ports = [&frame[36..38], &frame[34..36]].concat();
    let udp = [&ports, &length.to_be_bytes()[..], &[0, 0]].concat();
    [to, from, &[0x08, 0x00], &ip, &udp, said].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::from([("far.example".to_owned(), Ipv4Addr::new(10, 0, 2, 100))])
    }

    fn question(name: &[u8], kind: u8) -> Vec<u8> {
        let mut frame = vec![1; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([10, 0, 2, 15, 10, 0, 2, 3, 0x99, 0x88, 0, 53, 0, 0, 0, 0]);
        frame.extend([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        frame.extend(name);
        frame.extend([0, 0, kind, 0, 1]);
        frame
    }

    #[test]
    fn a_name_gets_its_address() {
        let told = answer(&question(b"\x03Far\x07example", 1), &names()).unwrap();
        assert!(told.ends_with(&[0, 0, 0, 60, 0, 4, 10, 0, 2, 100]));
        assert_eq!(told[26..34], [10, 0, 2, 3, 10, 0, 2, 15]);
        assert_eq!(told[34..38], [0, 53, 0x99, 0x88]);
        assert_eq!(
            told[MESSAGE..MESSAGE + 8],
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]
        );
        let words = told[ETHERNET..ETHERNET + IPV4_HEADER]
            .as_chunks::<2>()
            .0
            .iter();
        let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn other_questions_get_an_answer_without_one() {
        for (name, kind) in [(&b"\x03far\x07example"[..], 28), (b"\x04near", 1)] {
            let told = answer(&question(name, kind), &names()).unwrap();
            assert_eq!(told[MESSAGE + 6..MESSAGE + 8], [0, 0]);
        }
    }

    #[test]
    fn other_frames_are_passed_over() {
        let frame = question(b"\x03far\x07example", 1);
        for length in 0..frame.len() {
            assert!(answer(&frame[..length], &names()).is_none(), "{length}");
        }
        for at in [12, 14, 23, 37] {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert!(answer(&other, &names()).is_none(), "{at}");
        }
    }

    #[test]
    fn it_answers_questions_and_passes_other_frames_on() {
        let server = NameServer::start(names()).unwrap();
        let [near, far] = [&server.near, &server.far].map(|side| {
            let qemu = UdpSocket::bind((Ipv4Addr::LOCALHOST, side.port)).unwrap();
            qemu.connect(side.socket.local_addr().unwrap()).unwrap();
            qemu
        });
        let came = |at: &UdpSocket| {
            let mut frame = [0; 2048];
            let length = at.recv(&mut frame).unwrap();
            frame[..length].to_vec()
        };
        let frame = question(b"\x03far\x07example", 1);
        near.send(&frame).unwrap();
        assert_eq!(Some(came(&near)), answer(&frame, &names()));
        near.send(b"out").unwrap();
        assert_eq!(came(&far), b"out");
        far.send(b"back").unwrap();
        assert_eq!(came(&near), b"back");
    }
}
