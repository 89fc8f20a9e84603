//! The guest's own page tables: linear to guest-physical (SDM vol. 3 chapter 4).

/// How a processor translates linear addresses now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
}

/// A translation that the processor would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The linear address, for CR2.
    pub address: u64,
    /// The error code of #PF: bit 0 present, 1 write, 2 user.
    pub error_code: u32,
}

const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Paging {
    /// Whether linear addresses have 64 bits.
    pub fn long_mode(&self) -> bool {
        self.efer & EFER_LMA != 0
    }

    /// Translates one linear address. `read` answers a table entry of the given size in bytes at a
    /// guest-physical address, or nothing where there is no memory.
    ///
    /// Accessed and dirty bits are left alone: what calls this has already been through the
    /// processor's own walk, or stops at the element and lets the processor walk again. SMAP,
    /// SMEP and protection keys are not looked at for the same reason.
    ///
    /// # Errors
    /// [`Fault`] as the processor would raise it.
    pub fn translate(
        &self,
        linear: u64,
        write: bool,
        user: bool,
        read: impl Fn(u64, usize) -> Option<u64>,
    ) -> Result<u64, Fault> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(linear & 0xffff_ffff);
        }
        let code = u32::from(write) << 1 | u32::from(user) << 2;
        let fault = |present: bool| Fault {
            address: linear,
            error_code: code | u32::from(present),
        };
        let wide = self.cr4 & CR4_PAE != 0;
        let (mut level, bits, size) = match (self.long_mode(), wide) {
            (true, _) if self.cr4 & CR4_LA57 != 0 => (5, 9, 8),
            (true, _) => (4, 9, 8),
            (false, true) => (3, 9, 8),
            (false, false) => (2, 10, 4),
        };
        let mut table = if level == 3 {
            self.cr3 & 0xffff_ffe0
        } else {
            self.cr3 & ADDRESS
        };
        let mut rights = WRITABLE | USER;
        loop {
            let shift = 12 + bits * (level - 1);
            let index = linear >> shift & ((1 << bits) - 1);
            // The four entries of a PAE page-directory-pointer table are selected by two bits.
            let index = if level == 3 && !self.long_mode() {
                index & 3
            } else {
                index
            };
            let entry = read(table + index * size as u64, size).ok_or_else(|| fault(false))?;
            if entry & PRESENT == 0 {
                return Err(fault(false));
            }
            // Legacy PAE has no rights at the top level: those bits are reserved there.
            if level != 3 || self.long_mode() {
                rights &= entry;
            }
            let large = match level {
                1 => true,
                2 => entry & LARGE != 0 && (wide || self.long_mode() || self.cr4 & CR4_PSE != 0),
                3 => entry & LARGE != 0 && self.long_mode(),
                _ => false,
            };
            if !large {
                table = entry & ADDRESS;
                level -= 1;
                continue;
            }
            let refused_user = user && rights & USER == 0;
            let refused_write = write && rights & WRITABLE == 0 && (user || self.cr0 & CR0_WP != 0);
            if refused_user || refused_write {
                return Err(fault(true));
            }
            let offset = linear & ((1 << shift) - 1);
            let frame = if level == 2 && size == 4 {
                // PSE-36: bits 20:13 of the entry are address bits 39:32.
                entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32
            } else {
                entry & ADDRESS & !((1 << shift) - 1)
            };
            return Ok(frame | offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn reader(entries: &[(u64, u64)]) -> impl Fn(u64, usize) -> Option<u64> {
        let map: HashMap<u64, u64> = entries.iter().copied().collect();
        move |address, _| Some(map.get(&address).copied().unwrap_or(0))
    }

    const LONG: Paging = Paging {
        cr0: CR0_PG | CR0_WP | 1,
        cr3: 0x1000,
        cr4: CR4_PAE,
        efer: EFER_LMA,
    };

    #[test]
    fn without_paging_linear_is_physical() {
        let off = Paging {
            cr0: 1,
            cr3: 0,
            cr4: 0,
            efer: 0,
        };
        assert_eq!(
            off.translate(0x1234_5678, true, false, |_, _| None),
            Ok(0x1234_5678)
        );
    }

    #[test]
    fn four_levels_with_4_kib_2_mib_and_1_gib_pages() {
        let linear = 0x80_c0a0_3123; // indices 1, 3, 5, 3
        let r = reader(&[
            (0x1008, 0x2007),
            (0x2018, 0x3007),
            (0x3028, 0x4007),
            (0x4018, 0x8000_0000_0dea_d003),
        ]);
        assert_eq!(LONG.translate(linear, true, false, &r), Ok(0x0dea_d123));
        // The leaf has no user bit.
        assert_eq!(
            LONG.translate(linear, false, true, &r),
            Err(Fault {
                address: linear,
                error_code: 5
            })
        );
        let r = reader(&[(0x1008, 0x2007), (0x2018, 0x3007), (0x3028, 0x4020_0083)]);
        assert_eq!(LONG.translate(linear, true, false, &r), Ok(0x4020_3123));
        let r = reader(&[(0x1008, 0x2007), (0x2018, 0x1_4000_0083)]);
        assert_eq!(LONG.translate(linear, true, false, &r), Ok(0x1_40a0_3123));
        let r = reader(&[(0x1008, 0x2007)]);
        assert_eq!(
            LONG.translate(linear, true, false, &r),
            Err(Fault {
                address: linear,
                error_code: 2
            })
        );
    }

    #[test]
    fn five_levels() {
        let paging = Paging {
            cr4: CR4_PAE | CR4_LA57,
            ..LONG
        };
        let r = reader(&[
            (0x1008, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4000, 0x5007),
            (0x5000, 0x6007),
        ]);
        assert_eq!(
            paging.translate(1 << 48 | 0x10, false, true, &r),
            Ok(0x6010)
        );
    }

    #[test]
    fn write_protection_binds_the_supervisor_only_with_wp() {
        let r = reader(&[
            (0x1000, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4000, 0x5005),
        ]);
        assert_eq!(
            LONG.translate(0, true, false, &r),
            Err(Fault {
                address: 0,
                error_code: 3
            })
        );
        let no_wp = Paging {
            cr0: CR0_PG | 1,
            ..LONG
        };
        assert_eq!(no_wp.translate(0, true, false, &r), Ok(0x5000));
        assert_eq!(
            no_wp.translate(0, true, true, &r),
            Err(Fault {
                address: 0,
                error_code: 7
            })
        );
    }

    #[test]
    fn two_levels_with_4_kib_and_4_mib_pages() {
        let paging = Paging {
            cr0: CR0_PG | 1,
            cr3: 0x1000,
            cr4: CR4_PSE,
            efer: 0,
        };
        let r = reader(&[(0x1004, 0x2007), (0x2008, 0x7003), (0x1008, 0x0040_2083)]);
        assert_eq!(paging.translate(0x0040_2abc, false, false, &r), Ok(0x7abc));
        assert_eq!(
            paging.translate(0x0080_2abc, false, false, &r),
            Ok(0x1_0040_2abc)
        );
    }

    #[test]
    fn pae_uses_a_table_of_four_at_32_bytes() {
        let paging = Paging {
            cr0: CR0_PG | 1,
            cr3: 0x1020,
            cr4: CR4_PAE,
            efer: 0,
        };
        let r = reader(&[(0x1038, 0x2001), (0x2008, 0x9_0020_0083)]);
        assert_eq!(
            paging.translate(0xc020_0004, true, false, &r),
            Ok(0x9_0020_0004)
        );
    }
}
