//! What the control domain's kernel is started on: itself, boot parameters, ACPI tables, the
//! mailbox and its first page tables.

use super::segments::{CODE_64, DATA};
use super::{BootError, cpu, firmware};
use hypervisor_boot::acpi;
use hypervisor_boot::boot_params::{self, BootParams, EfiInfo, Screen, SecureBoot};
use hypervisor_boot::e820::{self, E820Entry};
use hypervisor_boot::kernel::{ENTRY_64, Kernel};
use hypervisor_boot::memory_map::{DESCRIPTOR_SIZE, DESCRIPTOR_VERSION, Descriptor, PAGE_SIZE};
use hypervisor_boot::paging::{IdentityMap, Table, WRITABLE, tables_needed};
use hypervisor_hal::handoff::{EntryState, Mailbox, Range};
use uefi::boot::MemoryType;

/// Most entries of the memory map that is shown to the control domain.
pub const MAP_CAPACITY: usize = 2048;

const FOUR_GIB: u64 = 4 << 30;
const ANYWHERE: u64 = 1 << 47;
const STACK_SIZE: u64 = 16 << 10;

/// Size in bytes of the memory for the map and, behind it, the setup data of its old form.
const MAP_SIZE: u64 = (MAP_CAPACITY * DESCRIPTOR_SIZE) as u64;
const SETUP_DATA_SIZE: u64 = 16 + (MAP_CAPACITY * e820::ENTRY_SIZE) as u64;

/// Everything the control domain starts on. None of it is hidden from it.
pub struct ControlDomain {
    kernel: Kernel<'static>,
    command_line: &'static str,
    ramdisk: Range,
    code: Range,
    /// Boot parameters, command line, stack, map, setup data: usable memory for the kernel, which
    /// copies or reserves what it still needs.
    parameters: Range,
    /// Mailbox, GDT, page tables: reserved, as the other CPUs need them long after the start.
    shared: Range,
    page_table_root: u64,
    acpi_rsdp: u64,
}

/// What is known only when it is time to go.
pub struct Facts<'a> {
    /// The final memory map, as it shall be shown.
    pub map: &'a [Descriptor],
    /// Room for its old form.
    pub e820: &'a mut [E820Entry],
    /// Address of the UEFI system table.
    pub system_table: u64,
    /// The screen, if there is one.
    pub screen: Option<Screen>,
    /// The state of Secure Boot.
    pub secure_boot: SecureBoot,
}

/// The memory of a range that is mapped at its own address.
///
/// # Safety
/// The range must be allocated to the caller, and nothing else may refer to it while this does.
unsafe fn memory(range: Range) -> &'static mut [u8] {
    // SAFETY: the caller vouches for it; any bytes are valid bytes.
    unsafe { core::slice::from_raw_parts_mut(range.start as *mut u8, range.len() as usize) }
}

impl ControlDomain {
    /// Takes the memory and fills in all but the boot parameters.
    pub fn prepare(
        kernel: Kernel<'static>,
        command_line: &'static str,
        ramdisk: &'static [u8],
        tables: &firmware::AcpiTables,
        memory_end: u64,
    ) -> Result<Self, BootError> {
        kernel.check_command_line(command_line)?;
        let code = firmware::allocate_aligned(
            MemoryType::LOADER_DATA,
            kernel.init_size,
            kernel.alignment,
            ANYWHERE,
        )?;
        // SAFETY: the memory was just allocated and is at least as long as the code.
        let target = unsafe { memory(code) };
        target[..kernel.code.len()].copy_from_slice(kernel.code);

        let text_size = (command_line.len() as u64 + 1).next_multiple_of(PAGE_SIZE);
        let size = PAGE_SIZE + text_size + STACK_SIZE + MAP_SIZE + SETUP_DATA_SIZE;
        let parameters = firmware::allocate(MemoryType::LOADER_DATA, size, FOUR_GIB)?;
        // SAFETY: just allocated.
        let bytes = unsafe { memory(parameters) };
        bytes.fill(0);
        bytes[PAGE_SIZE as usize..][..command_line.len()].copy_from_slice(command_line.as_bytes());

        let gigabyte_pages = cpu::gigabyte_pages();
        let mapped = Range {
            start: 0,
            end: memory_end.max(FOUR_GIB),
        };
        let table_count = tables_needed(mapped.end, gigabyte_pages, 0);
        let size = (2 + table_count as u64) * PAGE_SIZE;
        let shared = firmware::allocate(MemoryType::RESERVED, size, FOUR_GIB)?;
        // SAFETY: just allocated.
        unsafe { memory(shared) }.fill(0);
        let gdt = (shared.start + PAGE_SIZE) as *mut [u64; 4];
        // SAFETY: the second page of the allocation; `BOOT_CS` and `BOOT_DS` select entries 2 and 3.
        unsafe { gdt.write([0, 0, CODE_64, DATA]) };
        let root = shared.start + 2 * PAGE_SIZE;
        // SAFETY: the rest of the allocation: whole, cleared pages that only this refers to.
        let page_tables =
            unsafe { core::slice::from_raw_parts_mut(root as *mut Table, table_count) };
        IdentityMap::new(page_tables, root, gigabyte_pages)?.map(mapped, WRITABLE)?;

        Ok(Self {
            kernel,
            command_line,
            ramdisk: Range {
                start: ramdisk.as_ptr() as u64,
                end: ramdisk.as_ptr_range().end as u64,
            },
            code,
            parameters,
            shared,
            page_table_root: root,
            acpi_rsdp: copy_acpi_tables(tables, shared.start)?,
        })
    }

    /// The wake-up mailbox.
    pub fn mailbox(&self) -> &'static Mailbox {
        // SAFETY: the first page of the shared memory, cleared, for ever the mailbox. Both sides
        // touch it through atomics only.
        unsafe { &*(self.shared.start as *const Mailbox) }
    }

    /// Address of the RSDP for the control domain.
    pub fn acpi_rsdp(&self) -> u64 {
        self.acpi_rsdp
    }

    /// How the first CPU enters the kernel.
    pub fn entry(&self) -> EntryState {
        EntryState {
            rip: self.code.start + ENTRY_64,
            rsi: self.parameters.start,
            rsp: self.stack_top(),
            cr3: self.page_table_root,
            gdt_base: self.shared.start + PAGE_SIZE,
            gdt_limit: 31,
        }
    }

    fn stack_top(&self) -> u64 {
        let text_size = (self.command_line.len() as u64 + 1).next_multiple_of(PAGE_SIZE);
        self.parameters.start + PAGE_SIZE + text_size + STACK_SIZE
    }

    /// Fills in the boot parameters. `None` if the memory map is too long.
    pub fn fill_boot_params(&self, facts: Facts<'_>) -> Option<()> {
        let start = self.parameters.start;
        let map_start = self.stack_top();
        let setup_data_start = map_start + MAP_SIZE;
        // SAFETY: the memory is ours, and nothing refers to it now.
        let bytes = unsafe { memory(self.parameters) };
        let (page, rest) = bytes.split_first_chunk_mut::<{ boot_params::SIZE }>()?;
        let rest = rest.get_mut((map_start - start) as usize - boot_params::SIZE..)?;
        let (map_bytes, setup_data) = rest.split_at_mut_checked(MAP_SIZE as usize)?;

        let mut params = BootParams::new(page, &self.kernel);
        params.load_address(self.code.start);
        params.command_line(start + PAGE_SIZE);
        params.ramdisk(self.ramdisk.start, self.ramdisk.len());
        params.acpi_rsdp(self.acpi_rsdp);
        params.secure_boot(facts.secure_boot);
        if let Some(screen) = &facts.screen {
            params.screen(screen);
        }
        if facts.map.len() > MAP_CAPACITY {
            return None;
        }
        for (slot, descriptor) in map_bytes.chunks_exact_mut(DESCRIPTOR_SIZE).zip(facts.map) {
            slot.copy_from_slice(&descriptor.to_bytes());
        }
        params.efi_info(&EfiInfo {
            system_table: facts.system_table,
            memory_map: map_start,
            memory_map_size: u32::try_from(facts.map.len() * DESCRIPTOR_SIZE).ok()?,
            descriptor_size: DESCRIPTOR_SIZE as u32,
            descriptor_version: DESCRIPTOR_VERSION,
        });
        let count = e820::from_memory_map(facts.map, facts.e820)?;
        let rest = params.e820(facts.e820.get(..count)?);
        if !rest.is_empty() {
            boot_params::setup_data_e820(rest, setup_data)?;
            params.setup_data(setup_data_start);
        }
        Some(())
    }
}

/// Makes the copies of RSDP, XSDT and MADT. Returns the address of the RSDP.
fn copy_acpi_tables(tables: &firmware::AcpiTables, mailbox: u64) -> Result<u64, BootError> {
    const RSDP_SPACE: usize = 64;
    let xsdt_space = tables.xsdt.len().next_multiple_of(64);
    let madt_space = tables.madt.len() + acpi::WAKEUP_SIZE;
    let size = (RSDP_SPACE + xsdt_space + madt_space) as u64;
    let range = firmware::allocate(MemoryType::ACPI_RECLAIM, size, FOUR_GIB)?;
    let xsdt_address = range.start + RSDP_SPACE as u64;
    let madt_address = xsdt_address + xsdt_space as u64;
    // SAFETY: just allocated.
    let bytes = unsafe { memory(range) };
    bytes.fill(0);
    let (rsdp, rest) = bytes.split_at_mut(RSDP_SPACE);
    let (xsdt, madt) = rest.split_at_mut(xsdt_space);
    acpi::madt_with_mailbox(tables.madt, mailbox, madt)?;
    acpi::xsdt_with_entry(tables.xsdt, tables.madt.as_ptr() as u64, madt_address, xsdt)?;
    rsdp[..acpi::RSDP_SIZE].copy_from_slice(&acpi::rsdp_with_xsdt(tables.rsdp, xsdt_address));
    Ok(range.start)
}
