//! What every exit loads: the hypervisor's own state on the CPU that it happens on.

use super::switch;
use super::vmcs::{Current, Field};
use crate::cpu::{self, msr};
use core::arch::asm;

/// The hypervisor's state on one CPU, as the boot crate has set it up.
#[derive(Clone, Copy)]
pub struct HostState {
    fields: [(Field, u64); 13],
}

/// The operand of SGDT and SIDT.
#[repr(C, packed(2))]
#[derive(Default)]
struct TablePointer {
    limit: u16,
    base: u64,
}

impl HostState {
    /// That of the CPU that this runs on, in VMX operation.
    pub fn of_this_cpu() -> Self {
        let (mut gdt, mut idt) = (TablePointer::default(), TablePointer::default());
        let (cr0, cr3, cs, ss, tr): (u64, u64, u64, u64, u64);
        // SAFETY: reads only, into variables of the right size.
        unsafe {
            asm!("sgdt [{}]", "sidt [{}]", in(reg) &mut gdt, in(reg) &mut idt, options(nostack, preserves_flags));
            asm!("mov {}, cr0", "mov {}, cr3", out(reg) cr0, out(reg) cr3, options(nomem, nostack, preserves_flags));
            asm!("mov {:r}, cs", "mov {:r}, ss", "str {:r}", out(reg) cs, out(reg) ss, out(reg) tr, options(nomem, nostack, preserves_flags));
        }
        let (gdt, idt) = (gdt.base, idt.base);
        // SAFETY: TR names a 64-bit task state segment of this table, of two words.
        let descriptor = unsafe { *((gdt + (tr & 0xfff8)) as *const [u64; 2]) };
        // SAFETY: both registers exist on every CPU with EPT.
        let (efer, pat) = unsafe { (cpu::rdmsr(msr::EFER), cpu::rdmsr(msr::PAT)) };
        Self {
            fields: [
                (Field::HOST_CR0, cr0),
                (Field::HOST_CR3, cr3),
                (Field::HOST_CR4, cpu::cr4()),
                (Field::HOST_CS, cs & 0xfff8),
                (Field::HOST_SS, ss & 0xfff8),
                (Field::HOST_DS, ss & 0xfff8),
                (Field::HOST_ES, ss & 0xfff8),
                (Field::HOST_TR, tr & 0xfff8),
                (Field::HOST_TR_BASE, segment_base(descriptor)),
                (Field::HOST_GDTR_BASE, gdt),
                (Field::HOST_IDTR_BASE, idt),
                (Field::HOST_EFER, efer),
                (Field::HOST_PAT, pat),
            ],
        }
    }

    /// Writes it into a VMCS that is to be entered on that CPU.
    pub fn write_to(&self, vmcs: Current) {
        for (field, value) in self.fields {
            vmcs.write(field, value);
        }
        // The hypervisor uses neither FS nor GS, and has no system calls.
        for unused in [
            Field::HOST_FS,
            Field::HOST_GS,
            Field::HOST_FS_BASE,
            Field::HOST_GS_BASE,
            Field::HOST_SYSENTER_CS,
            Field::HOST_SYSENTER_ESP,
            Field::HOST_SYSENTER_EIP,
        ] {
            vmcs.write(unused, 0);
        }
        vmcs.write(Field::HOST_RIP, switch::exit_address());
    }
}

/// The base in a descriptor of two words (SDM vol. 3 figure 8-4).
const fn segment_base([low, high]: [u64; 2]) -> u64 {
    low >> 16 & 0xff_ffff | (low >> 56) << 24 | high << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_put_together_from_its_four_pieces() {
        let descriptor = [0x7800_8956_3412_0067, 0x0000_0001];
        assert_eq!(segment_base(descriptor), 0x1_7856_3412);
    }
}
