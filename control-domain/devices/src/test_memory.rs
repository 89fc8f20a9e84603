//! Memory for the tests of this crate.

use crate::bus::{GuestMemory, OutsideMemory};
use std::cell::RefCell;

/// RAM from address 0 on.
pub struct Ram(RefCell<Vec<u8>>);

impl Ram {
    pub fn new(bytes: usize) -> Self {
        Ram(RefCell::new(vec![0; bytes]))
    }

    pub fn bytes(&self, gpa: usize, count: usize) -> Vec<u8> {
        self.0.borrow()[gpa..gpa + count].to_vec()
    }
}

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory> {
        let ram = self.0.borrow();
        let outside = OutsideMemory {
            gpa,
            length: data.len(),
        };
        let end = gpa.checked_add(data.len() as u64).ok_or(outside)?;
        data.copy_from_slice(ram.get(gpa as usize..end as usize).ok_or(outside)?);
        Ok(())
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory> {
        let mut ram = self.0.borrow_mut();
        let outside = OutsideMemory {
            gpa,
            length: data.len(),
        };
        let end = gpa.checked_add(data.len() as u64).ok_or(outside)?;
        ram.get_mut(gpa as usize..end as usize)
            .ok_or(outside)?
            .copy_from_slice(data);
        Ok(())
    }
}
