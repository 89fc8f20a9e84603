//! Layouts of all services, little-endian: a pipe header, the services' header, the message.
//! Source: Linux `include/uapi/linux/hyperv.h`, `include/linux/hyperv.h` (icmsg_hdr).

use vmbus::layout;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A version, of the framework or of a service.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Version {
    /// Major number.
    pub major: U16,
    /// Minor number.
    pub minor: U16,
}

impl Version {
    /// A version.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major: U16::new(major),
            minor: U16::new(minor),
        }
    }

    /// Both numbers.
    pub fn numbers(self) -> (u16, u16) {
        (self.major.get(), self.minor.get())
    }
}

/// Message types.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const NEGOTIATE: u16 = 0;
    pub const HEARTBEAT: u16 = 1;
    pub const KEY_VALUE: u16 = 2;
    pub const SHUTDOWN: u16 = 3;
    pub const TIME_SYNC: u16 = 4;
    pub const BACKUP: u16 = 5;
    pub const FILE_COPY: u16 = 7;
}

/// Flags of [`Header`]: a request that is answered.
pub const REQUEST: u8 = 1 | 2;
/// Flags of [`Header`]: the bit of an answer.
pub const RESPONSE: u8 = 4;
pub use vmbus::{PIPE_DATA, PipeHeader};

/// Most bytes of a file in a message.
pub const FILE_COPY_BYTES: usize = 6144;

layout! {
    /// What every message begins with.
    Header {
        /// Version of the framework.
        framework: Version,
        /// Which service's message.
        kind: U16,
        /// Version of the service.
        version: Version,
        /// Bytes that follow.
        length: U16,
        /// Of a response: an HRESULT.
        status: U32,
        /// Repeated in the response.
        transaction: u8,
        /// [`REQUEST`] or [`RESPONSE`].
        flags: u8,
        /// 0.
        reserved: [u8; 2],
    }
    /// Negotiation; versions of the framework follow, then those of the service.
    Negotiate {
        /// Versions of the framework.
        framework_count: U16,
        /// Versions of the service.
        version_count: U16,
        /// 0.
        reserved: U32,
    }
    /// Heartbeat. The guest answers with the next number.
    Heartbeat {
        /// Counts.
        sequence: U64,
        /// How the guest's applications are: 0 unknown, 1 healthy, 2 critical, 3 stopped.
        applications: U32,
        /// 0.
        reserved: [U32; 7],
    }
    /// Shutdown; 2048 bytes of text follow.
    Shutdown {
        /// Why, as Windows counts reasons.
        reason: U32,
        /// Time for applications.
        timeout_seconds: U32,
        /// Bit 0 force, bit 1 restart, bit 2 hibernate.
        flags: U32,
    }
    /// Time, version 4.
    TimeReference {
        /// The host's time: 100 ns since 1601, UTC.
        host_time: U64,
        /// The guest's reference counter at that moment.
        reference_time: U64,
        /// Flags of `time_sync`.
        flags: u8,
        /// Leap second announced.
        leap: u8,
        /// As in NTP.
        stratum: u8,
        /// 0.
        reserved: [u8; 3],
    }
    /// Time, versions 1 and 3.
    TimeSample {
        /// The host's time: 100 ns since 1601, UTC.
        host_time: U64,
        /// Not used.
        guest_time: U64,
        /// Not used.
        round_trip: U64,
        /// Flags of `time_sync`.
        flags: u8,
    }
    /// One key and its value, told.
    Set {
        /// 1: set.
        operation: u8,
        /// Which pool.
        pool: u8,
        /// 0.
        reserved: U16,
        /// 1: text.
        value_type: U32,
        /// Bytes of the key, its 0 included.
        key_bytes: U32,
        /// Bytes of the value, its 0 included.
        value_bytes: U32,
        /// UTF-16.
        key: [u8; 512],
        /// UTF-16.
        value: [u8; 2048],
    }
    /// One key and its value, asked for by its number.
    Enumerate {
        /// 3: enumerate.
        operation: u8,
        /// Which pool.
        pool: u8,
        /// 0.
        reserved: U16,
        /// Number.
        index: U32,
        /// 1: text.
        value_type: U32,
        /// Bytes of the key, its 0 included.
        key_bytes: U32,
        /// Bytes of the value, its 0 included.
        value_bytes: U32,
        /// UTF-16.
        key: [u8; 512],
        /// UTF-16.
        value: [u8; 2048],
    }
    /// Backup.
    Backup {
        /// An operation of `backup`.
        operation: u8,
        /// 0.
        reserved: [u8; 7],
        /// Of an answer: what the guest is able to.
        flags: U32,
    }
    /// What every message of a file copy begins with.
    FileCopy {
        /// An operation of `file_copy`.
        operation: U32,
        /// Not used.
        services: [U64; 4],
    }
    /// A file copy begins.
    FileCopyStart {
        /// What all have.
        header: FileCopy,
        /// UTF-16, ends with 0.
        file: [u8; 520],
        /// Its folder: UTF-16, ends with 0.
        folder: [u8; 520],
        /// Bit 0 replaces a file, bit 1 makes folders.
        flags: U32,
        /// Bytes of the file.
        size: U64,
    }
    /// A piece of a file.
    FileCopyData {
        /// What all have.
        header: FileCopy,
        /// 0.
        reserved: U32,
        /// Where in the file.
        offset: U64,
        /// How much of `data` it is.
        size: U32,
        /// The piece.
        data: [u8; FILE_COPY_BYTES],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_drivers() {
        assert_eq!(size_of::<PipeHeader>() + size_of::<Header>(), 28);
        assert_eq!(size_of::<Heartbeat>(), 40);
        assert_eq!(size_of::<TimeReference>(), 22);
        assert_eq!(size_of::<TimeSample>(), 25);
        assert_eq!(size_of::<Enumerate>(), 2580);
        assert_eq!(size_of::<Set>(), 2576);
        assert_eq!(size_of::<Backup>(), 12);
        assert_eq!(size_of::<FileCopyStart>(), 1088);
        assert_eq!(size_of::<FileCopyData>(), 6196);
    }
}
