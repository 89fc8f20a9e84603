//! Packets in a ring: a descriptor of 16 bytes, what its type adds, data, and a trailer of 8 bytes.
//! All begin on multiples of 8 bytes (Linux `include/linux/hyperv.h`, vmpacket_*).

use crate::paged_range::{PagedRange, RangeError};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;
/// Bytes behind a packet: where it began in the ring, which nobody needs.
pub const TRAILER_BYTES: u32 = 8;
/// Flag of a descriptor: the receiver must send a completion.
const WANTS_COMPLETION: u16 = 1;
/// Most ranges in a packet that describes memory.
const MOST_RANGES: u32 = 64;

/// What every packet begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Descriptor {
    /// A [`PacketKind`].
    pub kind: U16,
    /// Where the data begins, in units of 8 bytes from the descriptor on.
    pub data_offset8: U16,
    /// Descriptor and data in units of 8 bytes.
    pub length8: U16,
    /// Flags.
    pub flags: U16,
    /// Chosen by who sends the request; the completion repeats it.
    pub transaction: U64,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PacketKind {
    /// Data in the ring alone.
    InBand = 6,
    /// Data in memory of a GPADL that both know.
    TransferPages = 7,
    /// Data in memory that the packet lists.
    GpaDirect = 9,
    /// The answer to a packet that wanted one.
    Completion = 11,
}

impl PacketKind {
    /// By its number.
    pub fn from_number(number: u16) -> Option<Self> {
        [
            Self::InBand,
            Self::TransferPages,
            Self::GpaDirect,
            Self::Completion,
        ]
        .into_iter()
        .find(|kind| *kind as u16 == number)
    }
}

/// A part of the memory of a GPADL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRange {
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// A packet from the guest, copied out of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: PacketKind,
    /// The guest's number for it.
    pub transaction: u64,
    /// The guest waits for a completion.
    pub wants_completion: bool,
    /// The data in the ring, with up to 7 bytes of padding.
    pub data: Vec<u8>,
    /// Of a GPA-direct packet: the memory that it lists.
    pub ranges: Vec<PagedRange>,
    /// Of a transfer-page packet: the set's number and the parts of its GPADL.
    pub transfer: Option<(u16, Vec<TransferRange>)>,
}

/// Why a packet can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// There is no such type here.
    Kind(u16),
    /// What its type adds is longer than it says.
    Short,
    /// It lists more memory than any driver.
    Ranges(u32),
    /// It lists memory wrongly.
    Range(RangeError),
}

impl std::fmt::Display for PacketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a packet of type {kind}"),
            Self::Short => write!(f, "a packet's header is longer than it says"),
            Self::Ranges(count) => write!(f, "a packet with {count} ranges"),
            Self::Range(error) => write!(f, "a packet with {error}"),
        }
    }
}

impl Packet {
    /// Takes a packet apart whose descriptor was checked: `header` is what lies between descriptor
    /// and data.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        descriptor: &Descriptor,
        header: &[u8],
        data: Vec<u8>,
    ) -> Result<Self, PacketError> {
        let number = descriptor.kind.get();
        let kind = PacketKind::from_number(number).ok_or(PacketError::Kind(number))?;
        let mut packet = Self {
            kind,
            transaction: descriptor.transaction.get(),
            wants_completion: descriptor.flags.get() & WANTS_COMPLETION != 0,
            data,
            ranges: Vec::new(),
            transfer: None,
        };
        match kind {
            PacketKind::InBand | PacketKind::Completion => {}
            PacketKind::GpaDirect => packet.ranges = gpa_ranges(header)?,
            PacketKind::TransferPages => packet.transfer = Some(transfer_ranges(header)?),
        }
        Ok(packet)
    }
}

/// Two words: one without meaning (or a set's number), and the number of ranges.
fn range_count(header: &[u8]) -> Result<(u32, u32, &[u8]), PacketError> {
    let ([first, count], rest) =
        <[U32; 2]>::read_from_prefix(header).map_err(|_| PacketError::Short)?;
    if count > MOST_RANGES {
        return Err(PacketError::Ranges(count.get()));
    }
    Ok((first.get(), count.get(), rest))
}

fn gpa_ranges(header: &[u8]) -> Result<Vec<PagedRange>, PacketError> {
    let (_, count, mut rest) = range_count(header)?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (range, after) = PagedRange::parse(rest).map_err(PacketError::Range)?;
        ranges.push(range);
        rest = after;
    }
    Ok(ranges)
}

fn transfer_ranges(header: &[u8]) -> Result<(u16, Vec<TransferRange>), PacketError> {
    let (set, count, rest) = range_count(header)?;
    let list = <[[U32; 2]]>::ref_from_prefix_with_elems(rest, count as usize);
    let (list, _) = list.map_err(|_| PacketError::Short)?;
    let ranges = list.iter().map(|[length, offset]| TransferRange {
        offset: offset.get(),
        length: length.get(),
    });
    Ok((set as u16, ranges.collect()))
}

/// A packet for the guest.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    kind: PacketKind,
    transaction: u64,
    wants_completion: bool,
    header: Vec<u8>,
    data: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// Data; no answer is wanted.
    pub fn in_band(transaction: u64, data: &'a [u8]) -> Self {
        Self {
            kind: PacketKind::InBand,
            transaction,
            wants_completion: false,
            header: Vec::new(),
            data,
        }
    }

    /// The answer to the guest's packet with this transaction.
    pub fn completion(transaction: u64, data: &'a [u8]) -> Self {
        Self {
            kind: PacketKind::Completion,
            ..Self::in_band(transaction, data)
        }
    }

    /// Data that lies in parts of a GPADL that the guest knows as set `set`.
    pub fn transfer_pages(
        transaction: u64,
        set: u16,
        ranges: &[TransferRange],
        data: &'a [u8],
    ) -> Self {
        let count = ranges.len() as u32;
        let mut header = [u32::from(set), count].map(u32::to_le_bytes).concat();
        for range in ranges {
            header.extend_from_slice(&[range.length, range.offset].map(u32::to_le_bytes).concat());
        }
        Self {
            kind: PacketKind::TransferPages,
            header,
            ..Self::in_band(transaction, data)
        }
    }

    /// The same, and the guest must answer.
    #[must_use]
    pub fn wanting_completion(mut self) -> Self {
        self.wants_completion = true;
        self
    }

    /// Appends the packet's bytes, padded to a multiple of 8, without the trailer. `None`, and
    /// nothing appended: it is longer than a descriptor can say.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> Option<()> {
        let data_offset = DESCRIPTOR_BYTES as usize + self.header.len();
        let length = (data_offset + self.data.len()).next_multiple_of(8);
        let descriptor = Descriptor {
            kind: (self.kind as u16).into(),
            data_offset8: u16::try_from(data_offset / 8).ok()?.into(),
            length8: u16::try_from(length / 8).ok()?.into(),
            flags: u16::from(self.wants_completion).into(),
            transaction: self.transaction.into(),
        };
        let end = bytes.len() + length;
        bytes.extend_from_slice(descriptor.as_bytes());
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(self.data);
        bytes.resize(end, 0);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Packet, PacketError> {
        let (descriptor, rest) = Descriptor::read_from_prefix(bytes).unwrap();
        let data_at = usize::from(descriptor.data_offset8.get()) * 8 - 16;
        Packet::parse(&descriptor, &rest[..data_at], rest[data_at..].to_vec())
    }

    #[test]
    fn what_is_encoded_is_understood() {
        let ranges = [TransferRange {
            offset: 0x600,
            length: 77,
        }];
        let outgoing = Outgoing::transfer_pages(9, 0xcafe, &ranges, b"hello").wanting_completion();
        let mut bytes = Vec::new();
        outgoing.encode(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 16 + 16 + 8);
        let packet = decode(&bytes).unwrap();
        assert_eq!(packet.transfer, Some((0xcafe, ranges.to_vec())));
        assert_eq!((packet.transaction, packet.wants_completion), (9, true));
        assert_eq!(packet.data, b"hello\0\0\0");
        let long = vec![0; 1 << 20];
        assert!(Outgoing::in_band(0, &long).encode(&mut bytes).is_none());
    }

    #[test]
    fn hostile_headers_are_refused() {
        let descriptor = |kind: u16| Descriptor {
            kind: kind.into(),
            ..Descriptor::new_zeroed()
        };
        let parse = |kind, header: &[u32]| {
            let header: Vec<u8> = header.iter().flat_map(|w| w.to_le_bytes()).collect();
            Packet::parse(&descriptor(kind), &header, Vec::new())
        };
        assert_eq!(parse(0, &[]), Err(PacketError::Kind(0)));
        assert_eq!(parse(9, &[0]), Err(PacketError::Short));
        assert_eq!(parse(9, &[0, 65]), Err(PacketError::Ranges(65)));
        let truncated = PacketError::Range(RangeError::Truncated);
        assert_eq!(parse(9, &[0, 1, 8, 0]), Err(truncated));
        assert_eq!(parse(7, &[1, 2, 8, 0]), Err(PacketError::Short));
        let good = parse(9, &[0, 1, 8, 0, 5, 0]).unwrap();
        assert_eq!(good.ranges[0].length(), 8);
    }

    use zerocopy::FromZeros;
}
