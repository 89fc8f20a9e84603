//! What packets of pipes begin with: integration services, the mouse, video, sockets.

use crate::layout;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`PipeHeader::kind`] of data.
pub const PIPE_DATA: u32 = 1;

layout! {
    /// What every packet of a pipe begins with.
    PipeHeader {
        /// [`PIPE_DATA`].
        kind: U32,
        /// Bytes that follow.
        length: U32,
    }
}

impl PipeHeader {
    /// The header of so many bytes of data.
    pub fn of(length: usize) -> Self {
        Self {
            kind: PIPE_DATA.into(),
            length: (length as u32).into(),
        }
    }

    /// The bytes that a packet's header names. Nothing: they are not all there.
    pub fn data_of(packet: &[u8]) -> Option<&[u8]> {
        let (header, rest) = Self::read_from_prefix(packet).ok()?;
        rest.get(..header.length.get() as usize)
    }
}
