//! A guest's registers between a VMCS and [`Registers`], the form in which the vmm has them.

use super::control::PAT_RESET;
use super::control_registers::cr0;
use super::vmcs::{Current, Field, SegmentField};
use crate::cpu::{self, msr};
use hypervisor_abi::{Registers, Segment};

const RFLAGS_ONE: u64 = 1 << 1;
const RFLAGS_DEFINED: u64 = 0x3f_7fd7;
const PRESENT: u16 = 1 << 7;
const UNUSABLE: u64 = 1 << 16;

/// Access rights from a segment's attributes: the upper four bits lie four bits higher. What is not
/// present can't be used; a stack segment then still has the privilege level.
const fn rights(attributes: u16) -> u64 {
    let rights = (attributes & 0xff | (attributes & 0xf00) << 4) as u64;
    if attributes & PRESENT == 0 {
        rights | UNUSABLE
    } else {
        rights
    }
}

/// The opposite.
const fn attributes(rights: u64) -> u16 {
    let attributes = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & UNUSABLE != 0 {
        attributes & !PRESENT
    } else {
        attributes
    }
}

/// Reads a segment register.
fn read_segment(vmcs: Current, segment: SegmentField) -> Segment {
    Segment {
        selector: vmcs.read(segment.selector()) as u16,
        attributes: attributes(vmcs.read(segment.rights())),
        limit: vmcs.read(segment.limit()) as u32,
        base: vmcs.read(segment.base()),
    }
}

fn write_segment(vmcs: Current, field: SegmentField, segment: Segment) {
    vmcs.write(field.selector(), segment.selector.into());
    vmcs.write(field.rights(), rights(segment.attributes));
    vmcs.write(field.limit(), segment.limit.into());
    vmcs.write(field.base(), segment.base);
}

/// Fills in what the VMCS holds as it is; control registers are the caller's.
pub fn read(vmcs: Current, into: &mut Registers) {
    use SegmentField::*;
    into.rip = vmcs.read(Field::RIP);
    into.gpr[4] = vmcs.read(Field::RSP);
    into.rflags = vmcs.read(Field::RFLAGS);
    into.es = read_segment(vmcs, Es);
    into.cs = read_segment(vmcs, Cs);
    into.ss = read_segment(vmcs, Ss);
    into.ds = read_segment(vmcs, Ds);
    into.fs = read_segment(vmcs, Fs);
    into.gs = read_segment(vmcs, Gs);
    into.ldtr = read_segment(vmcs, Ldtr);
    into.tr = read_segment(vmcs, Tr);
    into.gdtr.base = vmcs.read(Field::GDTR_BASE);
    into.gdtr.limit = vmcs.read(Field::GDTR_LIMIT) as u32;
    into.idtr.base = vmcs.read(Field::IDTR_BASE);
    into.idtr.limit = vmcs.read(Field::IDTR_LIMIT) as u32;
    into.dr7 = vmcs.read(Field::DR7);
    into.sysenter = [
        vmcs.read(Field::SYSENTER_CS),
        vmcs.read(Field::SYSENTER_ESP),
        vmcs.read(Field::SYSENTER_EIP),
    ];
    into.pat = vmcs.read(Field::PAT);
}

/// The opposite of [`read`].
pub fn write(vmcs: Current, r: &Registers) {
    use SegmentField::*;
    for (field, segment) in [
        (Es, r.es),
        (Cs, r.cs),
        (Ss, r.ss),
        (Ds, r.ds),
        (Fs, r.fs),
        (Gs, r.gs),
        (Ldtr, r.ldtr),
        (Tr, r.tr),
    ] {
        write_segment(vmcs, field, segment);
    }
    for (field, value) in [
        (Field::RIP, r.rip),
        (Field::RSP, r.gpr[4]),
        (Field::RFLAGS, r.rflags & RFLAGS_DEFINED | RFLAGS_ONE),
        (Field::GDTR_BASE, r.gdtr.base),
        (Field::GDTR_LIMIT, r.gdtr.limit.into()),
        (Field::IDTR_BASE, r.idtr.base),
        (Field::IDTR_LIMIT, r.idtr.limit.into()),
        (Field::DR7, r.dr7),
        (Field::SYSENTER_CS, r.sysenter[0]),
        (Field::SYSENTER_ESP, r.sysenter[1]),
        (Field::SYSENTER_EIP, r.sysenter[2]),
        (Field::PAT, r.pat),
    ] {
        vmcs.write(field, value);
    }
}

/// The state after INIT (SDM vol. 3 table 10-1), or at a start-up vector.
pub fn after_reset(startup: Option<u8>) -> Registers {
    let segment = |selector, attributes, base| Segment {
        selector,
        attributes,
        limit: 0xffff,
        base,
    };
    let data = segment(0, 0x93, 0);
    let (cs, rip) = match startup {
        None => (segment(0xf000, 0x9b, 0xffff_0000), 0xfff0),
        Some(vector) => (
            segment(u16::from(vector) << 8, 0x9b, u64::from(vector) << 12),
            0,
        ),
    };
    let table = segment(0, 0, 0);
    let mut registers = Registers {
        rip,
        rflags: RFLAGS_ONE,
        es: data,
        cs,
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        ldtr: segment(0, 0x82, 0),
        tr: segment(0, 0x8b, 0),
        gdtr: table,
        idtr: table,
        cr0: cr0::CD | cr0::NW | cr0::ET,
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        pat: PAT_RESET,
        ..Default::default()
    };
    // Family, model and stepping, as after a real reset.
    registers.gpr[2] = u64::from(cpu::cpuid(1, 0)[0]);
    registers
}

/// Whether a CPU with addresses of so many bits takes an entry of PAE paging's top table (SDM vol. 3
/// table 4-8).
pub const fn is_legal_directory_pointer(entry: u64, physical_bits: u32) -> bool {
    const PRESENT: u64 = 1;
    const RESERVED: u64 = 0b11 << 1 | 0xf << 5;
    entry & PRESENT == 0 || entry & RESERVED == 0 && entry >> physical_bits == 0
}

/// Registers that no entry and no exit exchanges, besides those of [`crate::unswitched`]: the guest's
/// while it is detached, the control domain's while it is attached.
#[derive(Clone, Copy, Default)]
pub struct Exchanged {
    /// STAR, LSTAR, CSTAR, SFMASK.
    pub star: [u64; 4],
    pub kernel_gs_base: u64,
    pub cr2: u64,
    pub dr6: u64,
}

impl Exchanged {
    /// From [`Registers`]; `None` if the CPU would refuse to load a value.
    pub fn from_registers(r: &Registers) -> Option<Self> {
        let canonical = |address: u64| address as i64 >> 47 == 0 || address as i64 >> 47 == -1;
        let [_, lstar, cstar, sfmask] = r.star;
        let legal = canonical(lstar)
            && canonical(cstar)
            && canonical(r.kernel_gs_base)
            && sfmask >> 32 == 0
            && r.dr6 >> 32 == 0;
        legal.then_some(Self {
            star: r.star,
            kernel_gs_base: r.kernel_gs_base,
            cr2: r.cr2,
            dr6: r.dr6,
        })
    }

    /// What the CPU has.
    fn of_this_cpu() -> Self {
        let [cr2, dr6] = cpu::read_fault_registers();
        // SAFETY: the registers exist on every 64-bit CPU.
        let (star, kernel_gs_base) = unsafe {
            (
                msr::STAR.map(|register| cpu::rdmsr(register)),
                cpu::rdmsr(msr::KERNEL_GS_BASE),
            )
        };
        Self {
            star,
            kernel_gs_base,
            cr2,
            dr6,
        }
    }

    /// Loads the CPU.
    fn load(&self) {
        cpu::write_fault_registers([self.cr2, self.dr6]);
        // SAFETY: the registers exist; the values came from them, or `from_registers` checked them.
        // The hypervisor makes no system calls.
        unsafe {
            for (register, value) in msr::STAR.into_iter().zip(self.star) {
                cpu::wrmsr(register, value);
            }
            cpu::wrmsr(msr::KERNEL_GS_BASE, self.kernel_gs_base);
        }
    }

    /// Exchanges what is here with what the CPU has.
    pub fn swap(&mut self) {
        let current = Self::of_this_cpu();
        self.load();
        *self = current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_survive_a_round_trip() {
        for attributes_in in [0x93, 0x9b, 0xa9b, 0xc93, 0x8b, 0x82, 0x60, 0xcf3] {
            assert_eq!(
                attributes(rights(attributes_in)),
                attributes_in,
                "{attributes_in:#x}"
            );
        }
        assert_eq!(rights(0xa9b), 0xa09b);
        assert_eq!(rights(0), UNUSABLE);
        assert_eq!(rights(0x60), UNUSABLE | 0x60, "privilege level 3");
        assert_eq!(attributes(UNUSABLE | 0xc093), 0xc13);
    }

    #[test]
    fn values_that_the_cpu_would_refuse_are_found_before() {
        let legal = after_reset(None);
        assert!(Exchanged::from_registers(&legal).is_some());
        for change in [
            |r: &mut Registers| r.star[1] = 1 << 47,
            |r: &mut Registers| r.star[2] = 1 << 63,
            |r: &mut Registers| r.star[3] = 1 << 32,
            |r: &mut Registers| r.kernel_gs_base = 0xffff_0000_0000_0000,
            |r: &mut Registers| r.dr6 = 1 << 32,
        ] {
            let mut registers = legal;
            change(&mut registers);
            assert!(Exchanged::from_registers(&registers).is_none());
        }
    }

    #[test]
    fn directory_pointers_have_no_rights_and_no_address_beyond_the_cpus() {
        for legal in [0, 0xffff_ffff_ffff_fffe, 0x1001, 0xf_ffff_f019] {
            assert!(is_legal_directory_pointer(legal, 36), "{legal:#x}");
        }
        for bad in [0x1003, 0x1005, 0x1021, 0x1101, 0x10_0000_1001, 1 << 63 | 1] {
            assert!(!is_legal_directory_pointer(bad, 36), "{bad:#x}");
        }
    }

    #[test]
    fn a_start_up_vector_names_a_page() {
        let registers = after_reset(Some(0x9a));
        assert_eq!(
            (registers.cs.selector, registers.cs.base),
            (0x9a00, 0x9a000)
        );
        assert_eq!(registers.rip, 0);
        assert_eq!(after_reset(None).rip, 0xfff0);
    }
}
