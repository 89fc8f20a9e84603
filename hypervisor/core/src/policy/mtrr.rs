//! Memory type registers (SDM vol. 3 §12.11, §12.12). Guests' memory is write-back whatever these
//! say; they are kept so that firmware and operating systems find what they wrote.

use crate::fault::GeneralProtection;

/// Pairs of base and mask.
const VARIABLE: usize = 8;
/// Fixed ranges, fixed and write-combining types supported.
const CAPABILITIES: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;

const MTRR_CAP: u32 = 0xfe;
const VARIABLE_FIRST: u32 = 0x200;
const VARIABLE_LAST: u32 = 0x20f;
const DEFAULT_TYPE: u32 = 0x2ff;
/// 64 KiB, 16 KiB (2), 4 KiB (8).
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];

/// The registers of one processor.
#[derive(Clone, Debug, Default)]
pub struct Mtrrs {
    variable: [u64; 2 * VARIABLE],
    fixed: [u64; FIXED.len()],
    default_type: u64,
}

/// UC, WC, WT, WP, WB.
const fn is_type(memory_type: u64) -> bool {
    matches!(memory_type, 0 | 1 | 4 | 5 | 6)
}

fn fixed_index(msr: u32) -> Option<usize> {
    FIXED.iter().position(|&fixed| fixed == msr)
}

impl Mtrrs {
    /// `None`: it is not one of these registers.
    pub fn read(&self, msr: u32) -> Option<u64> {
        match msr {
            MTRR_CAP => Some(CAPABILITIES),
            VARIABLE_FIRST..=VARIABLE_LAST => {
                self.variable.get((msr - VARIABLE_FIRST) as usize).copied()
            }
            DEFAULT_TYPE => Some(self.default_type),
            _ => self.fixed.get(fixed_index(msr)?).copied(),
        }
    }

    /// `None`: it is not one of these registers.
    pub fn write(
        &mut self,
        msr: u32,
        value: u64,
        physical_bits: u32,
    ) -> Option<Result<(), GeneralProtection>> {
        let address = (1u64 << physical_bits.min(52)) - 1 & !0xfff;
        let (register, legal) = match msr {
            MTRR_CAP => return Some(Err(GeneralProtection)),
            VARIABLE_FIRST..=VARIABLE_LAST => {
                let is_mask = msr & 1 != 0;
                let low = if is_mask { 1 << 11 } else { 0xff };
                let legal = value & !(address | low) == 0 && (is_mask || is_type(value & 0xff));
                (
                    self.variable.get_mut((msr - VARIABLE_FIRST) as usize)?,
                    legal,
                )
            }
            DEFAULT_TYPE => (
                &mut self.default_type,
                value & !(0xff | 3 << 10) == 0 && is_type(value & 0xff),
            ),
            _ => {
                let legal = value
                    .to_le_bytes()
                    .into_iter()
                    .all(|memory_type| is_type(u64::from(memory_type)));
                (self.fixed.get_mut(fixed_index(msr)?)?, legal)
            }
        };
        if !legal {
            return Some(Err(GeneralProtection));
        }
        *register = value;
        Some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_keep_legal_values_and_refuse_others() {
        let mut mtrrs = Mtrrs::default();
        for (msr, good, bad) in [
            (0x200, 0x8000_0006, 0x8000_0002),
            (0x201, 0xff_8000_0800, 0xff_8000_0400),
            (0x20f, 0x800, 1 << 40),
            (0x250, 0x0606_0606_0606_0606, 0x0606_0606_0706_0606),
            (0x26f, 0x0505_0505_0505_0505, 2),
            (0x2ff, 0xc06, 0xc02),
        ] {
            assert_eq!(mtrrs.write(msr, good, 40), Some(Ok(())), "{msr:#x}");
            assert_eq!(
                mtrrs.write(msr, bad, 40),
                Some(Err(GeneralProtection)),
                "{msr:#x}"
            );
            assert_eq!(mtrrs.read(msr), Some(good), "{msr:#x}");
        }
        assert_eq!(mtrrs.read(0xfe), Some(0x508));
        assert_eq!(mtrrs.write(0xfe, 0, 40), Some(Err(GeneralProtection)));
        for other in [0x1ff, 0x210, 0x251, 0x270, 0x2fe] {
            assert_eq!(mtrrs.read(other), None);
            assert_eq!(mtrrs.write(other, 0, 40), None);
        }
    }
}
