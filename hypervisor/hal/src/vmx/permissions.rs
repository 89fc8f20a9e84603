//! The bitmaps that say which model-specific registers exit (SDM vol. 3 §25.6.9). Ports need none:
//! a guest's all exit, the control domain's never.

use crate::memory::PhysicalMemory;
use hypervisor_abi::Vendor;
use hypervisor_core::policy::control_domain::{Answer, intercepted_msrs};
use hypervisor_core::policy::guest_direct_msrs;

const MAP_BYTES: usize = 4096;
/// Where the bits of writes lie behind those of reads.
const WRITES: usize = 2048;

/// Physical addresses of the maps; they never change after start.
pub struct Permissions {
    pub guest_msrs: u64,
    pub control_msrs: u64,
}

impl Permissions {
    pub fn new(memory: &'static PhysicalMemory) -> Option<Self> {
        let guest_msrs = memory.pool().allocate(1)?;
        let control_msrs = memory.pool().allocate(1)?;
        // SAFETY: two fresh pages of the pool, nobody else's.
        let (guest, control) = unsafe {
            (
                &mut *(guest_msrs as *mut [u8; MAP_BYTES]),
                &mut *(control_msrs as *mut [u8; MAP_BYTES]),
            )
        };
        fill_guest(guest);
        fill_control_domain(control);
        Some(Self {
            guest_msrs,
            control_msrs,
        })
    }
}

/// Guests have the registers that the world switch exchanges.
fn fill_guest(map: &mut [u8; MAP_BYTES]) {
    map.fill(0xff);
    for msr in guest_direct_msrs(Vendor::Vmx) {
        if let Some((byte, bit)) = place(*msr) {
            map[byte] &= !bit;
            map[WRITES + byte] &= !bit;
        }
    }
}

/// The control domain has every register directly but those it must not see or change.
fn fill_control_domain(map: &mut [u8; MAP_BYTES]) {
    for row in intercepted_msrs(Vendor::Vmx) {
        for (byte, bit) in (row.first..=row.last).filter_map(place) {
            if row.read != Answer::Direct {
                map[byte] |= bit;
            }
            if row.write != Answer::Direct {
                map[WRITES + byte] |= bit;
            }
        }
    }
}

/// Byte and bit of a register's reads; registers outside the two ranges always exit.
fn place(msr: u32) -> Option<(usize, u8)> {
    let number = match msr {
        0..=0x1fff => msr,
        0xc000_0000..=0xc000_1fff => 0x2000 + (msr & 0x1fff),
        _ => return None,
    };
    Some((number as usize / 8, 1 << (number % 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_the_manual_says() {
        assert_eq!(place(0), Some((0, 1)));
        assert_eq!(place(0x1fff), Some((1023, 0x80)));
        assert_eq!(place(0xc000_0080), Some((1024 + 16, 1)));
        assert_eq!(place(0xc001_0000), None);
        assert_eq!(place(0x4000_0000), None);
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        let (mut guest, mut control) = ([0; MAP_BYTES], [0; MAP_BYTES]);
        fill_guest(&mut guest);
        fill_control_domain(&mut control);
        let exits = |map: &[u8; MAP_BYTES], msr| {
            let (byte, bit) = place(msr).unwrap();
            (map[byte] & bit != 0, map[WRITES + byte] & bit != 0)
        };
        assert_eq!(exits(&control, 0x2ff), (false, true), "memory types");
        assert_eq!(exits(&control, 0x3a), (true, true), "FEATURE_CONTROL");
        assert_eq!(exits(&control, 0xc000_0080), (false, false), "EFER");
        assert_eq!(exits(&guest, 0xc000_0080), (true, true), "EFER");
        assert_eq!(exits(&guest, 0xc000_0082), (false, false), "LSTAR");
        assert_eq!(exits(&guest, 0x10), (true, true), "TSC");
    }
}
