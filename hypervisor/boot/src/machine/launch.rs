//! The steps of the boot in their order.

use super::control_domain::{ControlDomain, Facts, MAP_CAPACITY};
use super::image::Image;
use super::memory::{self, MapMemory};
use super::private::{self, Private};
use super::processors::{self, Machine};
use super::segments::CpuArea;
use super::serial::{self, log};
use super::{
    BootError, IMAGE_BASE, LEFT_FIRMWARE, cpu, crash, firmware, measure, microcode, previous_crash,
    tell,
};
use core::sync::atomic::Ordering;
use hypervisor_boot::boot_params::{Screen, SecureBoot};
use hypervisor_boot::command_line;
use hypervisor_boot::kernel::Kernel;
use hypervisor_boot::memory_map::{self, PAGE_SIZE};
use hypervisor_boot::paging::{IdentityMap, NO_EXECUTE, WRITABLE, tables_needed};
use hypervisor_boot::pool::{self, GuestPool};
use hypervisor_hal::handoff::{Framebuffer, Handoff, Range};
use uefi::boot::MemoryType;

const FOUR_GIB: u64 = 4 << 30;
const ONE_MIB: u64 = 1 << 20;

/// All that was made while the firmware was there.
pub struct Prepared {
    control_domain: ControlDomain,
    map: MapMemory,
    image: Range,
    guest_pool: GuestPool,
    screen: Option<Screen>,
    secure_boot: SecureBoot,
    host_root: u64,
}

/// Everything up to the last call of a boot service.
pub fn prepare() -> Result<Prepared, BootError> {
    // First, so that it finds its place free at every boot alike.
    let crash_record = previous_crash::recover();
    let image = Image::find()?;
    IMAGE_BASE.store(image.start(), Ordering::Relaxed);
    let payload = |name| image.payload(name).ok_or(BootError::MissingSection(name));
    let command_line =
        command_line::text(payload(".cmdline")?).map_err(|_| BootError::CommandLineNotText)?;
    let kernel = Kernel::parse(payload(".linux")?)?;
    let ramdisk = payload(".initrd")?;
    if cpu::five_level_paging() {
        return Err(BootError::FiveLevelPaging);
    }

    let mut native = command_line::option(command_line, "boot.native") == Some("1");
    if !native && let Err(missing) = hypervisor_hal::check() {
        if !command_line::starts_without_hypervisor(command_line) {
            return Err(missing.into());
        }
        tell(&format_args!(
            "{missing}; the control domain starts alone, without machines"
        ));
        native = true;
    }

    let tables = firmware::acpi_tables()?;
    let (cpu_list, cpu_count) = processors::list(tables.madt);
    log!(
        "hypervisor {}, {} CPUs, {}",
        env!("CARGO_PKG_VERSION"),
        cpu_count,
        cpu::virtualization()
    );
    let (screen, framebuffer) = firmware::screen().unzip();
    let ticks_per_microsecond = firmware::ticks_per_microsecond();

    let mut map = MapMemory::allocate()?;
    let preview = map.preview()?;
    let memory_end = memory_map::memory_end(preview);
    let memory_size = memory_map::memory_size(preview);
    let guest_pool = memory::take_guest_pool(command_line, preview)?;
    let control_domain =
        ControlDomain::prepare(kernel, command_line, ramdisk, &tables, memory_end)?;

    // The hidden memory lies below 4 GiB because CR3 is loaded in 16-bit code on other CPUs.
    let mapped = Range {
        start: 0,
        end: host_end(memory_end, framebuffer.as_ref()),
    };
    let remapped = image.protected_ranges() + cpu_count + 1;
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
    image.protect(&mut host)?;
    host.map(trampoline, WRITABLE)?;
    for guard in private.cpus.guard_pages() {
        host.unmap(guard)?;
    }
    let host_root = host.root();

    measure::measure(&image);
    firmware::leave_kernel_seed()?;
    let own = image.hypervisor();
    let machine = private.machine.write(Machine {
        handoff: Handoff {
            image: own,
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
            mitigations: command_line::mitigations(command_line),
            log: serial::line,
            crash_under_way: crash::under_way,
        },
        exceptions: private.exceptions,
        cpus: private.cpus,
        trampoline_page: trampoline.start,
        ticks_per_microsecond,
        microcode: match image.payload(".ucode") {
            Some(archive) => microcode::find(archive)?,
            None => None,
        },
        crash: command_line::option(command_line, "boot.crash"),
        native,
    });
    processors::publish(machine);
    log!(
        "image {:#x}..{:#x}, private {:#x}..{:#x}",
        own.start,
        own.end,
        hidden.start,
        hidden.end
    );
    Ok(Prepared {
        control_domain,
        map,
        image: own,
        guest_pool,
        screen,
        secure_boot: firmware::secure_boot(),
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
        let system_table = uefi::table::system_table_raw().map_or(0, |table| table.as_ptr() as u64);
        // SAFETY: nothing of the boot services is used behind this: what is used was allocated
        // with types that stay, and protocols were closed when they were read.
        let final_map = unsafe { uefi::boot::exit_boot_services(Some(MemoryType::LOADER_DATA)) };
        // SAFETY: nobody handles interrupts any more.
        unsafe { core::arch::asm!("cli", options(nomem, nostack)) };
        let shown = self
            .map
            .show(&final_map, self.image, self.guest_pool.ranges());
        // Its memory belongs to boot services that are gone.
        core::mem::forget(final_map);
        let filled = shown.and_then(|(map, e820)| {
            self.control_domain.fill_boot_params(Facts {
                map,
                e820,
                system_table,
                screen: self.screen,
                secure_boot: self.secure_boot,
            })
        });
        if filled.is_none() {
            panic!("the memory map grew beyond {MAP_CAPACITY} entries");
        }
        // SAFETY: the tables map all memory at its own address, our image with the rights of its
        // sections. The first area is this CPU's; its stack is used from here on, and nothing of
        // the old one is needed.
        unsafe {
            cpu::set_paging(self.host_root);
            LEFT_FIRMWARE.store(true, Ordering::SeqCst);
            core::arch::asm!(
                "mov rsp, {stack}",
                "xor ebp, ebp",
                "call {main}",
                "ud2",
                stack = in(reg) processors::machine().cpus.get(0).map_or(0, CpuArea::stack_top),
                main = sym processors::first_cpu,
                options(noreturn),
            )
        }
    }
}
