//! How far an operation has come.

/// Told again and again while an operation runs: bytes done, bytes in total (of the virtual disk, or
/// of what is to be moved). The last call says that both are equal.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
