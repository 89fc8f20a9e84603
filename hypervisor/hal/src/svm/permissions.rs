//! The bitmaps that say which ports and model-specific registers exit (APM vol. 2 §15.10, §15.11).

use crate::memory::PhysicalMemory;
use hypervisor_abi::Vendor;
use hypervisor_core::policy::control_domain::intercepted_msrs;
use hypervisor_core::policy::guest_direct_msrs;

const PORT_MAP_BYTES: usize = 12 << 10;
const MSR_MAP_BYTES: usize = 8 << 10;

/// Physical addresses of the maps; they never change after start.
pub struct Permissions {
    pub guest_ports: u64,
    pub guest_msrs: u64,
    pub control_msrs: u64,
}

impl Permissions {
    pub fn new(memory: &'static PhysicalMemory) -> Option<Self> {
        let guest_ports = memory.pool().allocate(PORT_MAP_BYTES / 4096)?;
        let guest_msrs = memory.pool().allocate(MSR_MAP_BYTES / 4096)?;
        let control_msrs = memory.pool().allocate(MSR_MAP_BYTES / 4096)?;
        // SAFETY: three fresh runs of the pool, of these sizes, nobody else's.
        let (ports, guest, control) = unsafe {
            (
                core::slice::from_raw_parts_mut(guest_ports as *mut u8, PORT_MAP_BYTES),
                core::slice::from_raw_parts_mut(guest_msrs as *mut u8, MSR_MAP_BYTES),
                core::slice::from_raw_parts_mut(control_msrs as *mut u8, MSR_MAP_BYTES),
            )
        };
        ports.fill(0xff);
        guest.fill(0xff);
        for msr in guest_direct_msrs(Vendor::Svm) {
            set(guest, *msr, false);
        }
        // The control domain has every register directly but those it must not see or change.
        for row in intercepted_msrs(Vendor::Svm) {
            for msr in row.first..=row.last {
                set(control, msr, true);
            }
        }
        Some(Self {
            guest_ports,
            guest_msrs,
            control_msrs,
        })
    }
}

/// Sets both bits (read, write) of a register.
fn set(map: &mut [u8], msr: u32, intercept: bool) {
    let Some(bit) = bit_of(msr) else { return };
    let mask = 3 << (bit % 8);
    if intercept {
        map[bit / 8] |= mask;
    } else {
        map[bit / 8] &= !mask;
    }
}

/// Number of a register's read bit; registers outside the three ranges always exit.
fn bit_of(msr: u32) -> Option<usize> {
    let (first, offset) = match msr {
        0..=0x1fff => (0, 0),
        0xc000_0000..=0xc000_1fff => (0xc000_0000, 0x800),
        0xc001_0000..=0xc001_1fff => (0xc001_0000, 0x1000),
        _ => return None,
    };
    Some(offset * 8 + (msr - first) as usize * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_the_manual_says() {
        assert_eq!(bit_of(0), Some(0));
        assert_eq!(bit_of(0x1fff), Some(0x7ff * 8 + 6));
        assert_eq!(bit_of(0xc000_0080), Some(0x800 * 8 + 0x100));
        assert_eq!(bit_of(0xc001_0114), Some(0x1000 * 8 + 0x228));
        assert_eq!(bit_of(0x4000_0000), None);
    }
}
