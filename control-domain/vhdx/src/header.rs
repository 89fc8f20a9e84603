//! The two headers, section 2.2.2: the one with the higher sequence number is valid, the other one is
//! what the next update overwrites (section 2.2.2.1).

use crate::{Guid, MIB};
use disk::{Checked, DiskError, Storage, invalid};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the headers lie.
pub const OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
const SIZE: usize = 4096;
const SIGNATURE: [u8; 4] = *b"head";

/// A header as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// "head".
    pub signature: [u8; 4],
    /// CRC-32C of all 4096 bytes, with this field zero.
    pub checksum: U32,
    /// The higher, the newer.
    pub sequence_number: U64,
    /// Changes with every opening that writes.
    pub file_write_guid: Guid,
    /// Changes with every opening that changes what the guest sees.
    pub data_write_guid: Guid,
    /// The entries of the log that count; zero if none does.
    pub log_guid: Guid,
    /// 0.
    pub log_version: U16,
    /// 1.
    pub version: U16,
    /// Size of the log in bytes, whole MiB.
    pub log_length: U32,
    /// Where it lies, whole MiB.
    pub log_offset: U64,
    /// Zero.
    pub reserved: [u8; 4016],
}

impl Header {
    /// A header of a new file.
    pub fn new(
        file_write_guid: Guid,
        data_write_guid: Guid,
        log_offset: u64,
        log_length: u32,
    ) -> Self {
        Self {
            signature: SIGNATURE,
            checksum: U32::ZERO,
            sequence_number: U64::ZERO,
            file_write_guid,
            data_write_guid,
            log_guid: Guid::ZERO,
            log_version: U16::ZERO,
            version: U16::new(1),
            log_length: U32::new(log_length),
            log_offset: U64::new(log_offset),
            reserved: [0; 4016],
        }
    }

    /// Checks the header at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8; SIZE], offset: u64) -> Result<Self, DiskError> {
        let header =
            Self::read_from_bytes(bytes).map_err(|_| invalid(offset, "header cut short"))?;
        if header.signature != SIGNATURE {
            return Err(invalid(offset, "no VHDX header (\"head\" is missing)"));
        }
        let sum = crc_without(bytes, 4);
        if header.checksum.get() != sum {
            return Err(invalid(
                offset,
                format!(
                    "the header's checksum is {:#010x}, its bytes give {sum:#010x}",
                    header.checksum.get()
                ),
            ));
        }
        Ok(header)
    }

    /// Checks what only the valid header must have right.
    fn check(&self, offset: u64, file_length: u64) -> Result<(), DiskError> {
        if self.version.get() != 1 {
            let reason = format!("VHDX version {} is unknown", self.version.get());
            return Err(invalid(offset, reason));
        }
        if !self.log_guid.is_zero() && self.log_version.get() != 0 {
            let reason = format!(
                "the file holds a log of the unknown version {}; close it where it was written",
                self.log_version.get()
            );
            return Err(invalid(offset, reason));
        }
        let (start, length) = (self.log_offset.get(), u64::from(self.log_length.get()));
        let fits = start
            .checked_add(length)
            .is_some_and(|end| end <= file_length);
        if start < MIB
            || !start.is_multiple_of(MIB)
            || length == 0
            || !length.is_multiple_of(MIB)
            || !fits
        {
            let reason =
                format!("the log of {length} bytes at {start:#x} is not whole MiB within the file");
            return Err(invalid(offset, reason));
        }
        Ok(())
    }
}

/// CRC-32C of `bytes` with the four at `checksum` taken as zero.
pub fn crc_without(bytes: &[u8], checksum: usize) -> u32 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..checksum]), &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[checksum + 4..])
}

/// The valid header, and in which of the two places it is.
#[derive(Clone, Debug)]
pub struct Headers {
    /// The valid header.
    pub current: Header,
    /// Index into [`OFFSETS`].
    place: usize,
}

impl Headers {
    /// The headers of a new file that has none yet.
    pub fn new(current: Header) -> Self {
        Self { current, place: 1 }
    }

    /// Reads both.
    pub fn read_both<S: Storage>(storage: &mut Checked<S>) -> [Result<Header, DiskError>; 2] {
        OFFSETS.map(|offset| {
            let mut bytes = [0; SIZE];
            storage.read(offset, &mut bytes)?;
            Header::parse(&bytes, offset)
        })
    }

    /// Reads both and chooses.
    ///
    /// # Errors
    /// If none is valid, or both claim to be.
    pub fn read<S: Storage>(storage: &mut Checked<S>, file_length: u64) -> Result<Self, DiskError> {
        let headers = match Self::read_both(storage) {
            [Ok(first), Ok(second)] => match first.sequence_number.cmp(&second.sequence_number) {
                core::cmp::Ordering::Equal if first != second => {
                    let reason = "both headers have the same sequence number but differ; restore the file from a copy";
                    return Err(invalid(OFFSETS[0], reason));
                }
                core::cmp::Ordering::Less => Self {
                    current: second,
                    place: 1,
                },
                _ => Self {
                    current: first,
                    place: 0,
                },
            },
            [Ok(first), Err(_)] => Self {
                current: first,
                place: 0,
            },
            [Err(_), Ok(second)] => Self {
                current: second,
                place: 1,
            },
            [Err(DiskError::Invalid { offset, reason }), Err(_)] => {
                let reason =
                    format!("both headers are bad: {reason}; restore the file from a copy");
                return Err(invalid(offset, reason));
            }
            [Err(error), Err(_)] => return Err(error),
        };
        headers.current.check(OFFSETS[headers.place], file_length)?;
        Ok(headers)
    }

    /// Writes a changed header over the older one, and flushes; then it is the valid one.
    ///
    /// # Errors
    /// If the file can't be written, or was so often that headers can't be numbered any more; the header in
    /// memory then stays as it was.
    pub fn update<S: Storage>(
        &mut self,
        storage: &mut Checked<S>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), DiskError> {
        let mut header = self.current.clone();
        change(&mut header);
        let number = header.sequence_number.get().checked_add(1);
        header.sequence_number = U64::new(number.ok_or_else(|| DiskError::Unsupported {
            reason: "its header has the last sequence number that there is, so the file can't be written; convert it".into(),
        })?);
        header.checksum = U32::new(crc_without(header.as_bytes(), 4));
        let place = 1 - self.place;
        storage.write(OFFSETS[place], header.as_bytes())?;
        storage.flush()?;
        *self = Self {
            current: header,
            place,
        };
        Ok(())
    }
}
