//! How a machine's run ends.

use std::fmt;

/// Why the processors were stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest asked for a reset.
    Reset,
    /// The guest powered off; a test payload gives a code.
    PoweredOff(u8),
    /// A processor met a fault while it delivered a double fault.
    TripleFault(String),
    /// The vmm or the hypervisor can't go on with this guest.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("guest reset"),
            Self::PoweredOff(_) => f.write_str("guest powered off"),
            Self::TripleFault(what) => write!(f, "guest triple fault: {what}"),
            Self::Failed(what) => write!(f, "guest stopped: {what}"),
        }
    }
}
