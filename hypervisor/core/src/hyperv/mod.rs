//! Hyper-V's enlightenments, as the Top Level Functional Specification (TLFS) lays them down.
//!
//! [`Partition`] is what a machine's processors share, [`HyperV`] belongs to one processor and to
//! whoever runs it.

mod assist;
pub mod cpuid;
pub mod hypercall;
mod message;
mod msr;
mod partition;
mod reference_time;
mod stimer;
mod synic;

pub use hypercall::{Hypercall, HypercallAnswer};
pub use message::{Message, PostError, is_legal_message};
pub use msr::HyperV;
pub use partition::{Overlay, OverlayKind, Partition};
pub use reference_time::ReferenceClock;
pub use synic::Page;
