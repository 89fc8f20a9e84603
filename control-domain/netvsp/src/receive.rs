//! Frames into RNDIS packets, and the pieces of the guest's receive buffer that they lie in.

use crate::wire::rndis::{MessageType, PACKET_LENGTH, Packet, message};
use guest_buffer::{Buffer, Memory, OutsideMemory};
use zerocopy::IntoBytes;

/// Room for what stands before a frame, and beside it.
const BEFORE_FRAME: u32 = 8 + PACKET_LENGTH as u32 + 64;
/// Pieces are multiples of this.
const PIECE_ALIGNMENT: u32 = 64;
/// Pieces at most, whatever the guest's buffer would hold.
const MOST_PIECES: u32 = 1 << 15;

/// The guest has no room for a message, or is not ready for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The receive buffer.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveBuffer {
    buffer: Buffer,
    pub piece_length: u32,
    pub pieces: u32,
    free: Vec<u32>,
    /// Which pieces the guest has.
    lent: Vec<bool>,
}

impl ReceiveBuffer {
    /// Divides a buffer into pieces that hold frames of `frame_length` bytes; none if not even one fits.
    pub fn new(buffer: Buffer, frame_length: u32) -> Option<Self> {
        let piece_length = frame_length
            .checked_add(BEFORE_FRAME)?
            .checked_next_multiple_of(PIECE_ALIGNMENT)?;
        let fit = buffer.length() / u64::from(piece_length);
        let pieces = fit.min(MOST_PIECES.into()) as u32;
        (pieces > 0).then(|| Self {
            buffer,
            piece_length,
            pieces,
            free: (0..pieces).rev().collect(),
            lent: vec![false; pieces as usize],
        })
    }

    /// Puts a message into a free piece. Answers the piece, which is lent until the guest completes it.
    pub fn put<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        bytes: &[u8],
    ) -> Result<Result<u32, OutsideMemory>, NoRoom> {
        if bytes.len() > self.piece_length as usize {
            return Err(NoRoom);
        }
        let piece = *self.free.last().ok_or(NoRoom)?;
        let stored = self.buffer.store(memory, self.offset(piece).into(), bytes);
        Ok(stored.map(|()| {
            self.free.pop();
            self.lent[piece as usize] = true;
            piece
        }))
    }

    /// Whether a frame fits a piece, whatever is said beside it.
    pub fn fits(&self, frame: &[u8]) -> bool {
        frame.len() + BEFORE_FRAME as usize <= self.piece_length as usize
    }

    /// Where a piece begins.
    pub fn offset(&self, piece: u32) -> u32 {
        piece * self.piece_length
    }

    /// The guest is through with a piece. Says no if it did not have it.
    pub fn give_back(&mut self, piece: u64) -> bool {
        let lent = usize::try_from(piece)
            .ok()
            .and_then(|at| self.lent.get_mut(at));
        match lent {
            Some(lent) if *lent => {
                *lent = false;
                self.free.push(piece as u32);
                true
            }
            _ => false,
        }
    }
}

/// An RNDIS packet of a frame, with information beside it.
pub(crate) fn packet(frame: &[u8], info: &[u8]) -> Vec<u8> {
    let body = Packet {
        data_offset: ((PACKET_LENGTH + info.len()) as u32).into(),
        data_length: (frame.len() as u32).into(),
        out_of_band: [0.into(); 3],
        info_offset: (if info.is_empty() {
            0
        } else {
            PACKET_LENGTH as u32
        })
        .into(),
        info_length: (info.len() as u32).into(),
        reserved: [0.into(); 2],
    };
    let body = [body.as_bytes(), info, frame].concat();
    message(MessageType::PACKET.0, &body)
}
