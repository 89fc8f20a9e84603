//! The control domain's exits. There are few: what it must not see or do.

use crate::calls;
use crate::decode::Instruction;
use crate::fetch::Fetch;
use crate::hal::{Cpu, Exception, Exit, Hal, Hpa, Memory, State};
use crate::machine::Machines;
use crate::memory::identity::IdentityTables;
use crate::policy::control_domain::Answer;
use crate::policy::xstate::check_control_domain_xcr0;
use crate::policy::{control_domain_cpuid, control_domain_msr};
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::Vendor;

/// Everything that is there once.
pub struct Hypervisor<H: Hal> {
    /// The machine below.
    pub hal: &'static H,
    /// The machines above.
    pub machines: Machines<H>,
    /// What the control domain sees.
    pub identity: IdentityTables,
    /// What it does not.
    pub hidden: &'static [Range<u64>],
    /// Accesses of the control domain to what is hidden.
    pub refused_accesses: AtomicU64,
}

/// What the person at the PC should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The control domain reached for memory that is hidden.
    RefusedAccess {
        /// Where.
        address: Hpa,
        /// It wrote.
        write: bool,
        /// How many there were.
        count: u64,
    },
    /// INIT reached this CPU; it was ignored.
    Init,
    /// The control domain is dead.
    Fatal(Exit),
}

/// Runs the control domain on `cpu` until there is something to tell.
pub fn serve<H: Hal>(hypervisor: &Hypervisor<H>, cpu: &mut H::Cpu, fetch: &mut Fetch) -> Event {
    loop {
        let exit = cpu.enter();
        match exit {
            Exit::Hypercall => match next_rip::<H>(hypervisor, cpu, fetch, call_instruction::<H>())
            {
                Some(next) => {
                    cpu.advance_to(next);
                    calls::answer(hypervisor.hal, &hypervisor.machines, cpu);
                }
                None => cpu.inject_exception(Exception::InvalidOpcode),
            },
            Exit::Cpuid => cpuid(hypervisor, cpu, fetch),
            Exit::ReadMsr => msr(hypervisor, cpu, fetch, false),
            Exit::WriteMsr => msr(hypervisor, cpu, fetch, true),
            Exit::SetXcr => set_xcr(hypervisor, cpu, fetch),
            Exit::CacheFlush => match next_rip(hypervisor, cpu, fetch, Instruction::Invd) {
                // Written back: what lies in the caches is not the control domain's alone.
                Some(next) => {
                    cpu.flush_caches();
                    cpu.advance_to(next);
                }
                None => cpu.inject_exception(Exception::InvalidOpcode),
            },
            Exit::Undefined => cpu.inject_exception(Exception::InvalidOpcode),
            Exit::NestedFault { address, write, .. } => {
                let hidden = hypervisor.hidden.iter().any(|r| r.contains(&address.0));
                if !hidden
                    && hypervisor
                        .identity
                        .map_gigabyte(hypervisor.hal, hypervisor.hidden, address.0)
                        .is_some()
                {
                    continue;
                }
                // The process that did it gets its signal; #PF would be tried again for ever.
                cpu.inject_exception(Exception::GeneralProtection);
                let count = hypervisor.refused_accesses.fetch_add(1, Relaxed) + 1;
                return Event::RefusedAccess {
                    address: Hpa(address.0),
                    write,
                    count,
                };
            }
            Exit::Interrupt | Exit::InterruptWindow => {}
            Exit::Init => return Event::Init,
            _ => return Event::Fatal(exit),
        }
    }
}

fn call_instruction<H: Hal>() -> Instruction {
    match H::VENDOR {
        Vendor::Svm => Instruction::Vmmcall,
        Vendor::Vmx => Instruction::Vmcall,
    }
}

#[inline(always)] // As Fetch::next_rip: the vmm's calls come through here.
fn next_rip<H: Hal>(
    hypervisor: &Hypervisor<H>,
    cpu: &H::Cpu,
    fetch: &mut Fetch,
    instruction: Instruction,
) -> Option<u64> {
    let memory = hypervisor.hal.memory();
    let read = |address| memory.read_control_domain(Hpa(address));
    // Its RAM stays where it is, so a page of it never has to be forgotten.
    let page = |address| memory.control_domain_page(Hpa(address));
    fetch.next_rip(cpu, instruction, read, page)
}

fn cpuid<H: Hal>(hypervisor: &Hypervisor<H>, cpu: &mut H::Cpu, fetch: &mut Fetch) {
    let Some(next) = next_rip(hypervisor, cpu, fetch, Instruction::Cpuid) else {
        return cpu.inject_exception(Exception::InvalidOpcode);
    };
    let (leaf, subleaf) = (cpu.gpr(0) as u32, cpu.gpr(1) as u32);
    let [eax, ebx, ecx, edx] = control_domain_cpuid(leaf, subleaf, cpu.paging().cr4, H::cpuid);
    for (register, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        cpu.set_gpr(register, u64::from(value));
    }
    cpu.advance_to(next);
}

/// XSETBV, which exits on Intel whatever the hypervisor wants.
fn set_xcr<H: Hal>(hypervisor: &Hypervisor<H>, cpu: &mut H::Cpu, fetch: &mut Fetch) {
    let Some(next) = next_rip(hypervisor, cpu, fetch, Instruction::Xsetbv) else {
        return cpu.inject_exception(Exception::InvalidOpcode);
    };
    let value = cpu.gpr(2) << 32 | cpu.gpr(0) & 0xffff_ffff;
    // That only the kernel may do it, the CPU has checked before it exited.
    let legal = cpu.gpr(1) as u32 == 0 && check_control_domain_xcr0(value, &H::cpuid).is_ok();
    if !legal {
        return cpu.inject_exception(Exception::GeneralProtection);
    }
    cpu.set_xcr0(value);
    cpu.advance_to(next);
}

fn msr<H: Hal>(hypervisor: &Hypervisor<H>, cpu: &mut H::Cpu, fetch: &mut Fetch, write: bool) {
    let instruction = if write {
        Instruction::Wrmsr
    } else {
        Instruction::Rdmsr
    };
    let Some(next) = next_rip(hypervisor, cpu, fetch, instruction) else {
        return cpu.inject_exception(Exception::InvalidOpcode);
    };
    let register = cpu.gpr(1) as u32;
    let written = cpu.gpr(2) << 32 | cpu.gpr(0) & 0xffff_ffff;
    let row = control_domain_msr(H::VENDOR, register);
    let done = row.and_then(
        |row| match (if write { row.write } else { row.read }, write) {
            (Answer::Efer, false) => Some(cpu.efer()),
            (Answer::Efer, true) => cpu.set_efer(written).then_some(0),
            (Answer::Value(value), false) => Some(value),
            (Answer::Ignore, true) => Some(0),
            (Answer::Physical, false) => cpu.read_msr(register),
            (Answer::Physical, true) => cpu.write_msr(register, written).then_some(0),
            (Answer::PhysicalIfUnchanged { except }, true) => {
                let same = (cpu.read_msr(register)? ^ written) & !except == 0;
                (same && cpu.write_msr(register, written)).then_some(0)
            }
            _ => None,
        },
    );
    match done {
        Some(value) => {
            if !write {
                cpu.set_gpr(0, value & 0xffff_ffff);
                cpu.set_gpr(2, value >> 32);
            }
            cpu.advance_to(next);
        }
        None => cpu.inject_exception(Exception::GeneralProtection),
    }
}

#[cfg(test)]
mod tests;
