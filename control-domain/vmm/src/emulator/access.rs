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

impl Place {
    /// Of so many bytes from here on, those in the first page. More than one operand never crosses it.
    fn bytes_in_page(&self, length: usize) -> usize {
        if length > self.length {
            length
        } else {
            self.first_length
        }
    }
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
        self.load_run(place, &mut bytes[..place.length]);
        u64::from_le_bytes(bytes)
    }

    /// Writes an operand.
    pub fn store(&mut self, place: Place, value: u64) {
        self.store_run(place, &value.to_le_bytes()[..place.length]);
    }

    /// How many operands from a place on are plain memory within a page; 1 where it is none.
    pub fn run_length(&self, place: Place, write: bool) -> usize {
        if place.first_length < place.length || !self.bus.is_memory(place.first, write) {
            return 1;
        }
        (PAGE - place.first % PAGE) as usize / place.length
    }

    /// Reads operands from a place on, as many as [`run_length`](Self::run_length) allows.
    pub fn load_run(&mut self, place: Place, data: &mut [u8]) {
        let (first, second) = data.split_at_mut(place.bytes_in_page(data.len()));
        self.bus.read(place.first, first);
        if !second.is_empty() {
            self.bus.read(place.second, second);
        }
    }

    /// Writes as many.
    pub fn store_run(&mut self, place: Place, data: &[u8]) {
        let (first, second) = data.split_at(place.bytes_in_page(data.len()));
        self.bus.write(place.first, first);
        if !second.is_empty() {
            self.bus.write(place.second, second);
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
