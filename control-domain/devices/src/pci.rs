//! The PCI bus: configuration mechanism 1 and the functions on bus 0, in the slots where Hyper-V
//! has them.
//!
//! Source: PCI Local Bus Specification 2.1 §3.7.4 (mechanism 1), §6 (configuration space).

pub mod config_space;
pub mod host_bridge;
mod ide_function;
pub mod isa_bridge;
pub mod mechanism_1;
mod network_function;
pub mod power_management;
pub mod vga_function;

use host_bridge::HostBridge;
use ide_function::IdeFunction;
use isa_bridge::IsaBridge;
use mechanism_1::{Address, slot};
use network_function::NetworkFunction;
pub use network_function::WINDOW_BYTES as NETWORK_WINDOW_BYTES;
use power_management::PowerManagement;
use vga_function::VgaFunction;

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

/// Where the first network card is; the others follow.
pub const NETWORK: u8 = slot(FIRST_NETWORK_DEVICE, 0);
const FIRST_NETWORK_DEVICE: u8 = 10;

/// The PCI line that pin A of a network card is on, by the card's number.
pub fn network_line(card: usize) -> u8 {
    (card as u8 & 3) + FIRST_NETWORK_DEVICE - 1
}

/// The network card that is there, by its number.
fn network_card(function: u8) -> Option<usize> {
    let beyond = function.checked_sub(NETWORK)?;
    (beyond & 7 == 0).then_some(usize::from(beyond >> 3))
}

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
    address: Address,
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
    /// 00:0a.0 and further devices
    pub network: Vec<NetworkFunction>,
}

impl Pci {
    /// The bus at power-on, with a video adapter of `video_bytes` of memory. `identity_flip` as in
    /// [`HostBridge::new`].
    pub fn new(video_bytes: u32, identity_flip: bool, network_cards: usize) -> Self {
        Pci {
            address: Address::default(),
            host_bridge: HostBridge::new(identity_flip),
            isa_bridge: IsaBridge::default(),
            ide: IdeFunction::default(),
            power_management: PowerManagement::default(),
            vga: VgaFunction::new(video_bytes),
            network: (0..network_cards)
                .map(|_| NetworkFunction::default())
                .collect(),
        }
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        self.address = Address::default();
        self.host_bridge.reset();
        self.isa_bridge = IsaBridge::default();
        self.ide = IdeFunction::default();
        self.power_management = PowerManagement::default();
        self.vga.reset();
        self.network.fill_with(NetworkFunction::default);
    }

    /// Reads port CF8h to CFFh.
    pub fn read(&self, port: u16, size: u8) -> u32 {
        let Some((function, register)) = self.address.selected(port) else {
            return self.address.read(port, size);
        };
        let space = match function {
            HOST_BRIDGE => self.host_bridge.space(),
            ISA_BRIDGE => self.isa_bridge.space(),
            IDE => self.ide.space(),
            POWER_MANAGEMENT => self.power_management.space(),
            VGA => self.vga.space(),
            other => match network_card(other).and_then(|card| self.network.get(card)) {
                Some(function) => function.space(),
                None => return u32::MAX,
            },
        };
        space.read(register, size)
    }

    /// Writes port CF8h to CFFh, but not the reset control register CF9h.
    pub fn write(&mut self, port: u16, size: u8, value: u32) -> Effects {
        let Some((function, register)) = self.address.selected(port) else {
            self.address.write(port, size, value);
            return Effects::NONE;
        };
        match function {
            HOST_BRIDGE => self.host_bridge.write(register, size, value),
            ISA_BRIDGE => self.isa_bridge.write(register, size, value),
            IDE => self.ide.write(register, size, value),
            POWER_MANAGEMENT => self.power_management.write(register, size, value),
            VGA => self.vga.write(register, size, value),
            other => match network_card(other).and_then(|card| self.network.get_mut(card)) {
                Some(function) => function.write(register, size, value),
                None => Effects::NONE,
            },
        }
    }
}

#[cfg(test)]
#[path = "pci/tests.rs"]
mod tests;
