//! The handshake of a channel, which has one order.

use crate::wire::{Operation, Status, Version};

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Opened,
    Begun,
    Versioned(Version),
    Described(Version),
    Ready(Version),
}

/// The handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    stage: Stage,
}

impl Session {
    /// The version, once the guest may send requests.
    pub fn ready(&self) -> Option<Version> {
        match self.stage {
            Stage::Ready(version) => Some(version),
            _ => None,
        }
    }

    /// Takes a step of the handshake; `wanted` is the version that QUERY_PROTOCOL_VERSION names.
    pub fn step(&mut self, operation: Operation, wanted: Version) -> Status {
        let next = match (self.stage, operation) {
            (Stage::Opened, Operation::BEGIN_INITIALIZATION) => Stage::Begun,
            (Stage::Begun, Operation::QUERY_PROTOCOL_VERSION) => match wanted.is_supported() {
                true => Stage::Versioned(wanted),
                false => return Status::REVISION_MISMATCH,
            },
            (Stage::Versioned(version), Operation::QUERY_PROPERTIES) => Stage::Described(version),
            (Stage::Described(version), Operation::END_INITIALIZATION) => Stage::Ready(version),
            _ => return Status::INVALID_DEVICE_STATE,
        };
        self.stage = next;
        Status::SUCCESS
    }
}
