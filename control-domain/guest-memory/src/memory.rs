//! Guest memory by guest-physical address.

use crate::{Layout, Mapping, Range};
use std::io;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

/// There is no memory at this guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMemory(pub u64);

impl core::fmt::Display for NotMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no memory at guest-physical address {:#x}", self.0)
    }
}

impl std::error::Error for NotMemory {}

/// A mapping with its layout. Every access is bounds-checked against both.
#[derive(Debug)]
pub struct GuestMemory {
    mapping: Mapping,
    layout: Layout,
}

impl GuestMemory {
    /// Puts the two together.
    ///
    /// # Errors
    /// [`NotMemory`] with the address of a range that lies behind the mapping.
    pub fn new(mapping: Mapping, layout: Layout) -> Result<Self, NotMemory> {
        match layout
            .ranges()
            .iter()
            .find(|r| r.offset + r.length > mapping.length())
        {
            Some(range) => Err(NotMemory(range.gpa)),
            None => Ok(Self { mapping, layout }),
        }
    }

    /// Ordinary memory from address 0 on, for tests on a host. `length` is a multiple of 2 MiB.
    ///
    /// # Errors
    /// As [`Mapping::anonymous`].
    pub fn anonymous(length: u64) -> io::Result<Self> {
        let mut layout = Layout::default();
        let range = Range {
            gpa: 0,
            length,
            offset: 0,
        };
        layout.add(range).map_err(io::Error::other)?;
        Self::new(Mapping::anonymous(length)?, layout).map_err(io::Error::other)
    }

    /// The mapping behind.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The ranges that are memory.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn find(&self, gpa: u64, at: usize) -> Result<(u64, u64), NotMemory> {
        let gpa = gpa.checked_add(at as u64).ok_or(NotMemory(gpa))?;
        self.layout.find(gpa).ok_or(NotMemory(gpa))
    }

    /// Copies guest memory out.
    ///
    /// # Errors
    /// [`NotMemory`] with the first address that is none; what lay before it has been copied.
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), NotMemory> {
        let mut at = 0;
        while at < bytes.len() {
            let (offset, contiguous) = self.find(gpa, at)?;
            let length = contiguous.min((bytes.len() - at) as u64) as usize;
            self.mapping.read(offset, &mut bytes[at..at + length]);
            at += length;
        }
        Ok(())
    }

    /// Copies into guest memory.
    ///
    /// # Errors
    /// [`NotMemory`] with the first address that is none; what lay before it has been written.
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), NotMemory> {
        let mut at = 0;
        while at < bytes.len() {
            let (offset, contiguous) = self.find(gpa, at)?;
            let length = contiguous.min((bytes.len() - at) as u64) as usize;
            self.mapping.write(offset, &bytes[at..at + length]);
            at += length;
        }
        Ok(())
    }

    fn aligned(&self, gpa: u64, size: u64) -> Result<u64, NotMemory> {
        let (offset, contiguous) = self.find(gpa, 0)?;
        let fits = gpa.is_multiple_of(size) && offset.is_multiple_of(size) && contiguous >= size;
        if fits {
            Ok(offset)
        } else {
            Err(NotMemory(gpa))
        }
    }

    /// Reads a 32-bit word that the guest changes at the same time, in one access.
    ///
    /// # Errors
    /// [`NotMemory`], also for an address that is not a multiple of 4.
    pub fn load_u32(&self, gpa: u64) -> Result<u32, NotMemory> {
        let word = self.mapping.word32(self.aligned(gpa, 4)?);
        Ok(word.load(Acquire))
    }

    /// Writes a 32-bit word that the guest looks at meanwhile, in one access. What was written
    /// before is visible to who sees the word.
    ///
    /// # Errors
    /// As `load_u32`.
    pub fn store_u32(&self, gpa: u64, value: u32) -> Result<(), NotMemory> {
        let word = self.mapping.word32(self.aligned(gpa, 4)?);
        word.store(value, Release);
        Ok(())
    }

    /// Sets bits of a 64-bit word that the guest changes at the same time.
    ///
    /// # Errors
    /// [`NotMemory`], also for an address that is not a multiple of 8.
    pub fn set_bits(&self, gpa: u64, bits: u64) -> Result<(), NotMemory> {
        let word = self.mapping.word(self.aligned(gpa, 8)?);
        word.fetch_or(bits, SeqCst);
        Ok(())
    }

    /// Reads a 64-bit word that the guest changes at the same time, and leaves 0 there.
    ///
    /// # Errors
    /// As `set_bits`.
    pub fn take_bits(&self, gpa: u64) -> Result<u64, NotMemory> {
        let word = self.mapping.word(self.aligned(gpa, 8)?);
        Ok(word.swap(0, SeqCst))
    }

    /// Reads a little-endian value of `size` bytes, 1 to 8.
    ///
    /// # Errors
    /// [`NotMemory`], as `read`.
    pub fn read_value(&self, gpa: u64, size: usize) -> Result<u64, NotMemory> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes[..size.min(8)])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the low `size` bytes of a value, 1 to 8.
    ///
    /// # Errors
    /// [`NotMemory`], as `write`.
    pub fn write_value(&self, gpa: u64, value: u64, size: usize) -> Result<(), NotMemory> {
        self.write(gpa, &value.to_le_bytes()[..size.min(8)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_cross_ranges_and_stop_at_holes() {
        let mut layout = Layout::default();
        layout
            .add(Range {
                gpa: 0,
                length: 0x1000,
                offset: 0x20_0000,
            })
            .unwrap();
        layout
            .add(Range {
                gpa: 0x1000,
                length: 0x1000,
                offset: 0x30_0000,
            })
            .unwrap();
        let memory = GuestMemory::new(Mapping::anonymous(4 << 20).unwrap(), layout).unwrap();
        memory.write_value(0xffc, 0x1122_3344_5566_7788, 8).unwrap();
        assert_eq!(memory.read_value(0xffc, 8), Ok(0x1122_3344_5566_7788));
        assert_eq!(memory.read_value(0x1000, 4), Ok(0x1122_3344));
        assert_eq!(memory.read_value(0x1ffe, 4), Err(NotMemory(0x2000)));
        assert_eq!(memory.read_value(u64::MAX, 2), Err(NotMemory(u64::MAX)));
        memory.store_u32(0xffc, 7).unwrap();
        assert_eq!(memory.load_u32(0xffc), Ok(7));
        assert_eq!(memory.read_value(0xffc, 8), Ok(0x1122_3344_0000_0007));
        assert_eq!(memory.load_u32(0xffe), Err(NotMemory(0xffe)), "crosses");
        assert_eq!(memory.store_u32(0x2000, 1), Err(NotMemory(0x2000)));
        memory.set_bits(0x10, 1 << 40).unwrap();
        memory.set_bits(0x10, 2).unwrap();
        assert_eq!(memory.take_bits(0x10), Ok(1 << 40 | 2));
        assert_eq!(memory.take_bits(0x10), Ok(0));
        assert_eq!(memory.set_bits(0x14, 1), Err(NotMemory(0x14)));
        let mut layout = Layout::default();
        layout
            .add(Range {
                gpa: 0,
                length: 0x1000,
                offset: 0x40_0000,
            })
            .unwrap();
        assert!(GuestMemory::new(Mapping::anonymous(4 << 20).unwrap(), layout).is_err());
    }
}
