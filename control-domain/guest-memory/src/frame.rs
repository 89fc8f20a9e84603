//! The control frame: the first 2 MiB of the mapping, which the guest never sees.

use crate::Mapping;
use hypervisor_abi::{
    MAX_PROCESSORS, MachineConfig, RunPage, SCRATCH_OFFSET, STATE_AREA_SIZE, Statistics,
    run_page_offset, state_area_offset,
};

/// The slot of [`ControlFrame::write_message`] behind those of the processors.
pub const VMBUS_MESSAGE_SLOT: usize = MAX_PROCESSORS;

/// The shared pages between this vmm and the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct ControlFrame<'a> {
    mapping: &'a Mapping,
}

impl Mapping {
    /// The control frame.
    pub fn control_frame(&self) -> ControlFrame<'_> {
        ControlFrame { mapping: self }
    }
}

impl<'a> ControlFrame<'a> {
    /// The machine's configuration, read once when the machine is created.
    pub fn config(self) -> &'a MachineConfig {
        // SAFETY: a MachineConfig is made of atomics.
        unsafe { self.mapping.structure(hypervisor_abi::CONFIG_OFFSET as u64) }
    }

    /// The run page of a processor.
    ///
    /// # Panics
    /// If the index is not below 64.
    pub fn run_page(self, index: usize) -> &'a RunPage {
        assert!(index < MAX_PROCESSORS);
        // SAFETY: a RunPage is made of atomics.
        unsafe { self.mapping.structure(run_page_offset(index) as u64) }
    }

    /// The statistics of a processor, after `GetState` put them there.
    ///
    /// # Panics
    /// If the index is not below 64.
    pub fn statistics(self, index: usize) -> &'a Statistics {
        assert!(index < MAX_PROCESSORS);
        // SAFETY: Statistics is made of atomics.
        unsafe { self.mapping.structure(state_area_offset(index) as u64) }
    }

    /// Writes the start of a processor's state area, at most 16 KiB.
    ///
    /// # Panics
    /// If the index or the length is out of range.
    pub fn write_state_area(self, index: usize, bytes: &[u8]) {
        assert!(index < MAX_PROCESSORS && bytes.len() <= STATE_AREA_SIZE);
        self.mapping.write(state_area_offset(index) as u64, bytes);
    }

    /// Reads the start of a processor's state area, at most 16 KiB.
    ///
    /// # Panics
    /// If the index or the length is out of range.
    pub fn read_state_area(self, index: usize, bytes: &mut [u8]) {
        assert!(index < MAX_PROCESSORS && bytes.len() <= STATE_AREA_SIZE);
        self.mapping.read(state_area_offset(index) as u64, bytes);
    }

    /// Writes a SynIC message into the vmm's own part of the frame, one slot of 256 bytes per
    /// processor and [`VMBUS_MESSAGE_SLOT`], and answers its offset in the frame.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn write_message(self, slot: usize, message: &[u8; 256]) -> u64 {
        assert!(slot <= VMBUS_MESSAGE_SLOT);
        let offset = (SCRATCH_OFFSET + slot * 256) as u64;
        self.mapping.write(offset, message);
        offset
    }
}
