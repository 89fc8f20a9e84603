//! The CPUs: listed, started one after the other, and handed over.

use super::exceptions::ExceptionTable;
use super::microcode::Microcode;
use super::segments::CpuAreas;
use super::serial::log;
use super::trampoline::{self, Trampoline};
use super::{cpu, native};
use core::sync::atomic::{AtomicPtr, Ordering};
use hypervisor_boot::acpi;
use hypervisor_hal::handoff::{Cpu, Handoff, MAX_CPUS};

/// What all CPUs share from the boot on.
pub struct Machine {
    /// The record for the hypervisor.
    pub handoff: Handoff,
    /// The exception table of all CPUs.
    pub exceptions: &'static ExceptionTable,
    /// What each CPU has for itself.
    pub cpus: CpuAreas,
    /// A page below 1 MiB.
    pub trampoline_page: u64,
    /// Speed of the time stamp counter.
    pub ticks_per_microsecond: u64,
    /// The processor update to load, if there is one.
    pub microcode: Option<Microcode>,
    /// Value of the option `entente.boot.crash`.
    pub crash: Option<&'static str>,
    /// The control domain runs with nothing under it, and no machine can: the option
    /// `entente.boot.native=1` wants it, to tell what is the hypervisor's fault from what is not, or the
    /// CPU leaves no choice and the recipe allows it.
    pub native: bool,
}

static MACHINE: AtomicPtr<Machine> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `machine` known to all CPUs.
pub fn publish(machine: &'static mut Machine) {
    MACHINE.store(machine, Ordering::Release);
}

/// The machine, once it was launched.
pub fn machine() -> &'static Machine {
    // SAFETY: null, or set once, before any reader, to a value that stays for ever.
    unsafe { MACHINE.load(Ordering::Acquire).as_ref() }
        .expect("the machine is set before any CPU is started")
}

/// The number of the CPU that this runs on, as the hypervisor counts.
pub fn index_of_this_cpu() -> Option<usize> {
    let own = cpu::apic_id();
    let cpus = machine().handoff.cpus();
    cpus.iter().position(|cpu| cpu.apic_id == own)
}

/// The APIC ids of the CPUs, this one first.
pub fn list(madt: &[u8]) -> ([Cpu; MAX_CPUS], usize) {
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

/// Loads tables and microcode of CPU `index`, on the CPU itself.
fn set_up(machine: &'static Machine, index: usize) {
    if let Some(area) = machine.cpus.get(index) {
        // SAFETY: each CPU has its own index; areas and the exception table are initialized and
        // stay for ever.
        unsafe {
            area.load();
            machine.exceptions.load();
        }
    }
    if let Some(microcode) = &machine.microcode {
        microcode.load(index);
    }
}

/// The first CPU, on its own stack and the host's page tables.
pub extern "sysv64" fn first_cpu() -> ! {
    let machine = machine();
    set_up(machine, 0);
    start_other_cpus(machine);
    log!(
        "{} CPUs are up, entering the control domain",
        machine.handoff.cpu_count
    );
    enter(machine, 0)
}

/// Crashes as the option `entente.boot.crash` asks, to test the report: `panic`, `exception` or
/// `stack`, with a CPU's index behind a comma if it is not the first that shall crash.
fn provoke_crash(option: Option<&str>, index: usize) {
    let Some(option) = option else { return };
    let (kind, cpu) = option.split_once(',').unwrap_or((option, "0"));
    if cpu.parse() != Ok(index) {
        return;
    }
    match kind {
        "panic" => panic!("asked for by entente.boot.crash"),
        // SAFETY: `ud2` raises the exception that is asked for, and nothing else.
        "exception" => unsafe { core::arch::asm!("ud2") },
        "stack" => {
            core::hint::black_box(overflow(1));
        }
        _ => {}
    }
}

/// Calls itself until the stack is used up.
fn overflow(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    1 + overflow(core::hint::black_box(depth + 1))
}

/// Hands this CPU over.
fn enter(machine: &'static Machine, index: usize) -> ! {
    provoke_crash(machine.crash, index);
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
        .zip(machine.cpus.iter())
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
    set_up(machine, index as usize);
    trampoline::arrived();
    enter(machine, index as usize)
}
