//! The control domain's exits, played back.

use crate::control::{Event, Hypervisor, serve};
use crate::fetch::Fetch;
use crate::hal::fake::{FakeCpu, FakeHal, FakeMemory};
use crate::hal::{Exception, Exit, Gpa, Hpa};
use crate::machine::Machines;
use crate::memory::identity::IdentityTables;
use core::ops::Range;
use hypervisor_abi::{CALL_SIGNATURE, Call, Status};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const HIDDEN: [Range<u64>; 2] = [0x8000_0000..0x8020_0000, 0..0];

fn hypervisor() -> Hypervisor<FakeHal> {
    let hal = FakeHal::leaked(2000, 4);
    let memory: &&'static FakeMemory = &hal.memory;
    Hypervisor {
        hal,
        machines: Machines::new(memory).unwrap(),
        identity: IdentityTables::new(hal, &HIDDEN, true).unwrap(),
        hidden: Box::leak(Box::new(HIDDEN)),
        refused_accesses: AtomicU64::new(0),
    }
}

/// A CPU that does this and then gets an INIT.
fn cpu(exits: &[Exit]) -> FakeCpu {
    FakeCpu {
        rip: 0x1000,
        script: exits.iter().copied().collect(),
        ..Default::default()
    }
}

fn fault(address: u64, write: bool) -> Exit {
    Exit::NestedFault {
        address: Gpa(address),
        write,
        fetch: false,
        present: false,
    }
}

#[test]
fn hidden_memory_faults_and_is_told_with_a_count() {
    let hypervisor = hypervisor();
    let rows = [
        (0x8000_0000, false),
        (0x801f_ffff, true),
        // No table reaches there.
        (1 << 48, true),
        (u64::MAX, false),
    ];
    for (i, (address, write)) in rows.into_iter().enumerate() {
        let mut cpu = cpu(&[fault(address, write)]);
        let event = serve(&hypervisor, &mut cpu, &mut Fetch::default());
        let expected = Event::RefusedAccess {
            address: Hpa(address),
            write,
            count: i as u64 + 1,
        };
        assert_eq!(event, expected);
        // #PF would be tried again for ever.
        assert_eq!(cpu.exception, Some(Exception::GeneralProtection));
        assert_eq!(cpu.rip, 0x1000);
    }
    assert_eq!(hypervisor.refused_accesses.load(SeqCst), 4);
}

#[test]
fn what_is_not_hidden_is_mapped_when_it_is_first_touched() {
    let hypervisor = hypervisor();
    let free = hypervisor.hal.memory.free_pages();
    let mut cpu = cpu(&[fault(0x123_4567_8000, true)]);
    let event = serve(&hypervisor, &mut cpu, &mut Fetch::default());
    assert_eq!((event, cpu.exception), (Event::Init, None));
    assert!(hypervisor.hal.memory.free_pages() < free, "tables for it");
    assert_eq!(hypervisor.refused_accesses.load(SeqCst), 0);
}

#[test]
fn interrupts_are_the_control_domains_own() {
    let mut cpu = cpu(&[Exit::Interrupt, Exit::InterruptWindow, Exit::Shutdown]);
    let event = serve(&hypervisor(), &mut cpu, &mut Fetch::default());
    assert_eq!(event, Event::Fatal(Exit::Shutdown));
}

#[test]
fn the_layer_below_does_not_show_in_cpuid() {
    let hypervisor = hypervisor();
    let mut cpu = cpu(&[Exit::Cpuid]);
    cpu.gpr[0] = 0xffff_ffff_0000_0001;
    serve(&hypervisor, &mut cpu, &mut Fetch::default());
    // The debug store, VMX, SMX, OSXSAVE (CR4 has it off) and the hypervisor bit are not shown.
    let hidden = 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 27 | 1 << 31;
    let debug_store = 1 << 21;
    let all = u64::from(u32::MAX);
    assert_eq!(cpu.gpr[..4], [all, all & !hidden, all & !debug_store, all]);
    assert_eq!((cpu.rip, cpu.exception), (0x1003, None));
}

#[test]
fn registers_follow_the_table() {
    const EFER: u32 = 0xc000_0080;
    const VM_CR: u32 = 0xc001_0114;
    const VM_HSAVE: u32 = 0xc001_0117;
    const APIC_BASE: u32 = 0x1b;
    /// The fake CPU's.
    const APIC_BASE_NOW: u64 = 0xfee0_0900;
    // Register, written value, what a read gives; `None` is #GP.
    let rows = [
        (VM_CR, None, Some(0x18)),
        (VM_CR, Some(0), None),
        (VM_HSAVE, None, None),
        (VM_HSAVE, Some(0x1000), None),
        (EFER, Some(0xd01), Some(0xd01)),
        (APIC_BASE, None, Some(APIC_BASE_NOW)),
        (APIC_BASE, Some(APIC_BASE_NOW | 1 << 10), Some(0)),
        (APIC_BASE, Some(0xfed0_0900), None),
        // Intercepted without a row.
        (0xc001_1234, None, None),
        (0xc001_1234, Some(1), None),
    ];
    let hypervisor = hypervisor();
    for (row, (register, written, expected)) in rows.into_iter().enumerate() {
        let exit = match written {
            Some(_) => Exit::WriteMsr,
            None => Exit::ReadMsr,
        };
        let mut cpu = cpu(&[exit]);
        cpu.gpr[1] = u64::from(register);
        let value = written.unwrap_or(0x5555);
        (cpu.gpr[0], cpu.gpr[2]) = (value & 0xffff_ffff, value >> 32);
        serve(&hypervisor, &mut cpu, &mut Fetch::default());
        match expected {
            None => {
                assert_eq!(
                    cpu.exception,
                    Some(Exception::GeneralProtection),
                    "row {row}"
                );
                assert_eq!((cpu.rip, cpu.written_msrs.len()), (0x1000, 0), "row {row}");
            }
            Some(value) => {
                assert_eq!((cpu.exception, cpu.rip), (None, 0x1003), "row {row}");
                let got = match (written, register) {
                    (None, _) => cpu.gpr[2] << 32 | cpu.gpr[0],
                    (Some(_), EFER) => cpu.efer,
                    (Some(written), _) => {
                        assert_eq!(cpu.written_msrs, [(register, written)]);
                        0
                    }
                };
                assert_eq!(got, value, "row {row}");
            }
        }
    }
}

#[test]
fn xcr0_is_loaded_if_the_cpu_has_what_it_names() {
    // The fake CPU has x87 and SSE.
    for (register, value, loaded) in [(0, 3, true), (0, 7, false), (0, 2, false), (1, 3, false)] {
        let mut cpu = cpu(&[Exit::SetXcr]);
        (cpu.gpr[0], cpu.gpr[1]) = (value, register);
        serve(&hypervisor(), &mut cpu, &mut Fetch::default());
        if loaded {
            assert_eq!((cpu.xcr0, cpu.rip, cpu.exception), (value, 0x1003, None));
        } else {
            assert_eq!((cpu.xcr0, cpu.rip), (0, 0x1000));
            assert_eq!(cpu.exception, Some(Exception::GeneralProtection));
        }
    }
}

#[test]
fn caches_are_flushed_in_the_place_of_invd() {
    let mut cpu = cpu(&[Exit::CacheFlush]);
    serve(&hypervisor(), &mut cpu, &mut Fetch::default());
    assert_eq!((cpu.cache_flushes, cpu.rip), (1, 0x1003));
}

#[test]
fn instructions_of_the_extension_do_not_exist() {
    let mut cpu = cpu(&[Exit::Undefined]);
    serve(&hypervisor(), &mut cpu, &mut Fetch::default());
    assert_eq!(cpu.exception, Some(Exception::InvalidOpcode));
}

#[test]
fn a_call_is_answered_behind_its_instruction() {
    let mut cpu = cpu(&[Exit::Hypercall]);
    cpu.gpr[0] = CALL_SIGNATURE | Call::Query as u64;
    serve(&hypervisor(), &mut cpu, &mut Fetch::default());
    assert_eq!((cpu.gpr[0], cpu.rip), (Status::Ok as u64, 0x1003));
    assert_eq!(cpu.gpr[8] & 0xffff_ffff, 2, "CPUs");
}
