//! Who a new disk is, and when it was made.

use crate::Error;
use crate::detect::Format;
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

    /// An identity as people write it, for a format: a GUID, which a VHD stores without the swaps of one.
    pub fn parse_id(text: &str, format: Format) -> Option<[u8; 16]> {
        let mut id = vhdx::Guid::parse(text)?.0;
        if format == Format::Vhd {
            for part in [0..4, 4..6, 6..8] {
                id[part].reverse();
            }
        }
        Some(id)
    }

    /// A time stamp as people write it: `2026-11-23T04:05:06Z`, a blank instead of the T, and the Z may be missing. From 2000 to 2136.
    pub fn parse_timestamp(text: &str) -> Option<u32> {
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        vhd_seconds(time)
    }
}

/// A VHD's time stamp as people write it.
pub(crate) fn vhd_time(seconds: u32) -> String {
    let time = UNIX_EPOCH + VHD_EPOCH + Duration::from_secs(seconds.into());
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Seconds since 2000-01-01 UTC.
pub(crate) fn vhd_seconds(time: SystemTime) -> Option<u32> {
    let since = time
        .duration_since(UNIX_EPOCH)
        .ok()?
        .checked_sub(VHD_EPOCH)?;
    u32::try_from(since.as_secs()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_what_is_told() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let of_vhd = Identity::parse_id(text, Format::Vhd).unwrap();
        assert_eq!(vhd::identifier(&of_vhd), text);
        let of_vhdx = Identity::parse_id(text, Format::Vhdx).unwrap();
        assert_eq!(vhdx::Guid(of_vhdx).to_string(), text);
        assert_eq!(Identity::parse_id("0011", Format::Vhd), None);
        for text in [
            "2000-01-01T00:00:00Z",
            "2026-11-23T04:05:06Z",
            "2136-02-07T06:28:15Z",
        ] {
            assert_eq!(vhd_time(Identity::parse_timestamp(text).unwrap()), text);
        }
        assert_eq!(
            Identity::parse_timestamp("2026-11-23 04:05:06"),
            Some(848_721_906)
        );
        for text in ["1999-12-31T23:59:59Z", "2136-02-07T06:28:16Z", "yesterday"] {
            assert_eq!(Identity::parse_timestamp(text), None, "{text}");
        }
    }
}
