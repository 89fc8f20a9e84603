//! The two flash images of the emulated PC's UEFI firmware.

use std::path::PathBuf;

/// Paths of the firmware's code and of its variables as they are shipped; a run works on a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The code, opened read-only.
    pub code: PathBuf,
    /// The variable store, copied before each run.
    pub variables: PathBuf,
}
