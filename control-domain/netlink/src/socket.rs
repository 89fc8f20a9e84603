//! Asking the kernel, and taking its answer.

use crate::message::{Message, verdicts};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto,
    socket_with,
};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes of what the kernel says at once.
const ANSWER: usize = 1 << 14;

/// A connection to one part of the kernel.
pub struct Socket(OwnedFd);

impl Socket {
    /// To the part for links, addresses and routes.
    pub fn route() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        Self::open(None)
    }

    /// To the packet filter.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::RAW, flags, protocol)?;
        Ok(Self(socket))
    }

    /// Asks, and waits until it is done.
    pub fn ask(&self, message: Message) -> io::Result<()> {
        self.ask_all(vec![(message, true)])
    }

    /// Asks for several things that are done together or not at all; beside each, whether it is
    /// acknowledged.
    pub fn ask_all(&self, messages: Vec<(Message, bool)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut open = Vec::new();
        for (sequence, (message, acknowledged)) in (1..).zip(messages) {
            bytes.extend(message.finish(sequence));
            open.extend(acknowledged.then_some(sequence));
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.0, &bytes, SendFlags::empty(), &kernel)?;
        let mut answer = vec![0; ANSWER];
        while !open.is_empty() {
            let (length, _) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
            for verdict in verdicts(&answer[..length]) {
                if verdict.error != 0 {
                    return Err(io::Error::from_raw_os_error(verdict.error));
                }
                open.retain(|sequence| *sequence != verdict.sequence);
            }
        }
        Ok(())
    }
}

/// What is there already is as good as made.
pub fn or_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
