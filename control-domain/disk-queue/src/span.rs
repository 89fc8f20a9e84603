//! Which requests must keep their order.

use crate::Command;

/// Largest logical sector: a disk may read and write whole ones on behalf of a part.
const SECTOR: u64 = 4096;

/// What a request touches, in whole sectors.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u64,
    end: u64,
    changes: bool,
}

impl Span {
    /// Of a request; nothing for a flush.
    pub fn of(command: &Command) -> Self {
        let (offset, length, changes) = match command {
            Command::Read { offset, memory } => (*offset, memory.length(), false),
            Command::Write { offset, memory } => (*offset, memory.length(), true),
            Command::Discard { offset, length } => (*offset, *length, true),
            Command::Flush => (0, 0, false),
        };
        Self {
            start: offset / SECTOR * SECTOR,
            end: match length {
                0 => 0,
                _ => offset.saturating_add(length).div_ceil(SECTOR) * SECTOR,
            },
            changes,
        }
    }

    /// Whether the later of the two has to wait for the earlier one.
    pub fn conflicts(&self, other: &Self) -> bool {
        (self.changes || other.changes) && self.start < other.end && other.start < self.end
    }
}
