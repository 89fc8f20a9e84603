//! Room in the file for blocks: at its end, or where a discarded block was.

use crate::image::write_zeros;
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

/// Room that was given up since the file was opened.
#[derive(Default)]
pub struct Space {
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
        let file_length = self.image.length;
        if let Some(found) = self
            .space
            .free
            .iter()
            .rposition(|hole| hole.length == length)
        {
            let hole = self.space.free[found];
            if zeroed && !hole.clean {
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
            hole.clean = matches!(self.image.file.0.punch(hole.offset, hole.length), Ok(true));
            self.space.free.push(hole);
        }
    }
}
