//! The hidden memory behind the host: what of it is the boot code's, the rest is the page pool.

use super::BootError;
use super::exceptions::ExceptionTable;
use super::processors::Machine;
use super::segments::CpuAreas;
use hypervisor_boot::paging::Table;
use hypervisor_hal::handoff::Range;

/// What lies in front of the page pool.
pub struct Private {
    /// What all CPUs share, the record for the hypervisor among it.
    pub machine: &'static mut core::mem::MaybeUninit<Machine>,
    /// The interrupt descriptor table.
    pub exceptions: &'static mut ExceptionTable,
    /// One area for each CPU.
    pub cpus: CpuAreas,
    /// Tables for the host's page tables.
    pub tables: &'static mut [Table],
    /// Physical address of `tables`.
    pub tables_base: u64,
    /// What is left.
    pub page_pool: Range,
}

const fn pages<T>(count: usize) -> u64 {
    ((size_of::<T>() * count) as u64).next_multiple_of(4096)
}

/// Bytes that [`Private::carve`] takes from the front.
pub const fn size(cpu_count: usize, table_count: usize) -> u64 {
    pages::<Machine>(1)
        + pages::<ExceptionTable>(1)
        + CpuAreas::size(cpu_count)
        + pages::<Table>(table_count)
}

impl Private {
    /// Clears `memory` and takes the parts from its front.
    ///
    /// # Safety
    /// `memory` must be mapped at its own address, start on a page, belong to the caller alone and
    /// stay for ever.
    pub unsafe fn carve(
        memory: Range,
        cpu_count: usize,
        table_count: usize,
    ) -> Result<Self, BootError> {
        if memory.len() < size(cpu_count, table_count) {
            return Err(BootError::OutOfMemory {
                bytes: size(cpu_count, table_count),
            });
        }
        let machine = memory.start;
        let exceptions = machine + pages::<Machine>(1);
        let cpus = exceptions + pages::<ExceptionTable>(1);
        let tables = cpus + CpuAreas::size(cpu_count);
        let page_pool = Range {
            start: tables + pages::<Table>(table_count),
            end: memory.end,
        };
        // SAFETY: the caller owns the memory; the parts lie behind each other in it, each starts
        // on a page, and all their types are valid when zeroed.
        unsafe {
            core::ptr::write_bytes(memory.start as *mut u8, 0, memory.len() as usize);
            Ok(Self {
                machine: &mut *(machine as *mut _),
                exceptions: &mut *(exceptions as *mut _),
                cpus: CpuAreas::new(cpus, cpu_count),
                tables: core::slice::from_raw_parts_mut(tables as *mut _, table_count),
                tables_base: tables,
                page_pool,
            })
        }
    }
}
