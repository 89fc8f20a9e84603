//! Room in the file for blocks: at its end, or where a discarded block was.

use crate::bat::BITMAP_SIZE;
use crate::image::write_zeros;
use crate::occupancy::Occupancy;
use crate::{MIB, Vhdx};
use disk::{DiskError, Storage};

/// Room where a block was.
#[derive(Clone, Copy, Debug)]
struct Hole {
    offset: u64,
    length: u64,
    /// Whether it is known to be zero.
    clean: bool,
}

/// Tables up to this many entries (32 MiB) are looked through for room that nothing points to, before the
/// first block is allocated. With larger ones only what is discarded while the disk is open is used again.
const MOST_ENTRIES: u64 = 4 << 20;
/// Holes that are remembered.
const MOST_HOLES: usize = 4096;

/// Room in the file that may be used again.
#[derive(Default)]
pub struct Space {
    /// Whether the table was looked through.
    searched: bool,
    /// May be used.
    free: Vec<Hole>,
    /// The table in the file still points to it.
    freed: Vec<Hole>,
}

/// Room that was taken for a block, zeroed.
pub(crate) struct Room {
    pub offset: u64,
    length: u64,
    /// The file's length before.
    file_length: u64,
}

impl<S: Storage> Vhdx<S> {
    /// Takes room for a block. Without `zeroed`, the caller writes all of it that counts.
    pub(crate) fn allocate(&mut self, length: u64, zeroed: bool) -> Result<Room, DiskError> {
        if !self.space.searched {
            self.search()?;
            self.space.searched = true;
        }
        let file_length = self.image.length;
        if let Some(found) = self
            .space
            .free
            .iter()
            .rposition(|hole| hole.length == length)
        {
            let hole = self.space.free[found];
            if zeroed && !hole.clean && !self.punch(hole.offset, length) {
                write_zeros(&mut self.image.file, hole.offset..hole.offset + length)?;
            }
            self.space.free.swap_remove(found);
            return Ok(Room {
                offset: hole.offset,
                length,
                file_length,
            });
        }
        let offset = file_length.next_multiple_of(MIB);
        self.image.file.set_length(offset + length)?;
        self.image.length = offset + length;
        Ok(Room {
            offset,
            length,
            file_length,
        })
    }

    /// Makes a hole in the file, where that is possible.
    fn punch(&mut self, offset: u64, length: u64) -> bool {
        self.image.file.punch(offset, length)
    }

    /// Finds room that nothing points to: what was discarded earlier, or a cut left behind.
    fn search(&mut self) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        if geometry.entries(geometry.size) > MOST_ENTRIES {
            return Ok(());
        }
        let mut occupancy = self.occupancy()?;
        // What was discarded since the file was opened is known already, and may still be needed.
        for hole in self.space.free.iter().chain(&self.space.freed) {
            occupancy.take(hole.offset..hole.offset + hole.length);
        }
        let (length, end) = (geometry.block_size, self.image.length);
        let mut from = MIB;
        while occupancy.used + length <= end
            && self.space.free.len() < MOST_HOLES
            && let Some(offset) = occupancy.find(from, length, end)
        {
            self.space.free.push(Hole {
                offset,
                length,
                clean: false,
            });
            from = offset + length;
        }
        Ok(())
    }

    /// What of the file is used, or may be by who knows more than we do.
    pub(crate) fn occupancy(&mut self) -> Result<Occupancy, DiskError> {
        let mut occupancy = self.image.structures();
        let geometry = self.image.geometry;
        for index in 0..geometry.entries(geometry.size) {
            // Blocks that are not present may still have their room, section 2.5.1.1.
            let offset = self.image.entry_place(index)?;
            if offset != 0 {
                let length = if geometry.is_bitmap(index) {
                    BITMAP_SIZE
                } else {
                    geometry.block_size
                };
                occupancy.take(offset..offset.saturating_add(length));
            }
        }
        Ok(occupancy)
    }

    /// Gives room back that nothing points to.
    pub(crate) fn give_back(&mut self, room: &Room) {
        let at_end =
            room.offset + room.length == self.image.length && room.file_length < self.image.length;
        if at_end && self.image.file.set_length(room.file_length).is_ok() {
            self.image.length = room.file_length;
        } else {
            self.space.free.push(Hole {
                offset: room.offset,
                length: room.length,
                clean: false,
            });
        }
    }

    /// A block is no longer pointed to: from the next commit on its room may be used.
    pub(crate) fn free(&mut self, offset: u64, length: u64) {
        self.space.freed.push(Hole {
            offset,
            length,
            clean: false,
        });
    }

    /// Forgets what is free: someone else keeps account of it now.
    pub(crate) fn forget_free(&mut self) {
        self.space.free.clear();
    }

    /// After a commit: the table no longer points to what was freed.
    pub(crate) fn settle_freed(&mut self) {
        for mut hole in core::mem::take(&mut self.space.freed) {
            // Where holes can't be made the room is used again all the same, after zeroing.
            hole.clean = self.punch(hole.offset, hole.length);
            self.space.free.push(hole);
        }
    }
}
