//! The steps of the boot in their order.

use super::control_domain::{ControlDomain, Facts, MAP_CAPACITY};
use super::exceptions::ExceptionTable;
use super::private::{self, Private};
use super::segments::CpuArea;
use super::serial::{self, log};
use super::trampoline::{self, Trampoline};
use super::{BootError, IMAGE_BASE, LEFT_FIRMWARE, cpu, firmware, measure, native, previous_crash};
use core::sync::atomic::{AtomicPtr, Ordering};
use hypervisor_boot::boot_params::{Screen, SecureBoot};
use hypervisor_boot::e820::E820Entry;
use hypervisor_boot::kernel::Kernel;
use hypervisor_boot::memory_map::{
    self, Descriptor, EFI_MEMORY_SP, Override, PAGE_SIZE, memory_type,
};
use hypervisor_boot::paging::{IdentityMap, NO_EXECUTE, WRITABLE, tables_needed};
use hypervisor_boot::pool::{self, GuestPool};
use hypervisor_boot::sections::Sections;
use hypervisor_boot::{acpi, command_line};
use hypervisor_hal::handoff::{Cpu, Framebuffer, Handoff, MAX_CPUS, MAX_POOL_RANGES, Range};
use uefi::boot::MemoryType;

const FOUR_GIB: u64 = 4 << 30;
const ONE_MIB: u64 = 1 << 20;

/// What all CPUs share from the boot on.
pub struct Machine {
    handoff: Handoff,
    exceptions: &'static ExceptionTable,
    cpus: &'static [CpuArea],
    trampoline_page: u64,
    ticks_per_microsecond: u64,
    /// Value of the option `entente.crash`.
    crash: Option<&'static str>,
    /// The option `entente.native=1`: the control domain runs with nothing under it. To tell what
    /// is the hypervisor's fault from what is not; no machine can run then.
    native: bool,
}

impl Machine {
    /// The record for the hypervisor.
    pub fn handoff(&self) -> &Handoff {
        &self.handoff
    }
}

static MACHINE: AtomicPtr<Machine> = AtomicPtr::new(core::ptr::null_mut());

/// The machine, once it was launched.
pub fn machine() -> &'static Machine {
    // SAFETY: null, or set once, before any reader, to a value that stays for ever.
    unsafe { MACHINE.load(Ordering::Acquire).as_ref() }
        .expect("the machine is set before any CPU is started")
}

/// Room for the memory map in its forms.
struct MapMemory {
    firmware: &'static mut [Descriptor],
    shown: &'static mut [Descriptor],
    e820: &'static mut [E820Entry],
}

impl MapMemory {
    fn allocate() -> Result<Self, BootError> {
        fn array<T: Copy>(value: T) -> Result<&'static mut [T], BootError> {
            let size = (size_of::<T>() * MAP_CAPACITY) as u64;
            let memory =
                firmware::allocate(MemoryType::LOADER_DATA, size, FOUR_GIB)?.start as *mut T;
            // SAFETY: just allocated, page-aligned and long enough; each element is written before
            // the slice is made.
            unsafe {
                for index in 0..MAP_CAPACITY {
                    memory.add(index).write(value);
                }
                Ok(core::slice::from_raw_parts_mut(memory, MAP_CAPACITY))
            }
        }
        let empty = Descriptor::default();
        Ok(Self {
            firmware: array(empty)?,
            shown: array(empty)?,
            e820: array(E820Entry::EMPTY)?,
        })
    }
}

/// All that was made while the firmware was there.
pub struct Prepared {
    control_domain: ControlDomain,
    map: MapMemory,
    overrides: [Override; MAX_POOL_RANGES + 1],
    override_count: usize,
    screen: Option<Screen>,
    secure_boot: SecureBoot,
    host_root: u64,
}

/// The APIC ids of the CPUs, this one first.
fn list_cpus(madt: &[u8]) -> ([Cpu; MAX_CPUS], usize) {
    let mut list = [Cpu::default(); MAX_CPUS];
    let own = cpu::apic_id();
    let others = acpi::madt_apic_ids(madt).filter(|&id| id != own);
    let mut count = 0;
    for apic_id in core::iter::once(own).chain(others) {
        match list.get_mut(count) {
            Some(slot) => {
                *slot = Cpu { apic_id };
                count += 1;
            }
            None => log!("CPU with APIC id {apic_id} is left alone: more than {MAX_CPUS} CPUs"),
        }
    }
    (list, count)
}

/// Chooses and takes the guest pool.
fn take_guest_pool(command_line: &str, map: &[Descriptor]) -> Result<GuestPool, BootError> {
    let asked = command_line::option(command_line, "pool_mib").and_then(|v| v.parse::<u64>().ok());
    let size = match asked {
        Some(mib) => mib.saturating_mul(ONE_MIB),
        None => pool::default_guest_pool_size(memory_map::memory_size(map)),
    };
    let chosen = pool::choose_guest_pool(map, size);
    for range in chosen.ranges() {
        firmware::allocate_at(MemoryType::LOADER_DATA, *range)?;
        log!("guest pool {:#x}..{:#x}", range.start, range.end);
    }
    log!(
        "guest pool of {} MiB (wanted {} MiB)",
        chosen.size() / ONE_MIB,
        size / ONE_MIB
    );
    Ok(chosen)
}

/// Everything up to the last call of a boot service.
pub fn prepare() -> Result<Prepared, BootError> {
    // First, so that it finds its place free at every boot alike.
    let crash_record = previous_crash::recover();
    let image_bytes = firmware::own_image()?;
    let image_start = image_bytes.as_ptr() as u64;
    IMAGE_BASE.store(image_start, Ordering::Relaxed);
    let sections = Sections::parse(image_bytes)?;
    let section = |name| sections.find(name).ok_or(BootError::MissingSection(name));
    let command_line =
        command_line::text(section(".cmdline")?).map_err(|_| BootError::CommandLineNotText)?;
    let kernel = Kernel::parse(section(".linux")?)?;
    let ramdisk = section(".initrd")?;
    let image = Range {
        start: image_start,
        end: image_start + sections.hypervisor_size() as u64,
    };
    if cpu::five_level_paging() {
        return Err(BootError::FiveLevelPaging);
    }

    let tables = firmware::acpi_tables()?;
    let (cpu_list, cpu_count) = list_cpus(tables.madt);
    log!(
        "hypervisor {}, {} CPUs, {}",
        env!("CARGO_PKG_VERSION"),
        cpu_count,
        cpu::virtualization()
    );
    let (screen, framebuffer) = firmware::screen().unzip();
    let secure_boot = firmware::secure_boot();
    let ticks_per_microsecond = firmware::ticks_per_microsecond();

    let map = MapMemory::allocate()?;
    let too_long = BootError::MemoryMapTooLong {
        entries: MAP_CAPACITY,
    };
    let preview = uefi::boot::memory_map(MemoryType::LOADER_DATA)?;
    let count = firmware::copy_memory_map(&preview, map.firmware).ok_or(too_long)?;
    let preview = map.firmware.get(..count).unwrap_or(&[]);
    let (memory_end, memory_size) = (
        memory_map::memory_end(preview),
        memory_map::memory_size(preview),
    );
    let guest_pool = take_guest_pool(command_line, preview)?;
    let control_domain =
        ControlDomain::prepare(kernel, command_line, ramdisk, &tables, memory_end)?;

    // The hidden memory lies below 4 GiB because CR3 is loaded in 16-bit code on other CPUs.
    let mapped = Range {
        start: 0,
        end: host_end(memory_end, framebuffer.as_ref()),
    };
    let remapped = sections.iter().count() + cpu_count + 2;
    let table_count = tables_needed(mapped.end, cpu::gigabyte_pages(), remapped);
    let size = private::size(cpu_count, table_count) + pool::page_pool_size(memory_size, cpu_count);
    let size = size.next_multiple_of(pool::ALIGNMENT);
    let hidden = firmware::allocate_aligned(MemoryType::RESERVED, size, pool::ALIGNMENT, FOUR_GIB)?;
    // SAFETY: just allocated, and never freed.
    let private = unsafe { Private::carve(hidden, cpu_count, table_count) }?;
    let trampoline = firmware::allocate(MemoryType::LOADER_DATA, PAGE_SIZE, ONE_MIB)?;

    private.exceptions.initialize();
    let mut host = IdentityMap::new(private.tables, private.tables_base, cpu::gigabyte_pages())?;
    host.map(mapped, WRITABLE | NO_EXECUTE)?;
    host.map(image, NO_EXECUTE)?;
    for section in sections
        .iter()
        .filter(|s| s.range.start < image.len() as usize)
    {
        let start = image_start + section.range.start as u64;
        let end = image_start + (section.range.end as u64).next_multiple_of(PAGE_SIZE);
        let flags = if section.writable { WRITABLE } else { 0 }
            | if section.executable { 0 } else { NO_EXECUTE };
        host.map(Range { start, end }, flags)?;
    }
    host.map(trampoline, WRITABLE)?;
    for area in private.cpus.iter_mut() {
        area.initialize();
        let guard = area.guard_page();
        host.unmap(Range {
            start: guard,
            end: guard + PAGE_SIZE,
        })?;
    }
    let host_root = host.root();

    measure::measure(&sections);
    firmware::leave_kernel_seed()?;
    let machine = private.machine.write(Machine {
        handoff: Handoff {
            image,
            private: hidden,
            page_pool: private.page_pool,
            guest_pool_ranges: guest_pool.ranges,
            guest_pool_count: guest_pool.count,
            cpu_list,
            cpu_count,
            memory_end,
            host_cr3: host_root,
            kernel: control_domain.entry(),
            mailbox: control_domain.mailbox(),
            acpi_rsdp: control_domain.acpi_rsdp(),
            framebuffer,
            crash_record,
            seed: firmware::seed(),
            log: serial::line,
        },
        exceptions: private.exceptions,
        cpus: private.cpus,
        trampoline_page: trampoline.start,
        ticks_per_microsecond,
        crash: command_line::option(command_line, "crash"),
        native: command_line::option(command_line, "native") == Some("1"),
    });
    MACHINE.store(machine, Ordering::Release);
    log!(
        "image {:#x}..{:#x}, private {:#x}..{:#x}",
        image.start,
        image.end,
        hidden.start,
        hidden.end
    );

    let reserved = Override {
        range: image,
        kind: memory_type::RESERVED,
        attribute: 0,
    };
    let mut overrides = [reserved; MAX_POOL_RANGES + 1];
    for (slot, range) in overrides.iter_mut().zip(guest_pool.ranges()) {
        *slot = Override {
            range: *range,
            kind: memory_type::CONVENTIONAL,
            attribute: EFI_MEMORY_SP,
        };
    }
    if let Some(slot) = overrides.get_mut(guest_pool.count) {
        *slot = reserved;
    }
    let override_count = guest_pool.count + 1;
    Ok(Prepared {
        control_domain,
        map,
        overrides,
        override_count,
        screen,
        secure_boot,
        host_root,
    })
}

/// End of what the host maps: all memory, all registers below 4 GiB, the framebuffer.
fn host_end(memory_end: u64, framebuffer: Option<&Framebuffer>) -> u64 {
    let screen_end = framebuffer.map_or(0, |f| {
        f.base
            .saturating_add(u64::from(f.stride) * 4 * u64::from(f.height))
    });
    memory_end
        .max(FOUR_GIB)
        .max(screen_end.next_multiple_of(PAGE_SIZE))
}

impl Prepared {
    /// Leaves the firmware and goes on as the first CPU of the hypervisor.
    pub fn launch(self) -> ! {
        let Self {
            control_domain,
            map,
            overrides,
            override_count,
            screen,
            secure_boot,
            host_root,
        } = self;
        let system_table = uefi::table::system_table_raw().map_or(0, |table| table.as_ptr() as u64);
        // SAFETY: nothing of the boot services is used behind this: what is used was allocated
        // with types that stay, and protocols were closed when they were read.
        let final_map = unsafe { uefi::boot::exit_boot_services(Some(MemoryType::LOADER_DATA)) };
        // SAFETY: nobody handles interrupts any more.
        unsafe { core::arch::asm!("cli", options(nomem, nostack)) };
        let count = firmware::copy_memory_map(&final_map, map.firmware).unwrap_or(0);
        // Its memory belongs to boot services that are gone.
        core::mem::forget(final_map);
        let firmware_map = map.firmware.get_mut(..count).unwrap_or(&mut []);
        let overrides = overrides.get(..override_count).unwrap_or(&[]);
        let filled = memory_map::rewrite(firmware_map, overrides, map.shown).and_then(|count| {
            control_domain.fill_boot_params(Facts {
                map: map.shown.get(..count)?,
                e820: map.e820,
                system_table,
                screen,
                secure_boot,
            })
        });
        if count == 0 || filled.is_none() {
            panic!("the memory map grew beyond {MAP_CAPACITY} entries");
        }
        // SAFETY: the tables map all memory at its own address, our image with the rights of its
        // sections. The first area is this CPU's; its stack is used from here on, and nothing of
        // the old one is needed.
        unsafe {
            cpu::set_paging(host_root);
            LEFT_FIRMWARE.store(true, Ordering::SeqCst);
            core::arch::asm!(
                "mov rsp, {stack}",
                "xor ebp, ebp",
                "call {main}",
                "ud2",
                stack = in(reg) machine().cpus.first().map_or(0, CpuArea::stack_top),
                main = sym first_cpu,
                options(noreturn),
            )
        }
    }
}

/// Loads the tables of CPU `index`, on the CPU itself.
fn load_tables(machine: &'static Machine, index: usize) {
    if let Some(area) = machine.cpus.get(index) {
        // SAFETY: each CPU has its own index; areas and the exception table are initialized and
        // stay for ever.
        unsafe {
            area.load();
            machine.exceptions.load();
        }
    }
}

/// The first CPU, on its own stack and the host's page tables.
extern "sysv64" fn first_cpu() -> ! {
    let machine = machine();
    load_tables(machine, 0);
    start_other_cpus(machine);
    log!(
        "{} CPUs are up, entering the control domain",
        machine.handoff.cpu_count
    );
    provoke_crash(machine.crash);
    enter(machine, 0)
}

/// Crashes as the option `entente.crash=` asks: a test of the report.
fn provoke_crash(kind: Option<&str>) {
    match kind {
        Some("panic") => panic!("asked for by entente.crash=panic"),
        // SAFETY: `ud2` raises the exception that is asked for, and nothing else.
        Some("exception") => unsafe { core::arch::asm!("ud2") },
        _ => {}
    }
}

/// Hands this CPU over.
fn enter(machine: &'static Machine, index: usize) -> ! {
    if machine.native {
        native::start(&machine.handoff, index)
    }
    // SAFETY: each CPU comes here once, on its own stack, tables and the host's page tables, as
    // the hand-over's description asks.
    unsafe { hypervisor_hal::start(&machine.handoff, index) }
}

fn start_other_cpus(machine: &'static Machine) {
    // SAFETY: the page was allocated below 1 MiB for this; the host's tables lie below 4 GiB and
    // map all memory, this page executable.
    let trampoline =
        unsafe { Trampoline::install(machine.trampoline_page, machine.handoff.host_cr3) };
    for (index, (target, area)) in machine
        .handoff
        .cpus()
        .iter()
        .zip(machine.cpus)
        .enumerate()
        .skip(1)
    {
        let ticks = machine.ticks_per_microsecond;
        // SAFETY: the firmware is gone, the CPU is listed once and is not this one, and the area
        // with the stack is its own.
        if !unsafe {
            trampoline.start(
                target.apic_id,
                area.stack_top(),
                other_cpu,
                index as u64,
                ticks,
            )
        } {
            panic!("the CPU with APIC id {} does not start", target.apic_id);
        }
    }
}

/// Any other CPU, on its own stack and the host's page tables.
extern "sysv64" fn other_cpu(index: u64) -> ! {
    let machine = machine();
    load_tables(machine, index as usize);
    trampoline::arrived();
    enter(machine, index as usize)
}
