//! The one exception that these tables and registers raise.

/// The access raises #GP(0) in the guest and changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;
