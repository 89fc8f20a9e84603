//! Video memory: a part of the machine's granules, mapped into the guest at the same time.

use crate::memory::BusMemory;
use devices::VideoMemory;

/// The video adapter's view of its memory.
pub struct PoolVideoMemory {
    /// The granules.
    pub memory: BusMemory,
    /// Where video memory begins in them.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u32,
}

impl PoolVideoMemory {
    /// The part of an access that lies within the memory.
    fn within(&self, offset: u32, length: usize) -> usize {
        length.min(self.size.saturating_sub(offset) as usize)
    }
}

impl VideoMemory for PoolVideoMemory {
    fn size(&self) -> u32 {
        self.size
    }

    fn read(&self, offset: u32, data: &mut [u8]) {
        let length = self.within(offset, data.len());
        data[length..].fill(0);
        if length > 0 {
            self.memory
                .0
                .mapping()
                .read(self.offset + u64::from(offset), &mut data[..length]);
        }
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        let length = self.within(offset, data.len());
        if length > 0 {
            self.memory
                .0
                .mapping()
                .write(self.offset + u64::from(offset), &data[..length]);
        }
    }
}
