//! Why a call was refused.

use hypervisor_abi::{Call, Status};

/// A refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The hypervisor said no, and why. Nothing was changed.
    Refused {
        /// Which call.
        call: Call,
        /// Why.
        status: Status,
    },
    /// The answer is not part of the interface: another version, or no hypervisor of ours.
    UnknownAnswer {
        /// Which call.
        call: Call,
        /// What came back.
        value: u64,
    },
    /// A call over a range said Ok but did nothing, so that repeating it would never end.
    NoProgress {
        /// Which call.
        call: Call,
        /// Bytes that were done before.
        done: u64,
    },
}

impl CallError {
    /// The status, if the hypervisor refused.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// What a status means for the person who reads the log.
fn meaning(status: Status) -> &'static str {
    match status {
        Status::Ok => "done",
        Status::UnknownCall => "the hypervisor does not know this call; it is of another version",
        Status::StaleHandle => "the machine does not exist any more",
        Status::NotMapped => "the memory is not mapped writable in this process",
        Status::NotGuestMemory => "the memory is not in the guest pool; give a granule of it",
        Status::Owned => "a running machine owns the memory; stop it or give another granule",
        Status::InvalidArgument => "an argument is out of its range or not aligned",
        Status::Overlap => "something is mapped at that guest-physical address already",
        Status::NotPresent => "nothing is mapped at that guest-physical address",
        Status::ProcessorExists => "the processor exists already",
        Status::NoProcessor => "there is no such processor",
        Status::Busy => "a processor is inside the guest on another CPU, or a queue is full",
        Status::OutOfPages => "the hypervisor's pages, or the machine's share, are used up",
        Status::TooManyMachines => "the hypervisor holds its most machines already",
        Status::InvalidState => "the processor state is not a legal one",
        Status::UnsupportedConfig => "the machine configuration is not supported",
        Status::WrongMode => "the caller is not in 64-bit mode",
    }
}

impl core::fmt::Display for CallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused { call, status } => {
                write!(
                    f,
                    "hypercall {call:?} refused: {} ({status:?})",
                    meaning(*status)
                )
            }
            Self::UnknownAnswer { call, value } => {
                write!(
                    f,
                    "hypercall {call:?}: unknown answer {value:#x}; is this the right hypervisor?"
                )
            }
            Self::NoProgress { call, done } => {
                write!(f, "hypercall {call:?}: no progress after {done:#x} bytes")
            }
        }
    }
}

impl std::error::Error for CallError {}
