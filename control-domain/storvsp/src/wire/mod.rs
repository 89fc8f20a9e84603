//! Packets as they lie on the ring, little-endian.

mod packet;
mod properties;
mod request;
mod version;

pub use packet::{
    HEADER_LENGTH, Header, LONG_LENGTH, Operation, PAYLOAD_LENGTH, SHORT_LENGTH, Status,
};
pub use properties::{Properties, SUPPORTS_SUBCHANNELS};
pub use request::{AUTOSENSE_VALID, CDB_LENGTH, Request, SENSE_LENGTH, ScsiStatus, SrbStatus};
pub use version::Version;
