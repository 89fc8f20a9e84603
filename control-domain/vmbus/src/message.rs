//! Control messages: the payload of SynIC messages between guest and host, little-endian. Numbers and
//! fields as guests' drivers use them (Linux `include/linux/hyperv.h`, OpenVMM `vmbus_core`).

use crate::layout;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes of a message: the payload of a SynIC message.
pub const MAX_MESSAGE_BYTES: usize = 240;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;
/// Type of a SynIC message that carries a control message, both ways.
pub const SYNIC_MESSAGE_TYPE: u32 = 1;

/// Message types.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const OFFER: u32 = 1;
    pub const RESCIND: u32 = 2;
    pub const REQUEST_OFFERS: u32 = 3;
    pub const ALL_OFFERS_DELIVERED: u32 = 4;
    pub const OPEN: u32 = 5;
    pub const OPEN_RESULT: u32 = 6;
    pub const CLOSE: u32 = 7;
    pub const GPADL_HEADER: u32 = 8;
    pub const GPADL_BODY: u32 = 9;
    pub const GPADL_CREATED: u32 = 10;
    pub const GPADL_TEARDOWN: u32 = 11;
    pub const GPADL_TORNDOWN: u32 = 12;
    pub const RELID_RELEASED: u32 = 13;
    pub const INITIATE_CONTACT: u32 = 14;
    pub const VERSION_RESPONSE: u32 = 15;
    pub const UNLOAD: u32 = 16;
    pub const UNLOAD_RESPONSE: u32 = 17;
    pub const TL_CONNECT_REQUEST: u32 = 21;
    pub const MODIFY_CHANNEL: u32 = 22;
    pub const TL_CONNECT_RESULT: u32 = 23;
    pub const MODIFY_CHANNEL_RESPONSE: u32 = 24;
}

/// Result fields: done.
pub const STATUS_SUCCESS: u32 = 0;
/// Result fields: not done.
pub const STATUS_UNSUCCESSFUL: u32 = 0xc000_0001;
/// Result field of a connection that nobody listens for.
pub const STATUS_CONNECTION_REFUSED: u32 = 0xc000_0236;

layout! {
    /// The body of an OFFER.
    OfferBody {
        /// Kind of device, as a GUID lies in memory.
        interface: [u8; 16],
        /// Which device.
        instance: [u8; 16],
        /// 0.
        reserved: [u8; 16],
        /// Flags of the offer.
        flags: U16,
        /// Address space wanted.
        mmio_mib: U16,
        /// The device's.
        user_defined: [u8; 120],
        /// 0: primary channel.
        subchannel: U16,
        /// 0.
        optional_mmio_mib: U16,
        /// The channel's number on this connection, the "relid".
        channel: U32,
        /// Not used.
        monitor: u8,
        /// 0: signal by hypercall.
        monitor_allocated: u8,
        /// 1: signals name this channel's connection, and no flag is set in the interrupt page.
        dedicated_interrupt: U16,
        /// The connection that the guest signals.
        connection: U32,
    }
    /// The body of messages that name a channel and nothing else: RESCIND, CLOSE, RELID_RELEASED.
    ChannelBody {
        /// The channel.
        channel: U32,
    }
    /// The body of an OPEN.
    OpenBody {
        /// The channel.
        channel: U32,
        /// Answered with the result.
        open: U32,
        /// Memory of both rings.
        gpadl: U32,
        /// Processor that takes the channel's interrupts; before 2.4 it is always 0.
        target_processor: U32,
        /// Page of the GPADL at which the ring to the guest begins.
        downstream_page: U32,
        /// For the device.
        user_data: [u8; 120],
    }
    /// The body of an OPEN_RESULT.
    OpenResultBody {
        /// The channel.
        channel: U32,
        /// As in the request.
        open: U32,
        /// [`STATUS_SUCCESS`] or why not.
        status: U32,
    }
    /// The body of a GPADL_HEADER; ranges follow.
    GpadlHeaderBody {
        /// The channel it belongs to.
        channel: U32,
        /// Number chosen by the guest.
        gpadl: U32,
        /// Bytes of all ranges, those in GPADL_BODY messages included.
        range_bytes: U16,
        /// Number of ranges.
        range_count: U16,
    }
    /// The body of a GPADL_BODY; page numbers follow.
    GpadlBodyBody {
        /// Counts.
        number: U32,
        /// As in the header.
        gpadl: U32,
    }
    /// The body of a GPADL_CREATED.
    GpadlCreatedBody {
        /// The channel.
        channel: U32,
        /// The GPADL.
        gpadl: U32,
        /// [`STATUS_SUCCESS`] or why not.
        status: U32,
    }
    /// The body of a GPADL_TEARDOWN.
    GpadlTeardownBody {
        /// The channel.
        channel: U32,
        /// The GPADL.
        gpadl: U32,
    }
    /// The body of a GPADL_TORNDOWN.
    GpadlTorndownBody {
        /// The GPADL.
        gpadl: U32,
    }
    /// The body of an INITIATE_CONTACT.
    InitiateContactBody {
        /// Version wanted.
        version: U32,
        /// Processor that takes messages.
        target_processor: U32,
        /// Before 5.0 the address of the interrupt page; from then on the synthetic interrupt
        /// of messages in 7:0, the trust level in 15:8, feature flags in 63:32.
        target: U64,
        /// Address of a monitor page.
        monitor_to_guest: U64,
        /// Address of a monitor page.
        monitor_to_host: U64,
    }
    /// The body of a VERSION_RESPONSE.
    VersionResponseBody {
        /// 1: yes.
        supported: u8,
        /// 0: connected.
        state: u8,
        /// 0.
        reserved: U16,
        /// From 5.0 on the connection for all further messages, before the version again.
        version_or_connection: U32,
    }
    /// What follows [`VersionResponseBody`] from 6.0 on.
    VersionResponseFeatures {
        /// Feature flags that both have.
        features: U32,
    }
    /// The body of a MODIFY_CHANNEL.
    ModifyChannelBody {
        /// The channel.
        channel: U32,
        /// Processor that takes the channel's interrupts from now on.
        target_processor: U32,
    }
    /// The body of a MODIFY_CHANNEL_RESPONSE.
    ModifyChannelResponseBody {
        /// The channel.
        channel: U32,
        /// [`STATUS_SUCCESS`] or why not.
        status: U32,
    }
    /// The body of a TL_CONNECT_REQUEST, the part that all versions have.
    TlConnectRequestBody {
        /// The guest's end.
        endpoint: [u8; 16],
        /// What it wants to reach.
        service: [u8; 16],
    }
    /// The body of a TL_CONNECT_RESULT.
    TlConnectResultBody {
        /// As in the request.
        endpoint: [u8; 16],
        /// As in the request.
        service: [u8; 16],
        /// Why not.
        status: U32,
    }
}

/// A control message as bytes, header first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message without a body.
    pub fn bare(kind: u32) -> Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.resize(HEADER_BYTES, 0);
        Self(bytes)
    }

    /// A message with a body.
    pub fn new(kind: u32, body: &(impl IntoBytes + Immutable)) -> Self {
        Self::bare(kind).followed_by(body.as_bytes())
    }

    /// The same with more bytes behind.
    #[must_use]
    pub fn followed_by(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        debug_assert!(self.0.len() <= MAX_MESSAGE_BYTES);
        self
    }

    /// The bytes: at most [`MAX_MESSAGE_BYTES`].
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Type and body of a message, if it is long enough for a header.
pub fn split(message: &[u8]) -> Option<(u32, &[u8])> {
    let (kind, rest) = U32::read_from_prefix(message).ok()?;
    Some((kind.get(), rest.get(4..)?))
}

/// The fixed part of a body, and what follows it.
pub fn body<T: FromBytes + Copy>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_guests_check() {
        assert_eq!(HEADER_BYTES + size_of::<OfferBody>(), 196);
        assert_eq!(HEADER_BYTES + size_of::<VersionResponseBody>(), 16);
        assert_eq!(HEADER_BYTES + size_of::<InitiateContactBody>(), 40);
        assert_eq!(HEADER_BYTES + size_of::<OpenBody>(), 148);
        assert_eq!(HEADER_BYTES + size_of::<GpadlHeaderBody>(), 20);
    }

    #[test]
    fn short_messages_have_no_body() {
        assert_eq!(split(&[5, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(split(&[5, 0, 0, 0, 9, 9, 9, 9]), Some((5, &[][..])));
        assert!(body::<ChannelBody>(&[1, 2, 3]).is_none());
        let message = Message::new(kind::CLOSE, &ChannelBody { channel: 7.into() });
        let (kind, rest) = split(message.bytes()).unwrap();
        assert_eq!(kind, kind::CLOSE);
        assert_eq!(body::<ChannelBody>(rest).unwrap().0.channel.get(), 7);
    }
}
