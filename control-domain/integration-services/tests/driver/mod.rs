//! A model of the guest's drivers.
#![allow(dead_code, reason = "each test uses its part")]

use integration_services::wire::{self, Header, Negotiate, PipeHeader, Version, kind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use uuid::Uuid;
use vmbus::{Device, Endpoint};
use vmbus_testing::{DriverChannel, ModelGuest};
use zerocopy::{FromBytes, IntoBytes};

/// In nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// A driver of a service.
pub struct Driver {
    pub guest: ModelGuest,
    pub endpoint: Arc<Endpoint>,
    pub channel: DriverChannel,
}

impl Driver {
    /// A device and its driver, with the channel open.
    pub fn load(device: Box<dyn Device>, interface: Uuid) -> Self {
        let (guest, endpoint) = ModelGuest::with_device(device);
        let offer = guest.offer_of(interface);
        assert_eq!(offer.flags.get(), 0x11, "a pipe that drivers are told of");
        assert_eq!(offer.user_defined[..4], [4, 0, 0, 0], "of messages");
        // Linux gives these rings three pages each.
        let channel = guest.open(&offer, 3);
        Self {
            guest,
            endpoint,
            channel,
        }
    }

    /// Lets the machine run for a while.
    pub fn wait(&self, ns: u64) {
        let end = self.guest.now_ns.load(Relaxed) + ns;
        self.guest.serve_until(&self.endpoint, end);
    }

    /// The host's next request.
    pub fn receive(&self) -> Option<(Header, Vec<u8>)> {
        let (packet, _) = self.channel.receive(&self.guest.memory)?;
        assert_eq!((packet.kind, packet.flags), (6, 0));
        let (pipe, rest) = PipeHeader::read_from_prefix(&packet.data).unwrap();
        assert_eq!(pipe.kind.get(), wire::PIPE_DATA);
        let (header, body) = Header::read_from_prefix(rest).unwrap();
        assert_eq!(pipe.length.get(), 20 + u32::from(header.length.get()));
        assert_eq!(header.flags, wire::REQUEST);
        Some((header, body[..header.length.get().into()].to_vec()))
    }

    /// Answers one.
    pub fn answer(&self, mut header: Header, status: u32, body: &[u8]) {
        header.flags = 1 | wire::RESPONSE;
        header.status = status.into();
        header.length = (body.len() as u16).into();
        let pipe = PipeHeader {
            kind: wire::PIPE_DATA.into(),
            length: (20 + body.len() as u32).into(),
        };
        let data = [pipe.as_bytes(), header.as_bytes(), body].concat();
        let packet = DriverChannel::packet(6, 0, 0, &[], &data);
        assert!(self.guest.send(&self.channel, &packet));
    }

    /// Picks a version of the service, as the driver does.
    pub fn negotiate(&self, version: Version) {
        self.wait(0);
        let (header, body) = self.receive().expect("negotiation");
        assert_eq!(header.kind.get(), kind::NEGOTIATE);
        let (counts, rest) = Negotiate::read_from_prefix(&body).unwrap();
        let total = counts.framework_count.get() + counts.version_count.get();
        let offered = <[Version]>::ref_from_bytes(rest).unwrap();
        assert_eq!(offered.len(), usize::from(total));
        let framework = Version::new(3, 0);
        assert!(offered[..counts.framework_count.get().into()].contains(&framework));
        assert!(offered[counts.framework_count.get().into()..].contains(&version));
        let picked = Negotiate {
            framework_count: 1.into(),
            version_count: 1.into(),
            reserved: 0.into(),
        };
        let picked = [picked.as_bytes(), [framework, version].as_bytes()].concat();
        self.answer(header, 0, &picked);
        self.wait(0);
    }

    /// What was said about it.
    pub fn reports(&self) -> Vec<String> {
        self.guest.host.take_reports()
    }

    /// Waits for a request that a thread of the host makes.
    pub fn awaited(&self) -> (Header, Vec<u8>) {
        for _ in 0..10_000 {
            self.wait(0);
            if let Some(request) = self.receive() {
                return request;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("nothing is asked: {:?}", self.reports());
    }
}
