//! Where the identifiers come from that a file gets while it is written: all from one number, which the
//! caller gives or chance does.

use crate::Guid;

/// [`crate::create()`]'s callers give a file its first ones, so these begin higher.
const DATA_WRITE: u32 = 16;

/// The data write GUID that a file gets with its first change when its identifiers are derived from `seed`.
pub fn next_data_write_guid(seed: Guid) -> Guid {
    seed.derived(DATA_WRITE)
}

/// Identifiers, no two the same.
pub struct Identifiers {
    seed: Guid,
    made: u32,
}

impl Identifiers {
    /// Those of a seed.
    pub fn new(seed: Guid) -> Self {
        Self {
            seed,
            made: DATA_WRITE,
        }
    }

    /// The next one.
    pub fn next(&mut self) -> Guid {
        self.made += 1;
        self.seed.derived(self.made)
    }

    /// For when the content changes, which is told once while a file is open.
    pub fn data_write(&self) -> Guid {
        next_data_write_guid(self.seed)
    }
}
