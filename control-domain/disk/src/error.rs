//! What is wrong with a disk file.

use std::io;

/// Why a disk can't be opened, read or written.
#[derive(Debug)]
pub enum DiskError {
    /// The file is not what its structures say, at this offset.
    Invalid {
        /// Offset in the file in bytes.
        offset: u64,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file is of a kind that is understood but not supported.
    Unsupported {
        /// Which kind, and what to do.
        reason: String,
    },
    /// A request behind the end of the disk.
    OutOfRange {
        /// First byte of the request.
        offset: u64,
        /// Its length in bytes.
        length: u64,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// The disk was opened for reading only.
    ReadOnly,
    /// The operating system could not read or write the file.
    Io {
        /// What was done.
        what: &'static str,
        /// Offset in the file in bytes.
        offset: u64,
        /// Why it failed.
        source: io::Error,
    },
}

impl DiskError {
    /// Whether the file could not be written for want of room: all that was written before is
    /// still there, and the same call works once there is room.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl core::fmt::Display for DiskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Invalid { offset, reason } => write!(f, "at offset {offset:#x}: {reason}"),
            Self::Unsupported { reason } => f.write_str(reason),
            Self::OutOfRange {
                offset,
                length,
                size,
            } => {
                write!(
                    f,
                    "{length} bytes at {offset:#x} are not within the disk of {size:#x} bytes"
                )
            }
            Self::ReadOnly => f.write_str("the disk was opened for reading only"),
            Self::Io {
                what,
                offset,
                source,
            } => write!(f, "can't {what} at offset {offset:#x}: {source}"),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Shorthand for [`DiskError::Invalid`].
pub fn invalid(offset: u64, reason: impl Into<String>) -> DiskError {
    DiskError::Invalid {
        offset,
        reason: reason.into(),
    }
}
