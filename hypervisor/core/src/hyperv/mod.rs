//! Hyper-V's enlightenments, as the Top Level Functional Specification (TLFS) lays them down.

mod partition;

pub use partition::{Overlay, OverlayKind, Partition};
