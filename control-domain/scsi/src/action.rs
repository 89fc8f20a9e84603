//! What a command leads to.

use crate::sense::{Sense, SenseKey};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Status GOOD, with these bytes for the initiator: at most as many as it allowed.
    Data(Vec<u8>),
    /// Status CHECK CONDITION.
    Check(Sense),
    /// The medium has to do something first. Its success is status GOOD.
    Medium(Request),
    /// Status GOOD; the guest has put the medium out, which the machine may want to remember.
    Ejected,
}

/// Bytes of the medium. Always within it, and whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// What the medium has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes to the initiator.
    Read(Range),
    /// Bytes from the initiator.
    Write {
        /// Where to.
        range: Range,
        /// The command ends when a power cut can't take them back (FUA).
        durable: bool,
    },
    /// Everything written survives a power cut.
    Flush,
    /// One block, over and over.
    Fill {
        /// Where to.
        range: Range,
        /// The block.
        block: Vec<u8>,
    },
    /// No more use for these, in this order. They may read as before or as zeros.
    Discard(Vec<Range>),
    /// The bytes can be read; with `compare`, they are what the initiator sends.
    Verify {
        /// Which.
        range: Range,
        /// Whether bytes come from the initiator.
        compare: bool,
    },
}

/// Why the medium could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host can't read or write the file.
    Medium,
    /// The host has no room, and nobody waits for it.
    OutOfSpace,
    /// The disk is read-only after all.
    ReadOnly,
    /// What was compared differs.
    Different,
}

impl Request {
    /// Bytes that move between initiator and medium.
    pub fn transfer_length(&self) -> u64 {
        match self {
            Request::Read(range)
            | Request::Write { range, .. }
            | Request::Verify {
                range,
                compare: true,
            } => range.length,
            _ => 0,
        }
    }

    /// Sense for a request that failed. SPC-4 annex D.2 lists the codes.
    pub fn failure(&self, failure: Failure, block_size: u32) -> Sense {
        let (first, write) = match self {
            Request::Read(range) | Request::Verify { range, .. } => (Some(range.offset), false),
            Request::Write { range, .. } | Request::Fill { range, .. } => {
                (Some(range.offset), true)
            }
            Request::Flush | Request::Discard(_) => (None, true),
        };
        let sense = match failure {
            Failure::Medium if write => Sense::new(SenseKey::MediumError, 0x0c, 0x00),
            Failure::Medium => Sense::new(SenseKey::MediumError, 0x11, 0x00),
            Failure::OutOfSpace => Sense::new(SenseKey::DataProtect, 0x27, 0x07),
            Failure::ReadOnly => Sense::WRITE_PROTECTED,
            Failure::Different => Sense::new(SenseKey::Miscompare, 0x1d, 0x00),
        };
        match first {
            Some(offset) => sense.about(offset / u64::from(block_size.max(1))),
            None => sense,
        }
    }
}

/// Data, cut to what the initiator has room for.
pub(crate) fn data(mut bytes: Vec<u8>, allocation_length: usize) -> Result<Action, Sense> {
    bytes.truncate(allocation_length);
    Ok(Action::Data(bytes))
}

/// Status GOOD and nothing else.
pub(crate) const GOOD: Action = Action::Data(Vec::new());
