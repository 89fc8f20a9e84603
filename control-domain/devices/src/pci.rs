//! The PCI bus: configuration mechanism 1 and the functions on bus 0, in the slots where Hyper-V
//! has them.
//!
//! Source: PCI Local Bus Specification 2.1 §3.7.4 (mechanism 1), §6 (configuration space).

mod config_space;
pub mod host_bridge;
mod ide_function;
mod isa_bridge;
mod power_management;
mod vga_function;

use host_bridge::HostBridge;
use ide_function::IdeFunction;
use isa_bridge::IsaBridge;
use power_management::PowerManagement;
use vga_function::VgaFunction;

/// Device and function number as in bits 15:8 of the configuration address.
const fn slot(device: u8, function: u8) -> u8 {
    device << 3 | function
}

/// Where the host bridge is.
pub const HOST_BRIDGE: u8 = slot(0, 0);
/// Where the PIIX4's ISA bridge is.
pub const ISA_BRIDGE: u8 = slot(7, 0);
/// Where the PIIX4's IDE function is.
pub const IDE: u8 = slot(7, 1);
/// Where the PIIX4's power management function is.
pub const POWER_MANAGEMENT: u8 = slot(7, 3);
/// Where the video adapter is.
pub const VGA: u8 = slot(8, 0);

/// What a write to configuration space changed beyond the register itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The memory layout: shadow RAM or a memory window.
    pub layout: bool,
    /// Port ranges: where an I/O window lies, or whether it is decoded.
    pub ports: bool,
    /// The routing of PCI interrupts to IRQs.
    pub routing: bool,
}

impl Effects {
    /// Nothing.
    pub const NONE: Effects = Effects {
        layout: false,
        ports: false,
        routing: false,
    };
}

/// The functions and the address register.
pub struct Pci {
    address: u32,
    /// 00:00.0
    pub host_bridge: HostBridge,
    /// 00:07.0
    pub isa_bridge: IsaBridge,
    /// 00:07.1
    pub ide: IdeFunction,
    /// 00:07.3
    pub power_management: PowerManagement,
    /// 00:08.0
    pub vga: VgaFunction,
}

impl Pci {
    /// The bus at power-on, with a video adapter of `video_bytes` of memory. `identity_flip` as in
    /// [`HostBridge::new`].
    pub fn new(video_bytes: u32, identity_flip: bool) -> Self {
        Pci {
            address: 0,
            host_bridge: HostBridge::new(identity_flip),
            isa_bridge: IsaBridge::default(),
            ide: IdeFunction::default(),
            power_management: PowerManagement::default(),
            vga: VgaFunction::new(video_bytes),
        }
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        self.address = 0;
        self.host_bridge.reset();
        self.isa_bridge = IsaBridge::default();
        self.ide = IdeFunction::default();
        self.power_management = PowerManagement::default();
        self.vga.reset();
    }

    /// The register that the address selects, if mechanism 1 is enabled and it is on bus 0.
    fn selected(&self, port: u16) -> Option<(u8, u8)> {
        let on_bus_0 = self.address & 0x80ff_0000 == 0x8000_0000;
        on_bus_0.then_some((
            (self.address >> 8) as u8,
            self.address as u8 & 0xfc | (port & 3) as u8,
        ))
    }

    /// Reads port CF8h to CFFh.
    pub fn read(&self, port: u16, size: u8) -> u32 {
        if port < 0xcfc {
            return if port == 0xcf8 && size == 4 {
                self.address
            } else {
                u32::MAX
            };
        }
        let Some((function, register)) = self.selected(port) else {
            return u32::MAX;
        };
        let space = match function {
            HOST_BRIDGE => self.host_bridge.space(),
            ISA_BRIDGE => self.isa_bridge.space(),
            IDE => self.ide.space(),
            POWER_MANAGEMENT => self.power_management.space(),
            VGA => self.vga.space(),
            _ => return u32::MAX,
        };
        space.read(register, size)
    }

    /// Writes port CF8h to CFFh, but not the reset control register CF9h.
    pub fn write(&mut self, port: u16, size: u8, value: u32) -> Effects {
        if port < 0xcfc {
            if port == 0xcf8 && size == 4 {
                self.address = value & 0x80ff_fffc;
            }
            return Effects::NONE;
        }
        let Some((function, register)) = self.selected(port) else {
            return Effects::NONE;
        };
        match function {
            HOST_BRIDGE => self.host_bridge.write(register, size, value),
            ISA_BRIDGE => self.isa_bridge.write(register, size, value),
            IDE => self.ide.write(register, size, value),
            POWER_MANAGEMENT => self.power_management.write(register, size, value),
            VGA => self.vga.write(register, size, value),
            _ => Effects::NONE,
        }
    }
}

#[cfg(test)]
#[path = "pci/tests.rs"]
mod tests;
