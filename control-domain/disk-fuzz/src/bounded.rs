//! A file that can't grow without end, as on a full disk.

use disk::Storage;
use disk_testing::Image;
use std::io;

/// Most bytes that may be written.
const ROOM: u64 = 64 << 20;
/// Where the file ends at the latest.
const MOST_LENGTH: u64 = 4 << 30;

/// A file in memory with little room.
#[derive(Clone)]
pub struct Bounded {
    image: Image,
    room: u64,
}

impl Bounded {
    pub fn new(image: Image) -> Self {
        Self { image, room: ROOM }
    }
}

impl Storage for Bounded {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, data)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let left = self.room.checked_sub(data.len() as u64);
        let end = offset.checked_add(data.len() as u64);
        let (Some(left), Some(0..=MOST_LENGTH)) = (left, end) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        self.room = left;
        self.image.write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        self.image.length()
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.image.punch(offset, length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        match length {
            0..=MOST_LENGTH => self.image.set_length(length),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}
