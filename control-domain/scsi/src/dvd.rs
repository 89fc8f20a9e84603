//! A DVD drive: the multi-media commands, as far as reading needs them. Source: MMC-6.

mod configuration;
mod settings;
mod status;
mod toc;

use crate::action::{self, Action, GOOD, Range, Request};
use crate::attention::{Attention, Attentions};
use crate::cdb::Cdb;
use crate::identity::Identity;
use crate::inquiry::Description;
use crate::opcode::Opcode;
use crate::sense::Sense;

/// Bytes of a logical block.
pub const DVD_BLOCK_SIZE: u32 = 2048;

const PRODUCT: &[u8; 16] = b"Virtual DVD-ROM ";
/// The most bytes that one command may read.
const MOST_TRANSFER: u64 = 1 << 20;

/// What the guest has not been told about the medium by GET EVENT STATUS NOTIFICATION.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Event {
    #[default]
    None,
    Arrived,
    Removed,
}

/// A DVD drive.
#[derive(Clone, Debug)]
pub struct DvdUnit {
    identity: Identity,
    /// Blocks of the medium, if there is one.
    medium: Option<u32>,
    tray_open: bool,
    locked: bool,
    event: Event,
    pub(crate) attentions: Attentions,
}

impl DvdUnit {
    /// A drive with a medium of so many bytes, or without.
    pub fn new(identity: Identity, medium_bytes: Option<u64>) -> Self {
        Self {
            identity,
            medium: medium_bytes.map(blocks_of),
            tray_open: false,
            locked: false,
            event: Event::None,
            attentions: Attentions::default(),
        }
    }

    /// Another medium, or none: the person at the machine did it, so that no lock counts.
    pub fn set_medium(&mut self, medium_bytes: Option<u64>) {
        self.medium = medium_bytes.map(blocks_of);
        self.tray_open = false;
        self.event = match self.medium {
            Some(_) => {
                self.attentions.add(Attention::MediumChanged);
                Event::Arrived
            }
            None => Event::Removed,
        };
    }

    /// Whether the guest has locked the drive.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    pub(crate) fn reset(&mut self) {
        self.locked = false;
    }

    pub(crate) fn description(&self) -> Description<'_> {
        Description {
            device_type: 0x05,
            removable: true,
            product: PRODUCT,
            identity: self.identity,
            pages: Vec::new(),
        }
    }

    pub(crate) fn command(&mut self, cdb: &Cdb) -> Result<Action, Sense> {
        match cdb.opcode() {
            Opcode::TEST_UNIT_READY => self.blocks().map(|_| GOOD),
            Opcode::MODE_SENSE_6 | Opcode::MODE_SENSE_10 => settings::modes(self).sense(cdb),
            Opcode::READ_CAPACITY_10 => self.capacity(),
            Opcode::READ_10 | Opcode::READ_12 => self.read(cdb),
            Opcode::VERIFY_10 => self.blocks().map(|_| GOOD),
            Opcode::SYNCHRONIZE_CACHE_10 => Ok(GOOD),
            Opcode::READ_TOC => toc::read_toc(self.blocks()?, cdb),
            Opcode::GET_CONFIGURATION => configuration::get(self.medium.is_some(), cdb),
            Opcode::GET_EVENT_STATUS => status::event(self, cdb),
            Opcode::READ_DISC_INFORMATION => {
                self.blocks()?;
                status::disc_information(cdb)
            }
            Opcode::MECHANISM_STATUS => status::mechanism(self, cdb),
            Opcode::PREVENT_ALLOW => {
                self.locked = cdb.bit(4, 0);
                Ok(GOOD)
            }
            Opcode::START_STOP_UNIT => self.start_stop(cdb),
            _ => Err(Sense::INVALID_OPCODE),
        }
    }

    /// Blocks of the medium.
    fn blocks(&self) -> Result<u32, Sense> {
        self.medium.ok_or(match self.tray_open {
            true => Sense::NO_MEDIUM_TRAY_OPEN,
            false => Sense::NO_MEDIUM_TRAY_CLOSED,
        })
    }

    /// §6.28.
    fn capacity(&self) -> Result<Action, Sense> {
        let mut bytes = (self.blocks()?.saturating_sub(1)).to_be_bytes().to_vec();
        bytes.extend(DVD_BLOCK_SIZE.to_be_bytes());
        action::data(bytes, 8)
    }

    fn read(&self, cdb: &Cdb) -> Result<Action, Sense> {
        let blocks = u64::from(self.blocks()?);
        let (first, count) = cdb.blocks();
        if first + count > blocks {
            return Err(Sense::OUT_OF_RANGE.about(first));
        }
        let size = u64::from(DVD_BLOCK_SIZE);
        let range = Range {
            offset: first * size,
            length: count * size,
        };
        match range.length {
            0 => Ok(GOOD),
            1..=MOST_TRANSFER => Ok(Action::Medium(Request::Read(range))),
            _ => Err(Sense::invalid_field(cdb.count_field())),
        }
    }

    /// The tray goes out and in (§6.42). What was in it is out with it.
    fn start_stop(&mut self, cdb: &Cdb) -> Result<Action, Sense> {
        let (start, tray) = (cdb.bit(4, 0), cdb.bit(4, 1));
        match (tray, start) {
            (false, _) => Ok(GOOD),
            (true, true) => {
                self.tray_open = false;
                self.blocks().map(|_| GOOD)
            }
            (true, false) if self.locked => Err(Sense::REMOVAL_PREVENTED),
            (true, false) => {
                self.tray_open = true;
                match self.medium.take() {
                    Some(_) => {
                        self.event = Event::Removed;
                        Ok(Action::Ejected)
                    }
                    None => Ok(GOOD),
                }
            }
        }
    }
}

/// Whole blocks; what is larger than any disc is cut.
fn blocks_of(bytes: u64) -> u32 {
    (bytes / u64::from(DVD_BLOCK_SIZE)).min(u32::MAX.into()) as u32
}
