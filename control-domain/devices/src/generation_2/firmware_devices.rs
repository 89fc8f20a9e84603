//! What is there for the firmware alone: a PCI bus as OVMF knows it, with the screen's configuration and
//! the disks to boot from, the channel through which it fetches its tables, the timer that wakes it, and a keyboard.

use crate::debug_port::DebugPort;
use crate::fw_cfg::FwCfg;
use crate::i8042::I8042;
use crate::pci::Effects;
use crate::pci::host_bridge::HostBridge;
use crate::pci::isa_bridge::IsaBridge;
use crate::pci::mechanism_1::{Address, slot};
use crate::pci::power_management::PowerManagement;
use crate::pci::vga_function::VgaFunction;
use crate::pit::Pit;
use crate::virtio_block::VirtioBlock;

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
    pub disks: Vec<VirtioBlock>,
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
    ) -> Self {
        FirmwareDevices {
            address: Address::default(),
            host_bridge: HostBridge::new(false),
            isa_bridge: IsaBridge::default(),
            power_management: PowerManagement::default(),
            screen: VgaFunction::new(video_bytes),
            disks,
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
            _ => match self.disk(function) {
                Some(disk) => disk.space(),
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
                if let Some(disk) = self.disk(function) {
                    disk.space().write(register, size, value);
                }
                Effects::NONE
            }
        };
    }

    fn disk(&mut self, function: u8) -> Option<&mut VirtioBlock> {
        let number = (function >> 3).checked_sub(FIRST_DISK_DEVICE)?;
        if function & 7 != 0 {
            return None;
        }
        self.disks.get_mut(usize::from(number))
    }

    /// The disk that answers at a port, and the offset in its ports.
    pub fn disk_at(&mut self, port: u16) -> Option<(&mut VirtioBlock, u16)> {
        self.disks.iter_mut().find_map(|disk| {
            let offset = disk.offset_of(port)?;
            Some((disk, offset))
        })
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

/// The disks in their order, as paths of Open Firmware by which OVMF knows them.
pub fn boot_order(disks: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..disks {
        let device = usize::from(FIRST_DISK_DEVICE) + number;
        text.push_str(&format!("/pci@i0cf8/scsi@{device:x}/disk@0,0\n"));
    }
    let mut bytes = text.into_bytes();
    // OVMF wants a terminated text, also an empty one.
    if let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    bytes
}
