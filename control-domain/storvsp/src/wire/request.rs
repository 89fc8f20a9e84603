//! A SCSI request: what EXECUTE_SRB and the resets carry.

use super::packet::Status;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a command at most.
pub const CDB_LENGTH: usize = 16;
/// Bytes of sense data at most; up to version 4.2 the last two are not there for it.
pub const SENSE_LENGTH: usize = 20;
/// Set in an SRB's status when there is sense data.
pub const AUTOSENSE_VALID: u8 = 0x80;

/// The request, without what version 5.1 added behind it (tag, flags, time-out), which says nothing that
/// counts here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Request {
    /// Bytes of the request.
    pub length: U16,
    /// An [`SrbStatus`], with or without [`AUTOSENSE_VALID`].
    pub srb_status: u8,
    /// A [`ScsiStatus`].
    pub scsi_status: u8,
    /// The guest's number of the controller.
    pub port: u8,
    /// Bus.
    pub path: u8,
    /// Target.
    pub target: u8,
    /// Logical unit.
    pub lun: u8,
    /// Bytes of the command.
    pub cdb_length: u8,
    /// Room for sense data, then bytes of it.
    pub sense_length: u8,
    /// 1: to the guest. The command says so itself.
    pub data_in: u8,
    /// Zero.
    pub reserved: u8,
    /// Room for data, then bytes that moved.
    pub transfer_length: U32,
    /// The command, then sense data.
    pub cdb_or_sense: [u8; SENSE_LENGTH],
}

/// What became of the request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrbStatus(pub u8);

#[allow(missing_docs)] // The names are those of Windows' storport.
impl SrbStatus {
    pub const SUCCESS: SrbStatus = SrbStatus(0x01);
    pub const ERROR: SrbStatus = SrbStatus(0x04);
    pub const INVALID_REQUEST: SrbStatus = SrbStatus(0x06);
    pub const DATA_OVERRUN: SrbStatus = SrbStatus(0x12);
    pub const INVALID_LUN: SrbStatus = SrbStatus(0x20);

    /// The status of the packet around it.
    pub fn packet_status(self) -> Status {
        match self {
            SrbStatus::SUCCESS => Status::SUCCESS,
            SrbStatus::INVALID_REQUEST => Status::INVALID_DEVICE_REQUEST,
            SrbStatus::DATA_OVERRUN => Status::BUFFER_OVERFLOW,
            SrbStatus::INVALID_LUN => Status::DEVICE_DOES_NOT_EXIST,
            _ => Status::IO_DEVICE_ERROR,
        }
    }
}

/// What the unit said (SAM-5 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the standard's.
pub enum ScsiStatus {
    Good = 0,
    CheckCondition = 2,
}
