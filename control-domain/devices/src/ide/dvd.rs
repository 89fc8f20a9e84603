//! A DVD drive behind PACKET commands: the SCSI drive that is also on VMBus, without its transport.

use super::disk::SECTOR_BYTES;
use super::drive::Disc;
use crate::block::BlockBackend;
use scsi::{Action, DVD_BLOCK_SIZE, DvdUnit, Failure, Identity, Request, Sense, Target, Unit};

const REQUEST_SENSE: u8 = 0x03;

/// The drive.
pub struct DvdDrive {
    target: Target,
    medium: Option<Disc>,
    /// Of the last command that failed, until it is asked for: there is no other way to tell it here.
    sense: Option<Sense>,
    /// Serial number, 20 characters.
    pub serial: String,
    /// As set by SET FEATURES.
    pub transfer_mode: u8,
}

impl DvdDrive {
    /// A drive at power-on with the disc in it.
    pub fn new(medium: Option<Disc>, serial: String) -> Self {
        let mut identity = [0; 16];
        identity.copy_from_slice(&serial.as_bytes()[serial.len() - 16..]);
        let mut target = Target::default();
        let unit = DvdUnit::new(Identity(identity), medium.as_deref().map(bytes_of));
        target.add(0, Unit::Dvd(unit));
        DvdDrive {
            target,
            medium,
            sense: None,
            serial,
            transfer_mode: 0x42,
        }
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        self.target.reset(None);
        self.sense = None;
    }

    /// Puts another disc in, or none. Answers what was in it.
    pub fn insert(&mut self, medium: Option<Disc>) -> Option<Disc> {
        if let Some(Unit::Dvd(unit)) = self.target.unit(0) {
            unit.set_medium(medium.as_deref().map(bytes_of));
        }
        std::mem::replace(&mut self.medium, medium)
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// Its sense, which REQUEST SENSE tells next.
    pub fn command(&mut self, command: &[u8; 12]) -> Result<Vec<u8>, Sense> {
        if command[0] == REQUEST_SENSE
            && let Some(sense) = self.sense.take()
        {
            let mut bytes = sense.to_bytes().to_vec();
            bytes.truncate(command[4].into());
            return Ok(bytes);
        }
        self.sense = None;
        let result = match self.target.command(0, command, &[]) {
            Action::Data(bytes) => Ok(bytes),
            Action::Check(sense) => Err(sense),
            Action::Medium(request) => self.read(&request),
            Action::Ejected => {
                self.medium = None;
                Ok(Vec::new())
            }
        };
        self.sense = result.as_ref().err().copied();
        result
    }

    fn read(&mut self, request: &Request) -> Result<Vec<u8>, Sense> {
        let failed = || request.failure(Failure::Medium, DVD_BLOCK_SIZE);
        // A drive asks for nothing else.
        let Request::Read(range) = request else {
            return Err(failed());
        };
        let medium = self.medium.as_deref_mut().ok_or_else(failed)?;
        let mut bytes = vec![0; range.length as usize];
        medium
            .read(range.offset / SECTOR_BYTES as u64, &mut bytes)
            .map_err(|_| failed())?;
        Ok(bytes)
    }
}

fn bytes_of(medium: &dyn BlockBackend) -> u64 {
    medium.size_sectors() * SECTOR_BYTES as u64
}

#[cfg(test)]
#[path = "dvd/tests.rs"]
mod tests;
