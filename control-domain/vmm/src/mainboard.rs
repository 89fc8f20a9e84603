//! The board of a machine, by its generation.

use crate::board::Board;
use crate::command::RunOptions;
use crate::firmware::Firmware;
use crate::layout::PoolPlan;
use crate::machine_file::MachineFile;
use crate::media::Media;
use crate::memory::BusMemory;
use crate::running::{Running, SERIAL_PORTS};
use crate::tpm::SoftwareTpm;
use crate::variable_store::{PoolVariables, VariableStore};
use crate::video::PoolVideoMemory;
use devices::tpm::Tpm;
use devices::{
    BootDevice, ByteSink, Chipset, Config, FirmwareDisk, NetworkCard, VideoMemory, generation_2,
};
use disk::Disk;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Size of video memory in bytes.
pub const VIDEO_BYTES: u32 = 16 << 20;

/// Bytes of a disc's sectors.
const DISC_SECTOR_BYTES: u32 = 2048;

/// What a board is made of.
pub struct Parts<'a> {
    /// The machine file.
    pub file: &'a MachineFile,
    /// The machine.
    pub running: &'a Running,
    /// The command line.
    pub options: &'a RunOptions,
    /// Its firmware, which lies in the granules already.
    pub firmware: &'a Firmware,
    /// Where what lies in the granules.
    pub plan: &'a PoolPlan,
    /// The granules.
    pub memory: &'a BusMemory,
}

impl Parts<'_> {
    /// Puts the board together, for one run from power-on or reset to the next.
    pub fn board(
        &self,
        media: Media,
        network_cards: Vec<NetworkCard>,
        tpm: Option<SoftwareTpm>,
    ) -> Box<dyn Board> {
        match self.firmware {
            Firmware::Bios {
                bios,
                video,
                network,
            } => Box::new(Chipset::new(Config {
                network_cards,
                network_boot: network.clone(),
                ..self.generation_1(bios, video, media)
            })),
            Firmware::Uefi { code, store } => {
                Box::new(generation_2::Chipset::new(generation_2::Config {
                    network: network_cards.into_iter().next(),
                    tpm: tpm.map(|tpm| Tpm::new(Box::new(tpm))),
                    ..self.generation_2(code, store, media)
                }))
            }
        }
    }

    fn generation_1(&self, bios: &[u8], video: &[u8], media: Media) -> Config {
        Config {
            processor_count: self.file.processors as u32,
            memory_bytes: self.file.memory_mib << 20,
            bios_bytes: bios.len() as u64,
            utc_seconds: utc_seconds(),
            guid: self.file.guid().to_bytes_le(),
            generation_id: self.file.generation_id().to_bytes_le(),
            vga_bios: video.to_vec(),
            video_memory: self.video_memory(),
            serial: self.serial(),
            bios_log: self.firmware_log(),
            drives: media.drives,
            diskette: media.diskette,
            network_cards: Vec::new(),
            network_boot: None,
            boot_order: self.boot_order(),
            identity_flip: false,
            hibernation: self.file.hibernation,
        }
    }

    fn generation_2(
        &self,
        code: &[u8],
        store: &VariableStore,
        media: Media,
    ) -> generation_2::Config {
        let variables = PoolVariables::new(self.memory.clone(), self.plan.rom, store.clone());
        let disks = media.scsi_disks.into_iter().map(|disk| FirmwareDisk {
            sector_bytes: disk.logical_sector_size(),
            disk: Box::new(disk),
            read_only: false,
        });
        let discs = media.scsi_discs.into_iter().map(|disc| FirmwareDisk {
            sector_bytes: DISC_SECTOR_BYTES,
            disk: Box::new(disc),
            read_only: true,
        });
        generation_2::Config {
            processor_count: self.file.processors as u32,
            memory_bytes: self.file.memory_mib << 20,
            rom_bytes: u64::from(store.size()) + code.len() as u64,
            variables: Box::new(variables),
            utc_seconds: utc_seconds(),
            guid: self.file.guid().to_bytes_le(),
            generation_id: self.file.generation_id().to_bytes_le(),
            video_memory: self.video_memory(),
            serial: self.serial(),
            firmware_log: self.firmware_log(),
            disks: disks.chain(discs).collect(),
            network: None,
            boot_order: self.boot_order(),
            tpm: None,
            hibernation: self.file.hibernation,
        }
    }

    fn boot_order(&self) -> Vec<BootDevice> {
        let order = self.file.boot_order.iter();
        order.map(|device| device.device()).collect()
    }

    fn video_memory(&self) -> Box<dyn VideoMemory> {
        Box::new(PoolVideoMemory {
            memory: self.memory.clone(),
            offset: self.plan.video,
            size: VIDEO_BYTES,
        })
    }

    fn serial(&self) -> [Option<Box<dyn ByteSink>>; SERIAL_PORTS] {
        std::array::from_fn(|port| {
            let line = self.running.serial(port)?.clone();
            Some(Box::new(line) as Box<dyn ByteSink>)
        })
    }

    fn firmware_log(&self) -> Option<Box<dyn ByteSink>> {
        match self.options.bios_log {
            true => Some(Box::new(put_to_stderr)),
            false => None,
        }
    }
}

fn put_to_stderr(byte: u8) {
    let _ = std::io::stderr().write_all(&[byte]);
}

fn utc_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
