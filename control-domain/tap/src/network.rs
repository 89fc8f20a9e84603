//! The network: a device, and the thread that says when it has frames.

use crate::device::Tap;
use crate::receive::{self, MOST};
use crate::{header, send, vlan};
use netvsp::{Arrived, Frame, Network, Vlan};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use vmbus::Doorbell;
use zerocopy::IntoBytes;

/// How a card is connected to a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Access mode: the guest is in this VLAN and sees no tags. None: the guest sees untagged frames, and
    /// none of its own with a tag passes.
    pub vlan: Option<u16>,
}

/// The network behind a card.
pub struct TapNetwork {
    tap: Arc<Tap>,
    port: Port,
    buffer: Vec<u8>,
    /// Rings when all frames were taken.
    drained: Doorbell,
    waiter: Option<Waiter>,
}

impl TapNetwork {
    /// A card's end of an interface.
    pub fn new(tap: Tap, port: Port) -> Self {
        Self {
            tap: Arc::new(tap),
            port,
            buffer: vec![0; MOST],
            drained: Doorbell::default(),
            waiter: None,
        }
    }

    /// Whether a frame with this tag is for the guest.
    fn admits(&self, vlan: Option<Vlan>) -> bool {
        match (self.port.vlan, vlan) {
            (Some(own), Some(vlan)) => own == vlan.id,
            // Tag 0 says a priority and no VLAN.
            (None, Some(vlan)) => vlan.id == 0,
            (own, None) => own.is_none(),
        }
    }
}

impl Network for TapNetwork {
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        match Waiter::start(self.tap.clone(), doorbell, self.drained.clone()) {
            Ok(waiter) => self.waiter = Some(waiter),
            Err(error) => eprintln!("entente-vmm: {}: no thread: {error}", self.tap.name()),
        }
    }

    fn transmit(&mut self, mut frame: Frame) {
        // What does not hold together is dropped, as is what the kernel has no room for.
        let tagged = frame.offload.vlan.or_else(|| vlan::of(&frame.bytes));
        if tagged.is_some_and(|vlan| vlan.id != 0) {
            return;
        }
        let Some(mut header) = send::prepare(&mut frame) else {
            return;
        };
        if let Some(id) = self.port.vlan {
            let priority = frame.offload.vlan.map_or(0, |vlan| vlan.priority);
            let cfi = false;
            vlan::put(&mut frame.bytes, Vlan { priority, cfi, id });
            let behind = vlan::LENGTH as u16;
            if header.flags & header::NEEDS_CHECKSUM != 0 {
                header.checksum_start += behind;
            }
            if header.segments != 0 {
                header.header_length += behind;
            }
        }
        let bytes = [header.as_bytes(), &frame.bytes].concat();
        let _ = self.tap.write(&bytes);
    }

    fn next(&mut self) -> Option<Arrived> {
        loop {
            let Ok(Some(length)) = self.tap.read(&mut self.buffer) else {
                self.drained.ring();
                return None;
            };
            let arrived = self.buffer.get(..length).and_then(receive::arrived);
            let wanted = arrived.filter(|arrived| self.admits(arrived.vlan));
            if let Some(mut arrived) = wanted {
                arrived.vlan = None;
                return Some(arrived);
            }
        }
    }
}

/// The thread that waits for frames.
struct Waiter {
    end: Arc<OwnedFd>,
    over: Arc<AtomicBool>,
    drained: Doorbell,
    thread: Option<JoinHandle<()>>,
}

impl Waiter {
    fn start(tap: Arc<Tap>, doorbell: Doorbell, drained: Doorbell) -> io::Result<Self> {
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let over = Arc::new(AtomicBool::new(false));
        let (own_end, own_over, own_drained) = (end.clone(), over.clone(), drained.clone());
        let thread = std::thread::Builder::new().name("network frames".into());
        let thread = thread.spawn(move || {
            while !own_over.load(SeqCst) {
                let mut files = [
                    PollFd::new(&*tap, PollFlags::IN),
                    PollFd::new(&*own_end, PollFlags::IN),
                ];
                match poll(&mut files, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                if files[0].revents().contains(PollFlags::ERR) {
                    // The interface was removed under us: nothing will come any more.
                    return;
                }
                if !files[0].revents().is_empty() {
                    doorbell.ring();
                    // They are taken when the guest has room; until then there is nothing new to say.
                    own_drained.wait(None);
                }
            }
        })?;
        Ok(Self {
            end,
            over,
            drained,
            thread: Some(thread),
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        self.drained.ring();
        let woken = rustix::io::write(&self.end, &1u64.to_ne_bytes()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
