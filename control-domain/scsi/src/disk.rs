//! A disk: the block commands. Source: SBC-3.

mod capacity;
mod limits;
mod settings;
mod transfer;
mod unmap;

use crate::action::{Action, GOOD, Request};
use crate::attention::{Attention, Attentions};
use crate::cdb::Cdb;
use crate::identity::Identity;
use crate::inquiry::Description;
use crate::opcode::Opcode;
use crate::sense::Sense;

const PRODUCT: &[u8; 16] = b"Virtual Disk    ";

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Who it is.
    pub identity: Identity,
    /// Bytes of a logical block: 512 or 4096.
    pub block_size: u32,
    /// Bytes of a physical block: the same, or 4096.
    pub physical_block_size: u32,
    /// Number of logical blocks.
    pub blocks: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Whether discarded blocks give room back to the host: the guest is told that it may.
    pub thin: bool,
    /// The most bytes that one command may move.
    pub most_transfer: u32,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct DiskUnit {
    config: DiskConfig,
    pub(crate) attentions: Attentions,
}

impl DiskUnit {
    /// A disk.
    pub fn new(config: DiskConfig) -> Self {
        Self {
            config,
            attentions: Attentions::default(),
        }
    }

    /// What it is like.
    pub fn config(&self) -> &DiskConfig {
        &self.config
    }

    /// The disk has another size, and the guest is told.
    pub fn resize(&mut self, blocks: u64) {
        if blocks != self.config.blocks {
            self.config.blocks = blocks;
            self.attentions.add(Attention::CapacityChanged);
        }
    }

    pub(crate) fn description(&self) -> Description<'_> {
        Description {
            device_type: 0x00,
            removable: false,
            product: PRODUCT,
            identity: self.config.identity,
            pages: limits::pages(&self.config),
        }
    }

    pub(crate) fn parameter_length(&self, cdb: &Cdb) -> usize {
        match cdb.opcode() {
            Opcode::UNMAP => cdb.u16(7).into(),
            Opcode::WRITE_SAME_10 | Opcode::WRITE_SAME_16 if !transfer::without_data(cdb) => {
                self.config.block_size as usize
            }
            _ => 0,
        }
    }

    pub(crate) fn command(&mut self, cdb: &Cdb, parameters: &[u8]) -> Result<Action, Sense> {
        let config = &self.config;
        match cdb.opcode() {
            Opcode::TEST_UNIT_READY | Opcode::PREVENT_ALLOW | Opcode::START_STOP_UNIT => Ok(GOOD),
            Opcode::MODE_SENSE_6 | Opcode::MODE_SENSE_10 => settings::modes(config).sense(cdb),
            Opcode::READ_CAPACITY_10 => capacity::short(config, cdb),
            Opcode::SERVICE_ACTION_IN_16 => capacity::long(config, cdb),
            Opcode::READ_6 | Opcode::READ_10 | Opcode::READ_12 | Opcode::READ_16 => {
                transfer::read(config, cdb)
            }
            Opcode::WRITE_6
            | Opcode::WRITE_10
            | Opcode::WRITE_AND_VERIFY_10
            | Opcode::WRITE_12
            | Opcode::WRITE_16 => transfer::write(config, cdb),
            Opcode::VERIFY_10 | Opcode::VERIFY_12 | Opcode::VERIFY_16 => {
                transfer::verify(config, cdb)
            }
            Opcode::WRITE_SAME_10 | Opcode::WRITE_SAME_16 => {
                transfer::write_same(config, cdb, parameters)
            }
            Opcode::UNMAP => unmap::unmap(config, cdb, parameters),
            Opcode::SYNCHRONIZE_CACHE_10 | Opcode::SYNCHRONIZE_CACHE_16 => {
                // Whichever blocks are named: to flush more than was asked is right (§5.22).
                transfer::range(config, cdb)?;
                Ok(Action::Medium(Request::Flush))
            }
            _ => Err(Sense::INVALID_OPCODE),
        }
    }
}
