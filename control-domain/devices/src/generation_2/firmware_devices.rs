//! What is there for the firmware alone: a PCI bus as OVMF knows it, with the screen's configuration, the disks
//! and the network card to boot from, the channel through which it fetches its tables, the timer that wakes it, and a keyboard.

use crate::bus::GuestMemory;
use crate::cmos::BootDevice;
use crate::debug_port::DebugPort;
use crate::fw_cfg::FwCfg;
use crate::i8042::I8042;
use crate::pci::Effects;
use crate::pci::config_space::ConfigSpace;
use crate::pci::host_bridge::HostBridge;
use crate::pci::isa_bridge::IsaBridge;
use crate::pci::mechanism_1::{Address, slot};
use crate::pci::power_management::PowerManagement;
use crate::pci::vga_function::VgaFunction;
use crate::pit::Pit;
use crate::virtio::Registers;
use crate::virtio_block::{FirmwareDisk, VirtioBlock};
use crate::virtio_network::VirtioNetwork;

/// Slots: OVMF expects the first three here.
const HOST_BRIDGE: u8 = slot(0, 0);
const ISA_BRIDGE: u8 = slot(1, 0);
const POWER_MANAGEMENT: u8 = slot(1, 3);
const SCREEN: u8 = slot(2, 0);
const FIRST_DISK_DEVICE: u8 = 3;

/// The devices.
pub struct FirmwareDevices {
    address: Address,
    host_bridge: HostBridge,
    isa_bridge: IsaBridge,
    power_management: PowerManagement,
    screen: VgaFunction,
    /// Disks, in slots one after the other.
    disks: Vec<VirtioBlock>,
    /// The network card, in the slot behind them.
    pub network: Option<VirtioNetwork>,
    /// The timer, whose ticks come by way of the 8259s.
    pub pit: Pit,
    /// The keyboard, until the operating system finds the one on VMBus.
    pub i8042: I8042,
    /// Tables and files.
    pub fw_cfg: FwCfg,
    /// The log.
    pub debug_port: DebugPort,
}

impl FirmwareDevices {
    /// The devices at power-on.
    pub fn new(
        fw_cfg: FwCfg,
        debug_port: DebugPort,
        video_bytes: u32,
        disks: Vec<VirtioBlock>,
        network: Option<VirtioNetwork>,
    ) -> Self {
        FirmwareDevices {
            address: Address::default(),
            host_bridge: HostBridge::new(false),
            isa_bridge: IsaBridge::default(),
            power_management: PowerManagement::default(),
            screen: VgaFunction::new(video_bytes),
            disks,
            network,
            pit: Pit::new(),
            i8042: I8042::default(),
            fw_cfg,
            debug_port,
        }
    }

    /// Reads port CF8h to CFFh.
    pub fn read_pci(&mut self, port: u16, size: u8) -> u32 {
        let Some((function, register)) = self.address.selected(port) else {
            return self.address.read(port, size);
        };
        let space = match function {
            HOST_BRIDGE => self.host_bridge.space(),
            ISA_BRIDGE => self.isa_bridge.space(),
            POWER_MANAGEMENT => self.power_management.space(),
            SCREEN => self.screen.space(),
            _ => match self.virtio(function) {
                Some(space) => space,
                None => return u32::MAX,
            },
        };
        space.read(register, size)
    }

    /// Writes port CF8h to CFFh.
    pub fn write_pci(&mut self, port: u16, size: u8, value: u32) {
        let Some((function, register)) = self.address.selected(port) else {
            return self.address.write(port, size, value);
        };
        // Below 1 MiB everything is memory, and no interrupt is routed: effects beyond the registers are
        // looked up where they matter.
        let _ = match function {
            HOST_BRIDGE => self.host_bridge.write(register, size, value),
            ISA_BRIDGE => self.isa_bridge.write(register, size, value),
            POWER_MANAGEMENT => self.power_management.write(register, size, value),
            SCREEN => self.screen.write(register, size, value),
            _ => {
                if let Some(space) = self.virtio(function) {
                    space.write(register, size, value);
                }
                Effects::NONE
            }
        };
    }

    /// The configuration of a disk or the network card.
    fn virtio(&mut self, function: u8) -> Option<&mut ConfigSpace> {
        let number = (function >> 3).checked_sub(FIRST_DISK_DEVICE)?;
        if function & 7 != 0 {
            return None;
        }
        let network_device = self.disks.len();
        let registers = match self.disks.get_mut(usize::from(number)) {
            Some(disk) => disk.registers(),
            None if usize::from(number) == network_device => self.network.as_mut()?.registers(),
            None => return None,
        };
        Some(registers.space())
    }

    /// Reads a port of a disk or the network card, if there is one.
    pub fn read_virtio(&mut self, port: u16, size: u8) -> Option<u32> {
        let offset_of = |registers: &mut Registers| registers.offset_of(port);
        let mut disks = self.disks.iter_mut();
        let of_disk = disks.find_map(|disk| {
            let offset = offset_of(disk.registers())?;
            Some(disk.read(offset, size))
        });
        of_disk.or_else(|| {
            let network = self.network.as_mut()?;
            let offset = offset_of(network.registers())?;
            Some(network.read(offset, size))
        })
    }

    /// Writes one. `false`: there is none.
    pub fn write_virtio(
        &mut self,
        port: u16,
        size: u8,
        value: u32,
        memory: &dyn GuestMemory,
    ) -> bool {
        for disk in &mut self.disks {
            if let Some(offset) = disk.registers().offset_of(port) {
                disk.write(offset, size, value, memory);
                return true;
            }
        }
        let Some(network) = &mut self.network else {
            return false;
        };
        let offset = network.registers().offset_of(port);
        offset
            .inspect(|offset| network.write(*offset, size, value, memory))
            .is_some()
    }

    /// Where the firmware placed the power management block for itself.
    pub fn power_management_base(&self) -> Option<u16> {
        self.power_management.base()
    }

    /// Where the screen's memory is, if it is decoded.
    pub fn frame_buffer(&self) -> Option<u64> {
        self.screen.window()
    }

    /// Whether the screen's legacy ports answer.
    pub fn screen_ports(&self) -> bool {
        self.screen.legacy_enabled().0
    }
}

/// What is booted from, as paths of Open Firmware by which OVMF knows it: what `first` names, then disks and discs that
/// it does not name. The network only if it does.
pub fn boot_order(disks: &[FirmwareDisk], first: &[BootDevice]) -> Vec<u8> {
    let usual = [BootDevice::Disk, BootDevice::Dvd];
    let usual = usual.iter().filter(|device| !first.contains(device));
    let mut text = String::new();
    for device in first.iter().chain(usual) {
        for (slot, disk) in (usize::from(FIRST_DISK_DEVICE)..).zip(disks) {
            let named = match disk.read_only {
                true => BootDevice::Dvd,
                false => BootDevice::Disk,
            };
            if named == *device {
                text.push_str(&format!("/pci@i0cf8/scsi@{slot:x}/disk@0,0\n"));
            }
        }
        if *device == BootDevice::Network {
            let slot = usize::from(FIRST_DISK_DEVICE) + disks.len();
            text.push_str(&format!("/pci@i0cf8/ethernet@{slot:x}/ethernet-phy@0\n"));
        }
    }
    let mut bytes = text.into_bytes();
    // OVMF wants a terminated text, also an empty one.
    if let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    bytes
}
