//! The commands of an ATA disk.
//!
//! Source: ATA/ATAPI-7 (T13/1532D) volume 1 §6; those marked old are in ATA-3 (X3T10/2008D).

use super::{
    Channel, DEVICE_LBA, Dma, ERROR_ABORTED, ERROR_NOT_FOUND, ERROR_UNCORRECTABLE, IDLE, Pio,
    STATUS_DATA_REQUEST,
};
use crate::ide::disk::{Geometry, LBA28_SECTORS, MAX_MULTIPLE};
use crate::ide::identify::identify;

impl Channel {
    pub(super) fn command(&mut self, command: u8) {
        // A device that is not there takes none; only the diagnostics go to both.
        if self.devices[self.unit()].is_none() && command != 0x90 {
            return;
        }
        self.interrupt = false;
        self.end_transfer();
        if self.selected_disk().is_none() && command != 0x90 {
            return self.packet_device_command(command);
        }
        match command {
            // READ SECTOR(S), READ MULTIPLE, and the same with 48-bit addresses.
            0x20 | 0x21 => self.start_pio(false, false, false),
            0xc4 => self.start_pio(false, false, true),
            0x24 => self.start_pio(false, true, false),
            0x29 => self.start_pio(false, true, true),
            // WRITE SECTOR(S), WRITE MULTIPLE.
            0x30 | 0x31 => self.start_pio(true, false, false),
            0xc5 => self.start_pio(true, false, true),
            0x34 => self.start_pio(true, true, false),
            0x39 => self.start_pio(true, true, true),
            // READ DMA, WRITE DMA.
            0xc8 | 0xc9 => self.start_dma(false, false),
            0x25 => self.start_dma(false, true),
            0xca | 0xcb => self.start_dma(true, false),
            0x35 => self.start_dma(true, true),
            // READ VERIFY SECTOR(S), and SEEK (old).
            0x40 | 0x41 => self.verify(false),
            0x42 => self.verify(true),
            0x70..=0x7f => self.verify(false),
            // RECALIBRATE (old).
            0x10..=0x1f => self.succeed(),
            0x90 => self.diagnose(),
            0x91 => self.initialize_parameters(),
            0xc6 => self.set_multiple(),
            // STANDBY, IDLE, SLEEP and their old numbers: nothing spins.
            0xe0..=0xe3 | 0xe6 | 0x94..=0x97 | 0x99 => self.succeed(),
            // CHECK POWER MODE: active.
            0xe5 | 0x98 => {
                self.task().count[0] = 0xff;
                self.succeed();
            }
            // FLUSH CACHE, FLUSH CACHE EXT.
            0xe7 | 0xea => self.flush(),
            0xec => self.identify_device(),
            0xef => self.set_features(),
            _ => self.fail(ERROR_ABORTED, None),
        }
    }

    /// First sector and number of sectors of a command, or `None` where the address does not exist.
    fn address(&mut self, wide: bool) -> Option<(u64, u32)> {
        let task = *self.task();
        let lba_mode = self.device & DEVICE_LBA != 0;
        let device = u64::from(self.device & 0x0f);
        let disk = self.selected_disk()?;
        let [low, middle, high] = task.lba[0].map(u64::from);
        let count = match (wide, task.count) {
            (true, [0, 0]) => 1 << 16,
            (true, [low, high]) => u32::from(low) | u32::from(high) << 8,
            (false, [0, _]) => 1 << 8,
            (false, [low, _]) => low.into(),
        };
        let lba = if wide {
            let [a, b, c] = task.lba[1].map(u64::from);
            low | middle << 8 | high << 16 | a << 24 | b << 32 | c << 40
        } else if lba_mode {
            low | middle << 8 | high << 16 | device << 24
        } else {
            let Geometry { heads, sectors, .. } = disk.geometry;
            let cylinder = middle | high << 8;
            let inside = device < heads.into() && low >= 1 && low <= sectors.into();
            if !inside {
                return None;
            }
            (cylinder * u64::from(heads) + device) * u64::from(sectors) + low - 1
        };
        disk.contains(lba, count.into()).then_some((lba, count))
    }

    fn start_pio(&mut self, write: bool, wide: bool, multiple: bool) {
        let multiple_sectors = self.selected_disk().map_or(0, |disk| disk.multiple);
        if multiple && multiple_sectors == 0 {
            return self.fail(ERROR_ABORTED, None);
        }
        let Some((lba, left)) = self.address(wide) else {
            return self.fail(ERROR_NOT_FOUND, None);
        };
        let block = if multiple { multiple_sectors.into() } else { 1 };
        self.error[self.unit()] = 0;
        self.pio = Some(Pio {
            write,
            lba,
            left,
            block,
        });
        if write {
            // The first block is asked for without an interrupt.
            self.open();
        } else {
            self.fill();
        }
    }

    fn start_dma(&mut self, write: bool, wide: bool) {
        let Some((lba, count)) = self.address(wide) else {
            return self.fail(ERROR_NOT_FOUND, None);
        };
        let unit = self.unit();
        self.error[unit] = 0;
        self.status[unit] = IDLE | STATUS_DATA_REQUEST;
        self.dma = Some(Dma { write, lba, count });
    }

    fn verify(&mut self, wide: bool) {
        match self.address(wide) {
            Some(_) => self.succeed(),
            None => self.fail(ERROR_NOT_FOUND, None),
        }
    }

    fn diagnose(&mut self) {
        self.device = 0;
        self.sign();
        self.raise();
    }

    fn initialize_parameters(&mut self) {
        let (heads, sectors) = ((self.device & 0x0f) + 1, self.task().count[0]);
        let Some(disk) = self.selected_disk() else {
            return;
        };
        if sectors == 0 || sectors > 63 {
            return self.fail(ERROR_ABORTED, None);
        }
        let per_cylinder = u64::from(heads) * u64::from(sectors);
        let cylinders = (disk.size_sectors / per_cylinder).min(65_535) as u16;
        disk.geometry = Geometry {
            cylinders,
            heads,
            sectors,
        };
        self.succeed();
    }

    fn set_multiple(&mut self) {
        let count = self.task().count[0];
        let Some(disk) = self.selected_disk() else {
            return;
        };
        if count > MAX_MULTIPLE || count > 0 && !count.is_power_of_two() {
            return self.fail(ERROR_ABORTED, None);
        }
        disk.multiple = count;
        self.succeed();
    }

    fn flush(&mut self) {
        let Some(disk) = self.selected_disk() else {
            return;
        };
        match disk.backend.flush() {
            Ok(()) => self.succeed(),
            Err(_) => self.fail(ERROR_UNCORRECTABLE, Some(0)),
        }
    }

    fn identify_device(&mut self) {
        let (unit, has_slave) = (self.unit(), self.devices[1].is_some());
        let Some(disk) = self.selected_disk() else {
            return;
        };
        let answer = identify(disk, unit, has_slave);
        self.tell(&answer);
    }

    /// One block for the host that is not of the medium.
    pub(super) fn tell(&mut self, answer: &[u8]) {
        let unit = self.unit();
        self.error[unit] = 0;
        self.status[unit] = IDLE | STATUS_DATA_REQUEST;
        self.buffer.extend(answer);
        self.pio = Some(Pio {
            write: false,
            lba: 0,
            left: 0,
            block: 1,
        });
        self.raise();
    }

    fn set_features(&mut self) {
        let (feature, count) = (self.task().features[0], self.task().count[0]);
        let Some(disk) = self.selected_disk() else {
            return;
        };
        let known = match feature {
            0x02 => {
                disk.write_cache = true;
                true
            }
            // What was written before must be safe as well.
            0x82 => {
                disk.write_cache = false;
                disk.backend.flush().is_ok()
            }
            0x03 => set_transfer_mode(&mut disk.transfer_mode, count),
            // Read look-ahead, and what survives a software reset: no difference here.
            0x55 | 0xaa | 0x66 | 0xcc => true,
            _ => false,
        };
        if known {
            self.succeed()
        } else {
            self.fail(ERROR_ABORTED, None)
        }
    }
}

/// PIO up to mode 4, multiword DMA up to 2, Ultra DMA up to 5.
pub(super) fn set_transfer_mode(current: &mut u8, mode: u8) -> bool {
    match mode {
        0x00 | 0x01 | 0x08..=0x0c => {}
        0x20..=0x22 | 0x40..=0x45 => *current = mode,
        _ => return false,
    }
    true
}

/// Sectors that a 28-bit address can reach fit its four bits of the device register.
const _: () = assert!(LBA28_SECTORS == 1 << 28);
