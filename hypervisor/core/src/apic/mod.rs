//! The local APIC of a guest's processor, xAPIC and x2APIC (SDM vol. 3 ch. 11).

mod ipi;

pub use ipi::{Arrival, DeliveryMode, Destination, Identity, Ipi};
