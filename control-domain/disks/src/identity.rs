//! Who a new disk is, and when it was made.

use crate::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The second at which the time stamps of VHD begin: 2000-01-01 UTC, since 1970.
pub(crate) const VHD_EPOCH: Duration = Duration::from_secs(946_684_800);

/// Identity and time of a new disk. Given, the same operation writes the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The disk's identity; whatever else the format wants is derived from it.
    pub unique_id: [u8; 16],
    /// When it was made, in seconds since 2000-01-01 UTC.
    pub timestamp: u32,
}

impl Identity {
    /// A random identity and the time now.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn random() -> Result<Self, Error> {
        let source = Path::new("/dev/urandom");
        let mut unique_id = [0; 16];
        File::open(source)
            .and_then(|mut file| file.read_exact(&mut unique_id))
            .map_err(Error::file(source, "read"))?;
        // Version 4, variant 1 (RFC 9562).
        unique_id[6] = unique_id[6] & 0x0f | 0x40;
        unique_id[8] = unique_id[8] & 0x3f | 0x80;
        Ok(Self {
            unique_id,
            timestamp: vhd_seconds(SystemTime::now()).unwrap_or(0),
        })
    }
}

/// Seconds since 2000-01-01 UTC.
pub(crate) fn vhd_seconds(time: SystemTime) -> Option<u32> {
    let since = time
        .duration_since(UNIX_EPOCH)
        .ok()?
        .checked_sub(VHD_EPOCH)?;
    u32::try_from(since.as_secs()).ok()
}
