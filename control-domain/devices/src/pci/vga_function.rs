//! The configuration of the video adapter in [`crate::vga`].
//!
//! It identifies itself as the adapter that SeaVGABIOS's "stdvga" build carries in its header.

use super::Effects;
use super::config_space::{COMMAND, COMMAND_IO, COMMAND_MEMORY, ConfigSpace};

const WINDOW: u8 = 0x10;
const PREFETCHABLE: u8 = 8;

/// Bus 0, device 8, function 0.
#[derive(Debug)]
pub struct VgaFunction {
    space: ConfigSpace,
    bytes: u32,
}

impl VgaFunction {
    /// An adapter with this much memory, a power of two.
    pub fn new(bytes: u32) -> Self {
        let mut space = ConfigSpace::new(0x1234, 0x1111, [0x03, 0x00, 0x00], 0x02);
        space.allow(COMMAND, &[0x07, 0x00]);
        space.set(WINDOW, PREFETCHABLE);
        let mask = !bytes.saturating_sub(1) & 0xffff_fff0;
        space.allow(WINDOW, &mask.to_le_bytes());
        VgaFunction { space, bytes }
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        *self = VgaFunction::new(self.bytes);
    }

    /// The registers.
    pub fn space(&self) -> &ConfigSpace {
        &self.space
    }

    /// A configuration write.
    pub fn write(&mut self, register: u8, size: u8, value: u32) -> Effects {
        let before = self.decoding();
        self.space.write(register, size, value);
        Effects {
            layout: before != self.decoding(),
            ..Effects::NONE
        }
    }

    fn decoding(&self) -> (Option<u64>, bool) {
        (self.window(), self.legacy_enabled().1)
    }

    /// Where the linear window to the whole of its memory lies.
    pub fn window(&self) -> Option<u64> {
        let base = self.space.get_u32(WINDOW) & 0xffff_fff0;
        (self.legacy_enabled().1 && base != 0).then_some(base.into())
    }

    /// Whether the legacy ports and the legacy window at A0000h are decoded.
    pub fn legacy_enabled(&self) -> (bool, bool) {
        let command = self.space.get(COMMAND);
        (command & COMMAND_IO != 0, command & COMMAND_MEMORY != 0)
    }
}
