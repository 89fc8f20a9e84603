//! PACKET commands: what a DVD drive takes in place of a disk's commands.
//!
//! Source: ATA/ATAPI-7 (T13/1532D) volume 1 §6.24, volume 2 §9.8 to §9.10.

use super::command::set_transfer_mode;
use super::{Channel, ERROR_ABORTED, IDLE, STATUS_DATA_REQUEST, STATUS_ERROR};
use crate::ide::bus_master::Outcome;
use crate::ide::drive::Device;
use crate::ide::dvd::DvdDrive;
use crate::ide::identify::identify_packet;

/// Bytes of a command.
const COMMAND_BYTES: usize = 12;

/// Interrupt reason, in the count register: a command is wanted, or none is under way any more; bytes
/// go to the host.
const REASON_COMMAND: u8 = 1;
const REASON_TO_HOST: u8 = 2;

/// In the features register: data by bus master.
const FEATURE_DMA: u8 = 1;

/// Where a PACKET command stands.
pub enum Packet {
    /// Its bytes come in.
    Command {
        bytes: Vec<u8>,
        dma: bool,
        limit: usize,
    },
    /// The host fetches data, at most `limit` bytes an interrupt.
    Giving {
        data: Vec<u8>,
        at: usize,
        end: usize,
        limit: usize,
    },
    /// Data waits for the bus master.
    Dma(Vec<u8>),
}

impl Channel {
    pub(super) fn packet_device_command(&mut self, command: u8) {
        let unit = self.unit();
        match command {
            // DEVICE RESET: no interrupt.
            0x08 => {
                self.sign_unit(unit);
                self.error[unit] = super::DIAGNOSTIC_PASSED;
            }
            0xa0 => self.await_packet(),
            0xa1 => {
                let has_slave = self.devices[1].is_some();
                let answer = self.selected_dvd().map(|drive| {
                    identify_packet(&drive.serial, drive.transfer_mode, unit, has_slave)
                });
                if let Some(answer) = answer {
                    self.tell(&answer);
                }
            }
            // STANDBY, IDLE, SLEEP, FLUSH CACHE.
            0xe0..=0xe3 | 0xe6 | 0xe7 => self.succeed(),
            // CHECK POWER MODE: active.
            0xe5 => {
                self.task().count[0] = 0xff;
                self.succeed();
            }
            0xef => self.set_packet_features(),
            // Disk commands abort, and leave the signature (§6.17, §6.28).
            0xec | 0x20 => {
                self.sign_unit(unit);
                self.fail(ERROR_ABORTED, None);
            }
            _ => self.fail(ERROR_ABORTED, None),
        }
    }

    fn selected_dvd(&mut self) -> Option<&mut DvdDrive> {
        match self.device(self.unit()) {
            Some(Device::Dvd(drive)) => Some(drive),
            Some(Device::Disk(_)) | None => None,
        }
    }

    fn set_packet_features(&mut self) {
        let task = *self.task();
        let known = match (task.features[0], self.selected_dvd()) {
            (0x03, Some(drive)) => set_transfer_mode(&mut drive.transfer_mode, task.count[0]),
            // What survives a software reset: no difference here.
            (0x66 | 0xcc, _) => true,
            _ => false,
        };
        match known {
            true => self.succeed(),
            false => self.fail(ERROR_ABORTED, None),
        }
    }

    fn await_packet(&mut self) {
        let unit = self.unit();
        let task = self.task();
        let [_, low, high] = task.lba[0];
        // Zero is no limit; an odd one would cut a word.
        let limit = match usize::from(u16::from_le_bytes([low, high])) & !1 {
            0 => 0xfffe,
            limit => limit,
        };
        let dma = task.features[0] & FEATURE_DMA != 0;
        task.count[0] = REASON_COMMAND;
        self.error[unit] = 0;
        self.status[unit] = IDLE | STATUS_DATA_REQUEST;
        self.packet = Some(Packet::Command {
            bytes: Vec::new(),
            dma,
            limit,
        });
    }

    pub(super) fn write_packet_data(&mut self, word: &[u8]) {
        let Some(Packet::Command { bytes, dma, limit }) = &mut self.packet else {
            return;
        };
        bytes.extend_from_slice(word);
        let (dma, limit) = (*dma, *limit);
        let Some(command) = bytes.first_chunk::<COMMAND_BYTES>().copied() else {
            return;
        };
        let Some(drive) = self.selected_dvd() else {
            return;
        };
        match drive.command(&command) {
            Ok(data) if data.is_empty() => self.end_packet(),
            Ok(data) if dma => {
                let unit = self.unit();
                self.status[unit] = IDLE | STATUS_DATA_REQUEST;
                self.task().count[0] = REASON_TO_HOST;
                self.packet = Some(Packet::Dma(data));
            }
            Ok(data) => {
                self.packet = Some(Packet::Giving {
                    data,
                    at: 0,
                    end: 0,
                    limit,
                });
                self.give_more();
            }
            Err(sense) => self.fail_packet((sense.key as u8) << 4 | ERROR_ABORTED),
        }
    }

    /// Reads the data register. Answers whether the interrupt may have changed.
    pub(super) fn read_packet_data(&mut self, word: &mut [u8]) -> bool {
        word.fill(0xff);
        let Some(Packet::Giving { data, at, end, .. }) = &mut self.packet else {
            return false;
        };
        for (byte, value) in word.iter_mut().zip(&data[*at..*end]) {
            *byte = *value;
        }
        *at = (*at + word.len()).min(*end);
        let drained = at == end;
        if drained {
            self.give_more();
        }
        drained
    }

    /// Offers the next bytes, or ends the command.
    fn give_more(&mut self) {
        let Some(Packet::Giving {
            data,
            at,
            end,
            limit,
        }) = &mut self.packet
        else {
            return;
        };
        *end = data.len().min(*at + *limit);
        let length = *end - *at;
        if length == 0 {
            return self.end_packet();
        }
        let [low, high, ..] = length.to_le_bytes();
        let unit = self.unit();
        let task = self.task();
        task.lba[0][1..].copy_from_slice(&[low, high]);
        task.count[0] = REASON_TO_HOST;
        self.status[unit] = IDLE | STATUS_DATA_REQUEST;
        self.raise();
    }

    fn end_packet(&mut self) {
        self.end_transfer();
        self.task().count[0] = REASON_COMMAND | REASON_TO_HOST;
        self.succeed();
    }

    fn fail_packet(&mut self, error: u8) {
        let unit = self.unit();
        self.end_transfer();
        self.task().count[0] = REASON_COMMAND | REASON_TO_HOST;
        self.status[unit] = IDLE | STATUS_ERROR;
        self.error[unit] = error;
        self.raise();
    }

    /// Data that the bus master is to move.
    pub fn packet_data(&mut self) -> Option<&mut [u8]> {
        match &mut self.packet {
            Some(Packet::Dma(data)) => Some(data),
            _ => None,
        }
    }

    /// The bus master is through.
    pub fn finish_packet_dma(&mut self, outcome: Outcome) {
        match outcome {
            // The drive goes on waiting for data to go until it is reset.
            Outcome::Short => {}
            Outcome::Done => self.end_packet(),
            Outcome::DiskError(_) | Outcome::MemoryError => self.fail_packet(ERROR_ABORTED),
        }
    }
}
