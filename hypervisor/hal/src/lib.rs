//! What touches the machine: world switch, page tables, model-specific registers.
#![no_std]

pub mod handoff;
