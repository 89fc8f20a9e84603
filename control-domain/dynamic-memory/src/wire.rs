//! Layouts of the protocol, little-endian. Source: Linux `drivers/hv/hv_balloon.c`.

use vmbus::layout;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Types of messages.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const VERSION_REQUEST: u16 = 1;
    pub const VERSION_RESPONSE: u16 = 2;
    pub const CAPABILITIES_REPORT: u16 = 3;
    pub const CAPABILITIES_RESPONSE: u16 = 4;
    pub const STATUS_REPORT: u16 = 5;
    pub const BALLOON_REQUEST: u16 = 6;
    pub const BALLOON_RESPONSE: u16 = 7;
    pub const UNBALLOON_REQUEST: u16 = 8;
    pub const UNBALLOON_RESPONSE: u16 = 9;
    pub const HOT_ADD_REQUEST: u16 = 10;
    pub const HOT_ADD_RESPONSE: u16 = 11;
    /// Since 1.0.
    pub const INFORMATION: u16 = 12;
}

/// Versions, the major number in the upper half: of Windows 10, 8 and 7.
pub const VERSIONS: [u32; 3] = [2 << 16, 1 << 16, 3];
/// [`Information`] and pages' number 12 came with this one.
pub const FIRST_WITH_INFORMATION: u32 = 1 << 16;
/// [`Capabilities::flags`]: the guest gives pages.
pub const CAN_BALLOON: u64 = 1;
/// [`Capabilities::flags`]: memory can be added while the guest runs.
pub const CAN_HOT_ADD: u64 = 2;
/// [`BalloonResponse::more_and_ranges`], [`UnballoonRequest::more`]: another message of the same answer follows.
pub const MORE: u32 = 1;
/// [`Information::kind`]: the most pages that the guest will ever have.
pub const MOST_PAGES: u32 = 0;
/// The longest message that drivers take.
pub const MOST_BYTES: usize = 4096;

layout! {
    /// What every message begins with.
    Header {
        /// A constant of [`kind`].
        kind: U16,
        /// Bytes of the message, with this header.
        bytes: U16,
        /// The guest counts its own messages.
        transaction: U32,
    }
    /// The version that the driver wants.
    VersionRequest {
        /// One of [`VERSIONS`].
        version: U32,
        /// Bit 0: the driver has no other.
        last_attempt: U32,
    }
    /// The host's answer to a version or to capabilities.
    Accepted {
        /// Bit 0.
        accepted: U64,
    }
    /// What the driver can do.
    Capabilities {
        /// [`CAN_BALLOON`], [`CAN_HOT_ADD`]; bits 2 to 5: the alignment of what is added, as a power of 2, in MiB.
        flags: U64,
        /// The least pages that it needs.
        least: U64,
        /// The highest page that it can have.
        highest: U64,
    }
    /// How the guest is off, about once a second.
    Status {
        /// Pages that could be had.
        available: U64,
        /// Pages that are promised to programs, with those given to the host.
        committed: U64,
        /// Of page files.
        page_files: U64,
        /// Pages of zeros that are free.
        zeroed: U64,
        /// Since the last report.
        page_file_writes: U32,
        /// Of file cache and page files.
        io_difference: U32,
    }
    /// Give so many pages.
    BalloonRequest {
        /// A multiple of [`crate::PAGES_AT_ONCE`].
        pages: U32,
        /// 0.
        reserved: U32,
    }
    /// These pages are given; ranges follow.
    BalloonResponse {
        /// 0.
        reserved: U32,
        /// [`MORE`], and from bit 1 how many ranges follow.
        more_and_ranges: U32,
    }
    /// Use these pages again; ranges follow.
    UnballoonRequest {
        /// [`MORE`].
        more: U32,
        /// How many ranges follow.
        ranges: U32,
    }
    /// There is new memory: one range.
    HotAddRequest {
        /// As [`PageRange::to_word`].
        range: U64,
    }
    /// What became of it.
    HotAddResponse {
        /// So many pages are used, from the first one on.
        pages: U32,
        /// 1 without a page: it is not to be tried again.
        result: U32,
    }
    /// What the guest should know.
    Information {
        /// 0.
        reserved: U32,
        /// Bytes that follow.
        bytes: U32,
        /// [`MOST_PAGES`].
        kind: U32,
        /// Bytes of the value.
        value_bytes: U32,
        /// The value.
        value: U64,
    }
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// The first one's number.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl PageRange {
    const FIRST_BITS: u32 = 40;
    /// More don't fit into a message's range.
    pub const MOST: u64 = (1 << 24) - 1;

    /// From a message.
    pub fn from_word(word: u64) -> Self {
        Self {
            first: word & ((1 << Self::FIRST_BITS) - 1),
            count: word >> Self::FIRST_BITS,
        }
    }

    /// For a message.
    pub fn to_word(self) -> u64 {
        self.count << Self::FIRST_BITS | self.first
    }
}
