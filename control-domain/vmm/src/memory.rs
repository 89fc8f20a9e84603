//! Guest memory: opened from its granules, and as bus masters see it.

use crate::granule::Granule;
use crate::layout::PoolPlan;
use devices::OutsideMemory;
use guest_memory::{GuestMemory, Mapping};
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

/// Maps granules, with room for `room` bytes of further ones. Nothing is written: until the hypervisor gives them to this machine, they may be
/// another's.
///
/// # Errors
/// One sentence that says what is missing.
pub fn open(
    granules: &[Granule],
    plan: PoolPlan,
    room: u64,
) -> Result<(BusMemory, PoolPlan), String> {
    let paths: Vec<_> = granules
        .iter()
        .map(|granule| granule.path.clone())
        .collect();
    let mapping = Mapping::open(&paths, room).map_err(|e| e.to_string())?;
    let plan = match room {
        0 => plan,
        _ => plan.growing_from(mapping.length()),
    };
    let layout = plan.ram().map_err(|e| e.to_string())?;
    let memory = GuestMemory::new(mapping, layout).map_err(|e| e.to_string())?;
    Ok((BusMemory(Arc::new(memory)), plan))
}
