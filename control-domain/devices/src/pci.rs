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
mod tests {
    use super::*;

    fn read(pci: &mut Pci, function: u8, register: u8, size: u8) -> u32 {
        pci.write(
            0xcf8,
            4,
            0x8000_0000 | u32::from(function) << 8 | u32::from(register & 0xfc),
        );
        let port = 0xcfc + u16::from(register & 3);
        let mask = if size == 4 {
            u32::MAX
        } else {
            (1 << (8 * size)) - 1
        };
        pci.read(port, size) & mask
    }

    fn write(pci: &mut Pci, function: u8, register: u8, size: u8, value: u32) -> Effects {
        pci.write(
            0xcf8,
            4,
            0x8000_0000 | u32::from(function) << 8 | u32::from(register & 0xfc),
        );
        pci.write(0xcfc + u16::from(register & 3), size, value)
    }

    #[test]
    fn a_scan_finds_the_functions() {
        let mut pci = Pci::new(16 << 20, false);
        let mut found = Vec::new();
        for function in 0..=255 {
            let id = read(&mut pci, function, 0, 4);
            if id != u32::MAX {
                found.push((function, id, read(&mut pci, function, 0x0a, 2)));
            }
        }
        assert_eq!(
            found,
            [
                (HOST_BRIDGE, 0x1237_8086, 0x0600),
                (ISA_BRIDGE, 0x7110_8086, 0x0601),
                (IDE, 0x7111_8086, 0x0101),
                (POWER_MANAGEMENT, 0x7113_8086, 0x0680),
                (VGA, 0x1111_1234, 0x0300),
            ]
        );
        assert_eq!(
            read(&mut pci, ISA_BRIDGE, 0x0e, 1),
            0x80,
            "several functions"
        );
        assert_eq!(read(&mut pci, HOST_BRIDGE, 0x2c, 4), 0x1100_1af4);
    }

    #[test]
    fn disabled_or_other_bus_answers_nothing() {
        let mut pci = Pci::new(16 << 20, false);
        pci.write(0xcf8, 4, 0x0000_0000);
        assert_eq!(pci.read(0xcfc, 4), u32::MAX);
        pci.write(0xcf8, 4, 0x8001_0000);
        assert_eq!(pci.read(0xcfc, 4), u32::MAX);
        pci.write(0xcf8, 1, 0x12);
        assert_eq!(pci.read(0xcf8, 4), 0x8001_0000, "only whole writes count");
    }

    #[test]
    fn video_memory_window_is_sized_and_placed() {
        let mut pci = Pci::new(16 << 20, false);
        write(&mut pci, VGA, 0x10, 4, u32::MAX);
        assert_eq!(read(&mut pci, VGA, 0x10, 4), 0xff00_0008);
        assert!(
            !write(&mut pci, VGA, 0x10, 4, 0xfd00_0000).layout,
            "not decoded yet"
        );
        assert_eq!(pci.vga.window(), None);
        assert!(write(&mut pci, VGA, 4, 2, 2).layout);
        assert_eq!(pci.vga.window(), Some(0xfd00_0000));
    }

    #[test]
    fn ide_and_power_management_ports_follow_their_registers() {
        let mut pci = Pci::new(16 << 20, false);
        assert_eq!(pci.ide.bus_master_base(), None);
        write(&mut pci, IDE, 0x20, 4, u32::MAX);
        assert_eq!(read(&mut pci, IDE, 0x20, 4), 0xffff_fff1);
        write(&mut pci, IDE, 4, 2, 5);
        assert_eq!(
            pci.ide.bus_master_base(),
            None,
            "there are no ports beyond FFFFh"
        );
        write(&mut pci, IDE, 0x20, 4, 0xc000);
        assert!(write(&mut pci, IDE, 4, 2, 5).ports);
        assert_eq!(pci.ide.bus_master_base(), Some(0xc000));
        assert_eq!(pci.ide.decodes(), [false, false]);
        write(&mut pci, IDE, 0x40, 2, 0x8000);
        assert_eq!(pci.ide.decodes(), [true, false]);

        write(&mut pci, POWER_MANAGEMENT, 0x40, 4, 0x601);
        assert_eq!(read(&mut pci, POWER_MANAGEMENT, 0x40, 4), 0x601);
        assert_eq!(pci.power_management.base(), None);
        assert!(write(&mut pci, POWER_MANAGEMENT, 0x80, 1, 1).ports);
        assert_eq!(pci.power_management.base(), Some(0x600));
        assert_ne!(
            read(&mut pci, POWER_MANAGEMENT, 0x58, 4) & 1 << 25,
            0,
            "no SMM to set up"
        );
    }

    #[test]
    fn interrupt_routing() {
        let mut pci = Pci::new(16 << 20, false);
        assert_eq!(pci.isa_bridge.route(0), None);
        assert!(write(&mut pci, ISA_BRIDGE, 0x60, 1, 10).routing);
        assert!(write(&mut pci, ISA_BRIDGE, 0x61, 1, 0x0d).routing);
        assert_eq!(pci.isa_bridge.route(0), Some(10));
        assert_eq!(pci.isa_bridge.route(1), None, "IRQ 13 is reserved");
    }

    #[test]
    fn read_only_registers_stay() {
        let mut pci = Pci::new(16 << 20, false);
        for function in [HOST_BRIDGE, ISA_BRIDGE, IDE, POWER_MANAGEMENT, VGA] {
            let before = [0x00, 0x08, 0x2c].map(|register| read(&mut pci, function, register, 4));
            for register in (0..=0xfc).step_by(4) {
                write(&mut pci, function, register, 4, 0xa5a5_a5a5);
            }
            let after = [0x00, 0x08, 0x2c].map(|register| read(&mut pci, function, register, 4));
            assert_eq!(before, after, "{function:#x}");
        }
    }
}
