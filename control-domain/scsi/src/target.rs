//! A target: its logical units, and the commands that are about all of them.

use crate::action::{self, Action};
use crate::attention::{Attention, Attentions};
use crate::cdb::Cdb;
use crate::disk::DiskUnit;
use crate::dvd::DvdUnit;
use crate::inquiry;
use crate::opcode::Opcode;
use crate::sense::{FIXED_SENSE_LENGTH, Sense};
use std::collections::BTreeMap;

/// Units of one target, by what a LUN of 8 bits can say.
pub const MOST_UNITS: usize = 256;

/// A logical unit.
#[derive(Clone, Debug)]
pub enum Unit {
    /// A disk.
    Disk(DiskUnit),
    /// A DVD drive.
    Dvd(DvdUnit),
}

impl Unit {
    fn attentions(&mut self) -> &mut Attentions {
        match self {
            Unit::Disk(disk) => &mut disk.attentions,
            Unit::Dvd(dvd) => &mut dvd.attentions,
        }
    }

    /// Bytes of a logical block.
    pub fn block_size(&self) -> u32 {
        match self {
            Unit::Disk(disk) => disk.config().block_size,
            Unit::Dvd(_) => crate::DVD_BLOCK_SIZE,
        }
    }

    fn inquiry(&self, cdb: &Cdb) -> Result<Action, Sense> {
        match self {
            Unit::Disk(disk) => inquiry::inquiry(cdb, Some(&disk.description())),
            Unit::Dvd(dvd) => inquiry::inquiry(cdb, Some(&dvd.description())),
        }
    }

    fn command(&mut self, cdb: &Cdb, parameters: &[u8]) -> Result<Action, Sense> {
        let opcode = cdb.opcode();
        match opcode {
            Opcode::INQUIRY => return self.inquiry(cdb),
            Opcode::REQUEST_SENSE => return request_sense(cdb, self.attentions().take()),
            // A drive's events are news of their own kind (MMC-6 §6.6.1.2).
            Opcode::GET_EVENT_STATUS | Opcode::GET_CONFIGURATION => {}
            _ => {
                if let Some(news) = self.attentions().take() {
                    return Err(news);
                }
            }
        }
        match self {
            Unit::Disk(disk) => disk.command(cdb, parameters),
            Unit::Dvd(dvd) => dvd.command(cdb),
        }
    }
}

/// The units behind one address of a bus.
#[derive(Clone, Debug, Default)]
pub struct Target {
    units: BTreeMap<u8, Unit>,
}

impl Target {
    /// Adds a unit, or puts another one in its place. The other units have news of it, if the guest
    /// may have looked before.
    pub fn add(&mut self, lun: u8, unit: Unit) -> Option<Unit> {
        let before = self.units.insert(lun, unit);
        self.luns_changed(Some(lun));
        before
    }

    /// Takes a unit away, and tells the others.
    pub fn remove(&mut self, lun: u8) -> Option<Unit> {
        let removed = self.units.remove(&lun)?;
        self.luns_changed(None);
        Some(removed)
    }

    fn luns_changed(&mut self, but: Option<u8>) {
        for (lun, unit) in &mut self.units {
            if but != Some(*lun) {
                unit.attentions().add(Attention::LunsChanged);
            }
        }
    }

    /// The unit, to look at or to change.
    pub fn unit(&mut self, lun: u8) -> Option<&mut Unit> {
        self.units.get_mut(&lun)
    }

    /// All units with their numbers, ascending.
    pub fn units(&self) -> impl Iterator<Item = (u8, &Unit)> {
        self.units.iter().map(|(lun, unit)| (*lun, unit))
    }

    /// Numbers of all units, ascending.
    pub fn luns(&self) -> impl Iterator<Item = u8> {
        self.units.keys().copied()
    }

    /// Resets all units, or one.
    pub fn reset(&mut self, only: Option<u8>) {
        for (lun, unit) in &mut self.units {
            if only.is_none_or(|only| only == *lun) {
                if let Unit::Dvd(dvd) = unit {
                    dvd.reset();
                }
                unit.attentions().add(Attention::Reset);
            }
        }
    }

    /// Whether commands to `lun` find anyone: a unit, or the target itself, which answers INQUIRY and
    /// REPORT LUNS at LUN 0.
    pub fn answers(&self, lun: u8, cdb: &[u8]) -> bool {
        self.units.contains_key(&lun) || lun == 0 && is_about_target(cdb)
    }

    /// The answer to INQUIRY and REPORT LUNS at an address where there is not even a target: nobody, and
    /// no units.
    pub fn answer_of_none(cdb: &[u8]) -> Option<Action> {
        is_about_target(cdb).then(|| Self::default().command(0, cdb, &[]))
    }

    /// How many bytes from the initiator a command has to be given as its parameters: none for
    /// transfers, which [`Request::transfer_length`](crate::Request::transfer_length) speaks of.
    pub fn parameter_length(&self, lun: u8, cdb: &[u8]) -> usize {
        match (self.units.get(&lun), Cdb::new(cdb)) {
            (Some(Unit::Disk(disk)), Ok(cdb)) => disk.parameter_length(&cdb),
            _ => 0,
        }
    }

    /// Carries out a command. `parameters` are the initiator's bytes, as many as
    /// [`Target::parameter_length`] says if it sent that many.
    pub fn command(&mut self, lun: u8, cdb: &[u8], parameters: &[u8]) -> Action {
        Cdb::new(cdb)
            .and_then(|cdb| self.dispatch(lun, &cdb, parameters))
            .unwrap_or_else(Action::Check)
    }

    fn dispatch(&mut self, lun: u8, cdb: &Cdb, parameters: &[u8]) -> Result<Action, Sense> {
        if cdb.opcode() == Opcode::REPORT_LUNS {
            return self.report_luns(cdb);
        }
        match self.units.get_mut(&lun) {
            Some(unit) => unit.command(cdb, parameters),
            None => match cdb.opcode() {
                Opcode::INQUIRY => inquiry::inquiry(cdb, None),
                Opcode::REQUEST_SENSE => request_sense(cdb, Some(Sense::NO_UNIT)),
                _ => Err(Sense::NO_UNIT),
            },
        }
    }

    /// SPC-4 §6.33.
    fn report_luns(&mut self, cdb: &Cdb) -> Result<Action, Sense> {
        let allocation_length = cdb.u32(6);
        let luns: Vec<u8> = match cdb.u8(2) {
            0 | 2 => self.luns().collect(),
            // Well known units alone: there are none.
            1 => Vec::new(),
            _ => return Err(Sense::invalid_field(2)),
        };
        if allocation_length < 16 {
            return Err(Sense::invalid_field(6));
        }
        for unit in self.units.values_mut() {
            unit.attentions().forget(Attention::LunsChanged);
        }
        let mut bytes = (luns.len() as u32 * 8).to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        for lun in luns {
            // Peripheral device addressing (SAM-5 §4.7.7.2).
            bytes.extend([0, lun, 0, 0, 0, 0, 0, 0]);
        }
        action::data(bytes, allocation_length as usize)
    }
}

fn is_about_target(cdb: &[u8]) -> bool {
    let about_target = [Opcode::INQUIRY, Opcode::REPORT_LUNS].map(|opcode| opcode.0);
    cdb.first()
        .is_some_and(|opcode| about_target.contains(opcode))
}

/// SPC-4 §6.39: news if there are any. Whatever else there was to say went with its command.
fn request_sense(cdb: &Cdb, news: Option<Sense>) -> Result<Action, Sense> {
    cdb.must_be_clear(1, 0x01)?;
    let bytes: [u8; FIXED_SENSE_LENGTH] = news.unwrap_or(Sense::NONE).to_bytes();
    action::data(bytes.to_vec(), cdb.u8(4).into())
}
