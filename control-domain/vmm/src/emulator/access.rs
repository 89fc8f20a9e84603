//! Linear memory: translation by the guest's page tables, and accesses that may cross a page.

use super::{Bus, Emulator};
use guest_memory::Fault;

const PAGE: u64 = 4096;

/// A translated operand: one piece, or two when it crosses a page.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    first: u64,
    first_length: usize,
    second: u64,
    length: usize,
}

impl<B: Bus> Emulator<'_, B> {
    /// Cuts a linear address to what the processor's mode knows.
    pub fn linear(&self, address: u64) -> u64 {
        if self.paging.long_mode() {
            address
        } else {
            address & 0xffff_ffff
        }
    }

    fn translate(&mut self, linear: u64, write: bool) -> Result<u64, Fault> {
        let linear = self.linear(linear);
        let page = linear & !(PAGE - 1);
        if let Some((known, gpa)) = self.last_page[usize::from(write)]
            && known == page
        {
            return Ok(gpa | (linear - page));
        }
        let bus = &*self.bus;
        let read = |gpa: u64, size: usize| {
            let mut bytes = [0; 8];
            bus.read_memory(gpa, &mut bytes[..size])
                .then(|| u64::from_le_bytes(bytes))
        };
        let gpa = self.paging.translate(linear, write, self.user, read)?;
        self.last_page[usize::from(write)] = Some((page, gpa & !(PAGE - 1)));
        Ok(gpa)
    }

    /// Translates an operand of 1 to 8 bytes, all of it.
    pub fn place(&mut self, linear: u64, length: usize, write: bool) -> Result<Place, Fault> {
        let first_length = (PAGE - (linear & (PAGE - 1))).min(length as u64) as usize;
        let first = self.translate(linear, write)?;
        let second = if first_length < length {
            self.translate(linear.wrapping_add(first_length as u64), write)?
        } else {
            0
        };
        Ok(Place {
            first,
            first_length,
            second,
            length,
        })
    }

    /// Reads an operand.
    pub fn load(&mut self, place: Place) -> u64 {
        let mut bytes = [0; 8];
        self.bus.read(place.first, &mut bytes[..place.first_length]);
        if place.first_length < place.length {
            self.bus
                .read(place.second, &mut bytes[place.first_length..place.length]);
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes an operand.
    pub fn store(&mut self, place: Place, value: u64) {
        let bytes = value.to_le_bytes();
        self.bus.write(place.first, &bytes[..place.first_length]);
        if place.first_length < place.length {
            self.bus
                .write(place.second, &bytes[place.first_length..place.length]);
        }
    }

    /// Reads instruction bytes, up to the first that can't be read. Answers how many.
    pub fn fetch_bytes(&mut self, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = linear.wrapping_add(done as u64);
            let length = (PAGE - (at & (PAGE - 1))).min((bytes.len() - done) as u64) as usize;
            let Ok(gpa) = self.translate(at, false) else {
                break;
            };
            if !self.bus.read_memory(gpa, &mut bytes[done..done + length]) {
                break;
            }
            done += length;
        }
        done
    }
}
