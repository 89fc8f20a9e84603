//! A request under way, and its end.

use crate::wire::{
    AUTOSENSE_VALID, HEADER_LENGTH, Header, LONG_LENGTH, Operation, Request, SENSE_LENGTH,
    SHORT_LENGTH, ScsiStatus, SrbStatus, Status,
};
use guest_buffer::Buffer;
use scsi::{Failure, Sense};
use zerocopy::{FromBytes, IntoBytes};

/// Which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Target.
    pub target: u8,
    /// Logical unit.
    pub lun: u8,
}

/// A completion to put on the channel that its packet came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The packet's.
    pub transaction_id: u64,
    /// As long as the packet was.
    pub payload: Vec<u8>,
}

/// A packet that is answered: what came, to be sent back changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    transaction_id: u64,
    bytes: [u8; LONG_LENGTH],
    length: usize,
    wants_completion: bool,
}

/// Bytes of the part of a packet that holds a request.
const REQUEST: std::ops::Range<usize> = HEADER_LENGTH..SHORT_LENGTH;

impl Pending {
    /// Takes a packet; short ones are filled up with zeros.
    pub fn new(transaction_id: u64, wants_completion: bool, payload: &[u8]) -> Self {
        let length = payload.len().clamp(SHORT_LENGTH, LONG_LENGTH);
        let mut bytes = [0; LONG_LENGTH];
        let given = payload.len().min(LONG_LENGTH);
        bytes[..given].copy_from_slice(&payload[..given]);
        Self {
            transaction_id,
            bytes,
            length,
            wants_completion,
        }
    }

    pub fn operation(&self) -> Operation {
        let [a, b, c, d, ..] = self.bytes;
        Operation(u32::from_le_bytes([a, b, c, d]))
    }

    /// What follows the header.
    pub fn payload(&mut self) -> &mut [u8] {
        &mut self.bytes[HEADER_LENGTH..]
    }

    /// The request that follows the header.
    pub fn request(&self) -> Option<Request> {
        Request::read_from_bytes(&self.bytes[REQUEST]).ok()
    }

    /// The answer, if one is wanted.
    pub fn complete(mut self, status: Status) -> Option<Completion> {
        let header = Header {
            operation: Operation::COMPLETE_IO.0.into(),
            flags: 0.into(),
            status: status.0.into(),
        };
        self.bytes[..HEADER_LENGTH].copy_from_slice(header.as_bytes());
        self.wants_completion.then(|| Completion {
            transaction_id: self.transaction_id,
            payload: self.bytes[..self.length].to_vec(),
        })
    }

    /// Ends a SCSI request that found no unit, or was not understood.
    pub fn refuse(self, status: SrbStatus) -> Option<Completion> {
        self.end(status, None, 0)
    }

    /// Ends a SCSI request after so many bytes.
    pub fn succeed(self, moved: u32) -> Option<Completion> {
        self.end(SrbStatus::SUCCESS, None, moved)
    }

    /// Ends a SCSI request with sense.
    pub fn check(self, sense: &Sense) -> Option<Completion> {
        self.end(SrbStatus::ERROR, Some(sense), 0)
    }

    fn end(mut self, status: SrbStatus, sense: Option<&Sense>, moved: u32) -> Option<Completion> {
        let mut request = self.request()?;
        request.srb_status = status.0;
        request.scsi_status = ScsiStatus::Good as u8;
        request.transfer_length = moved.into();
        let room = usize::from(request.sense_length);
        request.sense_length = 0;
        if let Some(sense) = sense {
            let bytes = sense.to_bytes();
            let length = room.min(bytes.len());
            request.scsi_status = ScsiStatus::CheckCondition as u8;
            request.cdb_or_sense = [0; SENSE_LENGTH];
            request.cdb_or_sense[..length].copy_from_slice(&bytes[..length]);
            request.sense_length = length as u8;
            if length > 0 {
                request.srb_status |= AUTOSENSE_VALID;
            }
        }
        self.bytes[REQUEST].copy_from_slice(request.as_bytes());
        self.complete(status.packet_status())
    }
}

/// A request that the medium has to carry out. It stands for itself: the controller may be changed or
/// be gone when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// Whose medium.
    pub address: Address,
    /// What to do.
    pub request: scsi::Request,
    /// Guest memory of [`scsi::Request::transfer_length`] bytes.
    pub buffer: Buffer,
    pub(crate) block_size: u32,
    pub(crate) pending: Pending,
}

impl Io {
    /// Its completion; none if the guest wants none.
    pub fn finish(self, result: Result<(), Failure>) -> Option<Completion> {
        match result {
            Ok(()) => self.pending.succeed(self.request.transfer_length() as u32),
            Err(failure) => {
                let sense = self.request.failure(failure, self.block_size);
                self.pending.check(&sense)
            }
        }
    }

    /// The guest's buffer turned out to be no memory.
    pub fn refuse(self) -> Option<Completion> {
        self.pending.refuse(SrbStatus::INVALID_REQUEST)
    }
}
