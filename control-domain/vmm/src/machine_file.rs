//! `machine.yaml`: what a machine consists of, until definitions of other makers are read.
//!
//! ```yaml
//! name: debian
//! generation: 1
//! processors: 2
//! memory_mib: 512
//! disks:
//!   - {controller: ide, location: 0, path: disk.vhd}
//!   - {controller: scsi, location: 5, path: data.vhdx}
//! network_adapters:
//!   - {switch: Default Switch}
//! ```
//!
//! docs/machine-file.md has all of it.

use crate::network_adapter::{MOST_ADAPTERS, MOST_LEGACY_ADAPTERS, NetworkAdapter};
use crate::running::SERIAL_PORTS;
use devices::BootDevice;
use disks::Format;
use hypervisor_abi::MAX_PROCESSORS;
use management::Place;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The file's name in a machine's folder.
pub const NAME: &str = "machine.yaml";

/// Identities of machines that have none of their own are derived from their names below this one.
const NAMESPACE: Uuid = Uuid::from_bytes(*b"entente machines");

/// A machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MachineFile {
    /// What people call it.
    pub name: String,
    /// The machine's identity; derived from its name if it is not given.
    pub guid: Option<Uuid>,
    /// What changes when a copy of the machine is made or an old state of it is brought back; derived from its
    /// identity if it is not given.
    pub generation_id: Option<Uuid>,
    /// 1: a BIOS and a PC's devices; 2: UEFI, and devices on VMBus alone.
    pub generation: u32,
    /// Whether it has a TPM 2.0; Generation 2 only.
    #[serde(default)]
    pub tpm: bool,
    /// Whether its firmware starts only what is signed: on if it is not given; Generation 2 only.
    pub secure_boot: Option<Switch>,
    /// Whether its operating system may hibernate, which Hyper-V does not offer until it is asked to.
    #[serde(default)]
    pub hibernation: bool,
    /// Number of processors, 1 to 64.
    pub processors: usize,
    /// Size of the memory in MiB.
    pub memory_mib: u64,
    /// How far it may change while the machine runs; not at all if not given.
    pub dynamic_memory: Option<DynamicMemoryEntry>,
    /// Number of SCSI controllers on VMBus, 0 to 4; none if not given.
    #[serde(default)]
    pub scsi_controllers: usize,
    /// Disks, at most one at each place.
    #[serde(default)]
    pub disks: Vec<DiskEntry>,
    /// DVD drives, at places that no disk has.
    #[serde(default)]
    pub dvds: Vec<DvdEntry>,
    /// Network adapters, in the order of their slots.
    #[serde(default)]
    pub network_adapters: Vec<NetworkAdapterEntry>,
    /// What the firmware tries to boot from first, in this order.
    #[serde(default)]
    pub boot_order: Vec<BootDeviceEntry>,
    /// The diskette in the floppy drive, an image of its bytes (.vfd, .img); relative to the
    /// machine's folder.
    pub floppy: Option<PathBuf>,
    /// Serial ports that are sockets.
    #[serde(default)]
    pub serial_ports: Vec<SerialPortEntry>,
    /// What the person's terminal is connected to.
    #[serde(default)]
    pub console: Console,
    /// The image of the BIOS, or of the UEFI firmware's code, if not the usual one.
    pub firmware: Option<PathBuf>,
    /// The VGA BIOS image, if not the usual one.
    pub video_firmware: Option<PathBuf>,
}

/// Most SCSI controllers of a machine, as Hyper-V has it.
pub const MOST_SCSI_CONTROLLERS: usize = 4;
/// Places at a SCSI controller, as Hyper-V has it.
pub const SCSI_LOCATIONS: usize = 64;
/// What the UEFI firmware needs to come up, in MiB.
const LEAST_UEFI_MIB: u64 = 128;
/// Places at the IDE controller.
const IDE_LOCATIONS: usize = 4;

/// How far a machine's memory may change while it runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DynamicMemoryEntry {
    /// The least that it is left with, in MiB; at most what it starts with.
    pub minimum_mib: u64,
    /// The most that it gets, in MiB; at least what it starts with.
    pub maximum_mib: u64,
}

impl DynamicMemoryEntry {
    /// Bytes of address space for what it gets: as whole granules, of which the last one may be little used.
    pub fn room(self) -> u64 {
        (self.maximum_mib << 20) * 2
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DiskEntry {
    /// What it is attached to.
    pub controller: Controller,
    /// Which of the SCSI controllers; always 0 for IDE.
    #[serde(default)]
    pub number: usize,
    /// IDE: 0 to 3, primary master, primary slave, secondary master, secondary slave. SCSI: 0 to 63.
    pub location: usize,
    /// The file; relative to the machine's folder.
    pub path: PathBuf,
    /// How to take the file.
    #[serde(default)]
    pub format: DiskFormat,
}

/// A DVD drive of a machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DvdEntry {
    /// What it is attached to.
    pub controller: Controller,
    /// As a disk's.
    #[serde(default)]
    pub number: usize,
    /// As a disk's; Hyper-V puts the first drive at 2 of IDE.
    pub location: usize,
    /// The image of the disc in it (.iso), if there is one; relative to the machine's folder.
    pub path: Option<PathBuf>,
}

/// A network adapter of a machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NetworkAdapterEntry {
    /// The switch that it is plugged into; the Default Switch unless named.
    pub switch: Option<String>,
    /// Its address, as `00-15-5D-01-02-03`; derived from the machine's identity if it is not given.
    pub mac: Option<String>,
    /// The VLAN that it is in (access mode), 1 to 4094.
    pub vlan: Option<u16>,
    /// A DEC 21140 on PCI instead of a card on VMBus; Generation 1 only.
    #[serde(default)]
    pub legacy: bool,
}

/// Something to boot from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum BootDeviceEntry {
    /// The first disk.
    Disk,
    /// The discs in DVD drives.
    Dvd,
    /// The diskette.
    Floppy,
    /// A network adapter.
    Network,
}

impl BootDeviceEntry {
    /// As the chipset has it.
    pub fn device(self) -> BootDevice {
        match self {
            Self::Disk => BootDevice::Disk,
            Self::Dvd => BootDevice::Dvd,
            Self::Floppy => BootDevice::Floppy,
            Self::Network => BootDevice::Network,
        }
    }
}

/// A serial port at which programs listen.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SerialPortEntry {
    /// 1 is COM1, 2 is COM2.
    pub port: usize,
    /// The Unix socket that the vmm listens on; relative to the machine's folder.
    pub socket: PathBuf,
}

/// What the person's terminal is connected to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Console {
    /// COM1.
    #[default]
    Serial,
    /// The text screen, its changed rows as lines, and the keyboard.
    Screen,
}

/// A setting.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// A disk controller.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// The two channels of the PIIX4.
    Ide,
    /// Controllers on VMBus alone.
    Scsi,
}

impl Controller {
    fn place(self, number: usize, location: usize) -> Place {
        match self {
            Self::Ide => Place::Ide { location },
            Self::Scsi => Place::Scsi { number, location },
        }
    }
}

impl DiskEntry {
    /// Where it is attached.
    pub fn place(&self) -> Place {
        self.controller.place(self.number, self.location)
    }
}

impl DvdEntry {
    /// Where it is attached.
    pub fn place(&self) -> Place {
        self.controller.place(self.number, self.location)
    }
}

/// How to take a disk's file.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// By its content.
    #[default]
    Detect,
    /// As the disk's bytes.
    Raw,
}

impl DiskFormat {
    /// The format, if the content is not to say it.
    pub fn named(self) -> Option<Format> {
        match self {
            Self::Detect => None,
            Self::Raw => Some(Format::Raw),
        }
    }
}

impl MachineFile {
    /// Reads and checks the file in a machine's folder.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(NAME);
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        file.check()?;
        Ok(file)
    }

    /// The machine's identity.
    pub fn guid(&self) -> Uuid {
        self.guid
            .unwrap_or_else(|| Uuid::new_v5(&NAMESPACE, self.name.as_bytes()))
    }

    /// The generation identifier.
    pub fn generation_id(&self) -> Uuid {
        self.generation_id
            .unwrap_or_else(|| Uuid::new_v5(&self.guid(), b"generation"))
    }

    /// The network adapters, complete.
    ///
    /// # Errors
    /// What is out of range.
    pub fn network_adapters(&self) -> Result<Vec<NetworkAdapter>, String> {
        let entries = self.network_adapters.iter().enumerate();
        let adapters = entries.map(|(slot, entry)| NetworkAdapter::new(self.guid(), slot, entry));
        let adapters: Vec<_> = adapters.collect::<Result<_, _>>()?;
        if adapters.len() > MOST_ADAPTERS {
            return Err(format!("network_adapters: 0 to {MOST_ADAPTERS}"));
        }
        if adapters.iter().filter(|adapter| adapter.legacy).count() > MOST_LEGACY_ADAPTERS {
            return Err(format!(
                "network_adapters: at most {MOST_LEGACY_ADAPTERS} with legacy: true"
            ));
        }
        let mut macs: Vec<_> = adapters.iter().map(|adapter| adapter.mac.0).collect();
        macs.sort_unstable();
        macs.dedup();
        match macs.len() == adapters.len() {
            true => Ok(adapters),
            false => Err("two network adapters have the same MAC address".into()),
        }
    }

    fn check_serial_ports(&self) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        for SerialPortEntry { port, .. } in &self.serial_ports {
            if !(1..=SERIAL_PORTS).contains(port) {
                return Err(format!(
                    "serial_ports: port 1 to {SERIAL_PORTS}, not {port}"
                ));
            }
            if !taken.insert(port) {
                return Err(format!("serial_ports: two sockets for COM{port}"));
            }
        }
        Ok(())
    }

    /// Checks that a machine of its generation has what it names.
    fn check_generation(&self) -> Result<(), String> {
        let drives = self.drive_places();
        let wrong = match self.generation {
            1 if self.tpm => "tpm",
            1 if self.secure_boot.is_some() => "secure_boot",
            1 => return Ok(()),
            2 if self.memory_mib < LEAST_UEFI_MIB => {
                return Err(format!(
                    "memory_mib: at least {LEAST_UEFI_MIB} in generation 2, not {}",
                    self.memory_mib
                ));
            }
            2 if drives
                .iter()
                .any(|place| matches!(place, Place::Ide { .. })) =>
            {
                "controller: ide"
            }
            2 if self.network_adapters.iter().any(|entry| entry.legacy) => "legacy",
            2 if self.boot_order.contains(&BootDeviceEntry::Floppy) => "boot_order: floppy",
            2 if self.floppy.is_some() => "floppy",
            2 if self.video_firmware.is_some() => "video_firmware",
            2 if self.console == Console::Screen => "console: screen",
            2 => return Ok(()),
            other => return Err(format!("generation: 1 or 2, not {other}")),
        };
        Err(format!("{wrong}: not in generation {}", self.generation))
    }

    /// Whether the firmware is to offer the network.
    pub fn boots_from_network(&self) -> bool {
        self.network_adapters.iter().any(|entry| entry.legacy)
            || self.boot_order.contains(&BootDeviceEntry::Network)
    }

    /// Places of all drives.
    pub fn drive_places(&self) -> Vec<Place> {
        let disks = self.disks.iter().map(DiskEntry::place);
        disks.chain(self.dvds.iter().map(DvdEntry::place)).collect()
    }

    /// Checks numbers and places.
    ///
    /// # Errors
    /// What is out of range.
    pub fn check(&self) -> Result<(), String> {
        management::check_name(&self.name)?;
        self.check_generation()?;
        if !(1..=MAX_PROCESSORS).contains(&self.processors) {
            return Err(format!(
                "processors: 1 to {MAX_PROCESSORS}, not {}",
                self.processors
            ));
        }
        if !(16..=1 << 20).contains(&self.memory_mib) {
            return Err(format!(
                "memory_mib: 16 to 1048576, not {}",
                self.memory_mib
            ));
        }
        if let Some(memory) = self.dynamic_memory {
            let (least, most) = (memory.minimum_mib, memory.maximum_mib);
            if !(16..=self.memory_mib).contains(&least)
                || !(self.memory_mib..=1 << 20).contains(&most)
            {
                return Err(format!(
                    "dynamic_memory: minimum_mib from 16 to memory_mib, maximum_mib from there to 1048576, not {least} and {most}"
                ));
            }
        }
        self.network_adapters()?;
        self.check_serial_ports()?;
        let mut boots = BTreeSet::new();
        if !self.boot_order.iter().all(|device| boots.insert(*device)) {
            return Err("boot_order: each device once".into());
        }
        if self.scsi_controllers > MOST_SCSI_CONTROLLERS {
            return Err(format!(
                "scsi_controllers: 0 to {MOST_SCSI_CONTROLLERS}, not {}",
                self.scsi_controllers
            ));
        }
        let mut taken = BTreeSet::new();
        for place in self.drive_places() {
            let (location, locations) = match place {
                Place::Ide { location } => (location, IDE_LOCATIONS),
                Place::Scsi { number, .. } if number >= self.scsi_controllers => {
                    let there = self.scsi_controllers;
                    return Err(format!("{place}: there are {there} such controllers"));
                }
                Place::Scsi { location, .. } => (location, SCSI_LOCATIONS),
            };
            if location >= locations {
                let last = locations - 1;
                return Err(format!("{place}: the controller has 0 to {last}"));
            }
            if !taken.insert(place) {
                return Err(format!("two drives at {place}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: x\ngeneration: 1\nprocessors: 2\nmemory_mib: 512\n\
        disks:\n  - {controller: ide, location: 0, path: d.vhd}\n  - {controller: ide, location: 3, path: r, format: raw}\n";

    #[test]
    fn a_machine_is_read() {
        let file = MachineFile::parse(GOOD).unwrap();
        assert_eq!(
            (file.processors, file.memory_mib, file.disks.len()),
            (2, 512, 2)
        );
        assert_eq!(file.disks[1].format, DiskFormat::Raw);
    }

    const SECOND: &str = "name: x\ngeneration: 2\nprocessors: 1\nmemory_mib: 128\n\
        scsi_controllers: 1\ndisks:\n  - {controller: scsi, location: 0, path: d.vhdx}\n";

    #[test]
    fn generation_2_has_no_legacy_devices() {
        assert_eq!(MachineFile::parse(SECOND).unwrap().generation, 2);
        let off = MachineFile::parse(&format!("{SECOND}secure_boot: off\n")).unwrap();
        assert_eq!(off.secure_boot, Some(Switch::Off));
        for (more, part) in [
            ("floppy: a.img\n", "floppy"),
            ("network_adapters: [{legacy: true}]\n", "legacy"),
            ("boot_order: [disk, floppy]\n", "boot_order: floppy"),
            ("console: screen\n", "console: screen"),
            (
                "dvds: [{controller: ide, location: 2}]\n",
                "controller: ide",
            ),
        ] {
            let error = MachineFile::parse(&format!("{SECOND}{more}")).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let small = SECOND.replace("memory_mib: 128", "memory_mib: 64");
        assert!(MachineFile::parse(&small).unwrap_err().contains("at least"));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            ("generation: 1", "generation: 3", "1 or 2"),
            ("generation: 1", "generation: 2", "controller: ide"),
            ("generation: 1", "generation: 1\nsecure_boot: on", "not in"),
            (
                "generation: 1",
                "generation: 1\nsecure_boot: 7",
                "secure_boot",
            ),
            ("processors: 2", "processors: 65", "1 to 64"),
            ("memory_mib: 512", "memory_mib: 8", "memory_mib"),
            (
                "memory_mib: 512",
                "memory_mib: 512\ndynamic_memory: {minimum_mib: 513, maximum_mib: 600}",
                "minimum_mib from 16",
            ),
            (
                "memory_mib: 512",
                "memory_mib: 512\ndynamic_memory: {minimum_mib: 64, maximum_mib: 511}",
                "not 64 and 511",
            ),
            ("location: 3", "location: 4", "0 to 3"),
            ("location: 3", "location: 0", "two drives"),
            (
                "disks:",
                "dvds: [{controller: ide, location: 3}]\ndisks:",
                "two drives",
            ),
            (
                "disks:",
                "network_adapters: [{vlan: 4095}]\ndisks:",
                "1 to 4094",
            ),
            (
                "disks:",
                "network_adapters: [{legacy: true}, {legacy: true}, {legacy: true}, {legacy: true}, {legacy: true}]\ndisks:",
                "at most 4",
            ),
            ("disks:", "boot_order: [disk, disk]\ndisks:", "once"),
            ("disks:", "boot_order: [tape]\ndisks:", "tape"),
            ("name: x", "nam: x", "nam"),
            (
                "controller: ide, location: 0",
                "controller: sata, location: 0",
                "sata",
            ),
            (
                "disks:\n  - {controller: ide, location: 0",
                "scsi_controllers: 1\ndisks:\n  - {controller: scsi, location: 64",
                "0 to 63",
            ),
            ("ide, location: 0", "scsi, location: 0", "0 such"),
            (
                "disks:",
                "serial_ports: [{port: 3, socket: s}]\ndisks:",
                "1 to 2",
            ),
            (
                "disks:",
                "serial_ports: [{port: 1, socket: s}, {port: 1, socket: t}]\ndisks:",
                "two sockets for COM1",
            ),
            ("disks:", "scsi_controllers: 5\ndisks:", "0 to 4"),
        ] {
            let error = MachineFile::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
