//! Messages as they lie in memory, little-endian.

pub mod ndis;
pub mod nvsp;
pub mod rndis;

pub use nvsp::Version;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// A structure at `at`, if it is all there.
pub(crate) fn at<T>(bytes: &[u8], at: usize) -> Option<T>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned + Copy,
{
    let (value, _) = T::ref_from_prefix(bytes.get(at..)?).ok()?;
    Some(*value)
}
