//! Guest memory as bus masters and the video adapter see it.

use devices::OutsideMemory;
use guest_memory::GuestMemory;
use std::sync::Arc;

/// Guest RAM for bus masters.
#[derive(Clone, Debug)]
pub struct BusMemory(pub Arc<GuestMemory>);

impl devices::GuestMemory for BusMemory {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory> {
        let length = data.len();
        self.0
            .read(gpa, data)
            .map_err(|_| OutsideMemory { gpa, length })
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory> {
        self.0.write(gpa, data).map_err(|_| OutsideMemory {
            gpa,
            length: data.len(),
        })
    }
}
