//! Extended processor state: which components a guest may enable, and how much room they take
//! (SDM vol. 1 ch. 13).

use crate::fault::GeneralProtection;

const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
/// Opmask, upper halves of ZMM0–15, ZMM16–31: all or none.
const AVX512: u64 = 7 << 5;
const PKRU: u64 = 1 << 9;

/// The components that the world switch keeps apart for each guest.
pub const SWITCHED: u64 = X87 | SSE | AVX | AVX512 | PKRU;

/// Bytes of the legacy area and the header of an XSAVE image.
const LEGACY_BYTES: u32 = 576;

/// The components that a guest may enable on this CPU.
pub fn supported(host: &impl Fn(u32, u32) -> [u32; 4]) -> u64 {
    let has_xsave = host(1, 0)[2] & 1 << 26 != 0;
    if !has_xsave {
        return 0;
    }
    let [low, _, _, high] = host(0xd, 0);
    let mut components = (u64::from(high) << 32 | u64::from(low)) & SWITCHED;
    if components & AVX == 0 || components & AVX512 != AVX512 {
        components &= !AVX512;
    }
    if components & SSE == 0 {
        components &= !(AVX | AVX512);
    }
    components
}

/// May XCR0 become `value`? (SDM vol. 2, XSETBV)
pub fn check_xcr0(value: u64, supported: u64) -> Result<u64, GeneralProtection> {
    let has = |components| value & components == components;
    let illegal = value & !supported != 0
        || !has(X87)
        || value & AVX != 0 && !has(SSE)
        || value & AVX512 != 0 && !has(AVX512 | AVX);
    if illegal {
        Err(GeneralProtection)
    } else {
        Ok(value)
    }
}

/// Bound registers and their configuration: both or none.
const MPX: u64 = 3 << 3;
/// Tile configuration and data: both or none.
const AMX: u64 = 3 << 17;

/// May the control domain's XCR0 become `value`? It may have all that the CPU has.
pub fn check_control_domain_xcr0(
    value: u64,
    host: &impl Fn(u32, u32) -> [u32; 4],
) -> Result<u64, GeneralProtection> {
    let [low, _, _, high] = host(0xd, 0);
    let halved = |pair| value & pair != 0 && value & pair != pair;
    if halved(MPX) || halved(AMX) {
        return Err(GeneralProtection);
    }
    check_xcr0(value, u64::from(high) << 32 | u64::from(low))
}

/// Bytes of an XSAVE image of `components` in the standard format.
pub fn standard_bytes(components: u64, host: &impl Fn(u32, u32) -> [u32; 4]) -> u32 {
    (2..63)
        .filter(|component| components >> component & 1 != 0)
        .map(|component| {
            let [size, offset, ..] = host(0xd, component);
            offset.saturating_add(size)
        })
        .fold(LEGACY_BYTES, u32::max)
}

/// Bytes of an XSAVE image of `components` in the compacted format.
pub fn compacted_bytes(components: u64, host: &impl Fn(u32, u32) -> [u32; 4]) -> u32 {
    (2..63)
        .filter(|component| components >> component & 1 != 0)
        .fold(LEGACY_BYTES, |offset, component| {
            let [size, _, flags, _] = host(0xd, component);
            let aligned = flags & 2 != 0;
            let start = if aligned {
                offset.saturating_add(63) & !63
            } else {
                offset
            };
            start.saturating_add(size)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU with everything to AVX-512 and PKRU, and AMX, which nobody switches.
    fn host(leaf: u32, subleaf: u32) -> [u32; 4] {
        match (leaf, subleaf) {
            (1, _) => [0, 0, 1 << 26, 0],
            (0xd, 0) => [0x602e7, 0, 0, 0],
            (0xd, 2) => [256, 576, 0, 0],
            (0xd, 5) => [64, 1088, 0, 0],
            (0xd, 6) => [512, 1152, 0, 0],
            (0xd, 7) => [1024, 1664, 0, 0],
            (0xd, 9) => [8, 2688, 0, 0],
            (0xd, 17) => [64, 2752, 2, 0],
            (0xd, 18) => [8192, 2816, 6, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn only_switched_components_are_supported() {
        assert_eq!(supported(&host), 0x2e7);
        assert_eq!(
            supported(&|leaf, subleaf| if leaf == 1 {
                [0; 4]
            } else {
                host(leaf, subleaf)
            }),
            0
        );
        let partial = |leaf, subleaf| {
            if (leaf, subleaf) == (0xd, 0) {
                [0x67, 0, 0, 0]
            } else {
                host(leaf, subleaf)
            }
        };
        assert_eq!(supported(&partial), 7, "two thirds of AVX-512 are none");
    }

    #[test]
    fn xcr0_is_checked_as_the_manual_says() {
        for good in [1, 3, 7, 0xe7, 0x201, 0x203, 0x2e7] {
            assert_eq!(check_xcr0(good, 0x2e7), Ok(good), "{good:#x}");
        }
        for bad in [
            0,
            2,
            4,
            5,
            6,
            0x23,
            0x67,
            0xe3,
            0xe5,
            0x200,
            0x207 | 1 << 17,
            0xf,
            1 << 63 | 1,
        ] {
            assert_eq!(check_xcr0(bad, 0x2e7), Err(GeneralProtection), "{bad:#x}");
        }
        assert_eq!(check_xcr0(7, 3), Err(GeneralProtection), "not on this CPU");
    }

    #[test]
    fn the_control_domain_may_have_all_that_is_there() {
        for good in [1, 3, 0xe7, 0x2e7, 0x602e7, 3 | 3 << 17] {
            assert_eq!(
                check_control_domain_xcr0(good, &host),
                Ok(good),
                "{good:#x}"
            );
        }
        for bad in [0, 5, 3 | 1 << 17, 3 | 1 << 18, 3 | 3 << 3, 3 | 1 << 11] {
            let checked = check_control_domain_xcr0(bad, &host);
            assert_eq!(checked, Err(GeneralProtection), "{bad:#x}");
        }
    }

    #[test]
    fn sizes_follow_the_components() {
        assert_eq!(standard_bytes(3, &host), 576);
        assert_eq!(standard_bytes(7, &host), 832);
        assert_eq!(standard_bytes(0x2e7, &host), 2696);
        assert_eq!(standard_bytes(0x203, &host), 2696);
        assert_eq!(compacted_bytes(7, &host), 832);
        assert_eq!(compacted_bytes(0x203, &host), 584);
        assert_eq!(
            compacted_bytes(0x203 | 1 << 17, &host),
            704,
            "aligned to 64"
        );
    }
}
