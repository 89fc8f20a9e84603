//! Bits of CR0 and CR4 that a processor under VMX has in its own way only in its imagination.
//!
//! VMX wants some bits set (NE, VMXE), and some must not reach the hardware (cache disable of a
//! guest would slow the CPU down for everybody). The hypervisor owns these: reads give the shadow,
//! and writes that differ from it exit. Then the shadow is changed and the instruction runs *again*,
//! now without an exit; so the CPU itself does all that a write to CR0 brings about, such as a
//! change of mode.

/// CR0
pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// CR4
pub mod cr4 {
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const VMXE: u64 = 1 << 13;
    const SMXE: u64 = 1 << 14;
    const KEY_LOCKER: u64 = 1 << 19;
    const CET: u64 = 1 << 23;
    const PKS: u64 = 1 << 24;
    const USER_INTERRUPTS: u64 = 1 << 25;
    const FRED: u64 = 1 << 32;
    /// What CPUID hides from the control domain.
    pub const HIDDEN: u64 = VMXE | SMXE | KEY_LOCKER | CET | PKS | USER_INTERRUPTS | FRED;
    /// All that CPUID shows to guests: the first twelve, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP, PKE.
    pub const OF_GUESTS: u64 = 0xfff | 7 << 16 | 3 << 20 | 1 << 22;
}

/// A control register of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegister {
    /// Bits that are the hypervisor's.
    owned: u64,
    /// Their values in the hardware.
    hardware: u64,
    /// Those of them that the processor can't set, not even in its imagination.
    forbidden: u64,
    /// What the processor reads.
    shadow: u64,
}

impl ControlRegister {
    /// CR0 of the control domain. `ones` and `allowed` are what VMX operation says of CR0.
    pub const fn cr0_of_control_domain(ones: u64, allowed: u64) -> Self {
        // An unrestricted guest may be without protection and paging.
        let hardware = ones & !(cr0::PE | cr0::PG);
        Self {
            owned: hardware | !allowed,
            hardware,
            forbidden: !allowed,
            shadow: 0,
        }
    }

    /// CR0 of a guest, whose caches stay on.
    pub const fn cr0_of_guest(ones: u64, allowed: u64) -> Self {
        let mut register = Self::cr0_of_control_domain(ones, allowed);
        register.owned |= cr0::CD | cr0::NW;
        register
    }

    /// CR4 of the control domain.
    pub const fn cr4_of_control_domain(ones: u64, allowed: u64) -> Self {
        let forbidden = cr4::HIDDEN | !allowed;
        Self {
            owned: ones | forbidden,
            hardware: ones,
            forbidden,
            shadow: 0,
        }
    }

    /// CR4 of a guest: a machine check must reach the control domain whatever the guest thinks of it.
    pub const fn cr4_of_guest(ones: u64, allowed: u64) -> Self {
        let forbidden = !(cr4::OF_GUESTS & allowed);
        Self {
            owned: ones | forbidden | cr4::MCE,
            hardware: ones | cr4::MCE,
            forbidden,
            shadow: 0,
        }
    }

    /// Bits that the hypervisor owns.
    pub const fn mask(&self) -> u64 {
        self.owned
    }

    /// What the processor reads of them.
    pub const fn shadow(&self) -> u64 {
        self.shadow
    }

    /// What the processor sees when the hardware has `value`.
    pub const fn seen(&self, value: u64) -> u64 {
        value & !self.owned | self.shadow & self.owned
    }

    /// Takes note of a value that the processor is to see; answers what the hardware must have.
    pub const fn set(&mut self, value: u64) -> u64 {
        self.shadow = value & self.owned & !self.forbidden;
        value & !self.owned | self.hardware
    }

    /// A write that differs from the shadow: `true` if the instruction is to run again, `false` if
    /// it faults.
    #[must_use]
    pub const fn write(&mut self, value: u64) -> bool {
        if value & self.forbidden != 0 {
            return false;
        }
        self.shadow = value & self.owned;
        true
    }
}

/// A value that no processor takes, whoever owns what (SDM vol. 2, MOV to control registers).
pub const fn is_illegal_cr0(value: u64) -> bool {
    value & (cr0::PG | cr0::PE) == cr0::PG || value & (cr0::NW | cr0::CD) == cr0::NW
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: [u64; 2] = [0x8000_0021, 0x2000];
    const ALLOWED: [u64; 2] = [0xffff_ffff, 0x3767ff];

    #[test]
    fn a_guest_in_real_mode_sees_its_reset_value() {
        let mut register = ControlRegister::cr0_of_guest(ONES[0], ALLOWED[0]);
        assert_eq!(register.set(0x6000_0010), 0x30, "caches on, NE set");
        assert_eq!(register.seen(0x30), 0x6000_0010);
        assert_eq!(register.mask() & 0xffff_ffff, 0x6000_0020);
        assert!(register.write(0x8005_0033));
        assert_eq!(register.seen(0x8005_0033), 0x8005_0033);
    }

    #[test]
    fn the_extension_is_not_to_be_seen_and_not_to_be_set() {
        let mut register = ControlRegister::cr4_of_control_domain(ONES[1], ALLOWED[1]);
        assert_eq!(register.set(cr4::PAE), cr4::PAE | cr4::VMXE);
        assert_eq!(register.seen(cr4::PAE | cr4::VMXE), cr4::PAE);
        assert!(!register.write(cr4::PAE | cr4::VMXE));
        assert!(!register.write(1 << 23));
        assert_eq!(register.seen(cr4::PAE | cr4::VMXE), cr4::PAE);
    }

    #[test]
    fn a_guests_machine_checks_stay_on() {
        let mut register = ControlRegister::cr4_of_guest(ONES[1], ALLOWED[1]);
        assert_eq!(register.set(0x20), 0x20 | cr4::VMXE | cr4::MCE);
        assert_eq!(register.seen(0x2060), 0x20);
        assert!(register.write(0x60));
        assert_eq!(register.seen(0x2060), 0x60);
        assert!(!register.write(1 << 12), "five-level paging");
    }

    #[test]
    fn nonsense_is_known() {
        assert!(is_illegal_cr0(cr0::PG));
        assert!(is_illegal_cr0(cr0::NW));
        assert!(!is_illegal_cr0(0x6000_0010));
        assert!(!is_illegal_cr0(cr0::PG | cr0::PE));
    }
}
