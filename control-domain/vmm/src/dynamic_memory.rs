//! Dynamic memory: how much memory a running machine has. What its guest gives back stays the machine's; what it
//! gets beyond its first memory are whole granules.

use crate::granule::{self, Granule};
use crate::layout::PoolPlan;
use crate::machine_file::DynamicMemoryEntry;
use crate::running::Running;
use dynamic_memory::{DynamicMemory, PAGE_BYTES, PageRange};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use vmbus::Device;

const PAGES_IN_MIB: u64 = (1 << 20) / PAGE_BYTES;
/// How long a guest has to find so many pages, or to build its tables for new ones.
const TIME_FOR_A_CHANGE: Duration = Duration::from_secs(120);

/// The granules of a machine.
#[derive(Debug, Default)]
pub struct Granules {
    /// Those that it may take; all, if none are named.
    named: Vec<PathBuf>,
    taken: Vec<Granule>,
}

impl Granules {
    /// Those that a machine has at first.
    pub fn new(named: Vec<PathBuf>, taken: Vec<Granule>) -> Self {
        Self { named, taken }
    }
}

/// The device, where the machine file asks for it.
pub fn device(running: &Running, plan: &PoolPlan) -> Option<Box<dyn Device>> {
    let entry = running.hardware().file.dynamic_memory?;
    let memory = running.services().memory.clone();
    let most = entry.maximum_mib * PAGES_IN_MIB;
    Some(Box::new(DynamicMemory::new(
        memory,
        &plan.ram_ranges(),
        most,
    )))
}

/// Gives the machine so much memory.
///
/// # Errors
/// One sentence: not within its bounds, or host or guest has not so much.
pub fn assign(running: &Running, mib: u64) -> Result<Value, String> {
    let entry = entry(running)?;
    let bounds = entry.minimum_mib..=entry.maximum_mib;
    if !bounds.contains(&mib) {
        return Err(format!(
            "the machine has {} to {} MiB (`dynamic_memory` in its machine file), not {mib}",
            entry.minimum_mib, entry.maximum_mib
        ));
    }
    let memory = &running.services().memory;
    let missing = (mib * PAGES_IN_MIB).saturating_sub(memory.state().all);
    if missing > 0 {
        grow(running, missing * PAGE_BYTES)?;
    }
    let set = memory.set(mib * PAGES_IN_MIB, TIME_FOR_A_CHANGE);
    set.map_err(|why| {
        let now = memory.state().assigned() / PAGES_IN_MIB;
        format!("{why}; it has {now} MiB")
    })?;
    state(running)
}

/// How much it has, and how much it needs.
///
/// # Errors
/// One sentence: it has no dynamic memory.
pub fn state(running: &Running) -> Result<Value, String> {
    let entry = entry(running)?;
    let state = running.services().memory.state();
    let mib = |pages: u64| pages / PAGES_IN_MIB;
    Ok(json!({
        "assigned_mib": mib(state.assigned()),
        "given_back_mib": mib(state.given),
        "demand_mib": state.reported.map(|reported| mib(reported.demand)),
        "available_mib": state.reported.map(|reported| mib(reported.available)),
        "minimum_mib": entry.minimum_mib,
        "maximum_mib": entry.maximum_mib,
    }))
}

fn entry(running: &Running) -> Result<DynamicMemoryEntry, String> {
    let entry = running.hardware().file.dynamic_memory;
    entry.ok_or_else(|| {
        "its memory is static: its machine file has no `dynamic_memory: {minimum_mib: …, maximum_mib: …}`".into()
    })
}

/// Adds granules until there are so many bytes more. What is added is the guest's for as long as the machine
/// lives, though the guest may begin anew without it.
fn grow(running: &Running, bytes: u64) -> Result<(), String> {
    let machine = running.machine().ok_or("it is just starting")?;
    let mut granules = running.granules();
    let mut added = 0;
    while added < bytes {
        if machine.spare_bytes() == 0 {
            let more = granule::take(&granules.named, 1)?;
            let mapping = machine.memory.0.mapping();
            let mapped = more
                .iter()
                .try_for_each(|granule| mapping.extend(&granule.path).map(drop));
            mapped.map_err(|error| error.to_string())?;
            granules.taken.extend(more);
        }
        let (gpa, length) = machine.grow()?;
        let range = PageRange {
            first: gpa / PAGE_BYTES,
            count: length / PAGE_BYTES,
        };
        let memory = &running.services().memory;
        let told = memory.add(range, TIME_FOR_A_CHANGE);
        told.map_err(|why| {
            format!(
                "{why}; it has {} MiB",
                memory.state().assigned() / PAGES_IN_MIB
            )
        })?;
        added += length;
    }
    Ok(())
}
