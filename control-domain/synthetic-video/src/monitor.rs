//! The monitor that the guest finds: its resolutions, and its EDID.

use crate::wire::Resolution;

/// Width and height of each resolution; all fit into the adapter's memory with 32 bits a pixel.
pub const RESOLUTIONS: [(u16, u16); 13] = [
    (640, 480),
    (800, 600),
    (1024, 768),
    (1152, 864),
    (1280, 720),
    (1280, 800),
    (1280, 1024),
    (1366, 768),
    (1440, 900),
    (1600, 900),
    (1600, 1200),
    (1680, 1050),
    (1920, 1080),
];

/// Which of them a guest takes that has no wish.
pub const DEFAULT: u8 = 2;

/// The first `most` of them.
pub fn resolutions(most: u8) -> Vec<Resolution> {
    let first = RESOLUTIONS.iter().take(most.into());
    first
        .map(|&(width, height)| Resolution {
            width: width.into(),
            height: height.into(),
        })
        .collect()
}

/// VESA E-EDID, release A.2 (structure 1.4): a digital monitor without a size, whose usual mode is 1024 x 768
/// at 60 Hz (VESA DMT 1.13, ID 10h).
pub fn edid() -> [u8; 128] {
    let mut edid = [0; 128];
    edid[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    edid[8..10].copy_from_slice(&maker(*b"ENT"));
    // Made in 2026; structure 1.4; digital, 8 bits a colour; gamma 2.2; sRGB, its first timing is the usual one.
    edid[16..20].copy_from_slice(&[0, 36, 1, 4]);
    edid[20] = 0xa0;
    edid[23] = 120;
    edid[24] = 0x06;
    // The primaries of sRGB.
    edid[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // No standard timings.
    edid[38..54].fill(1);
    edid[54..72].copy_from_slice(&TIMING);
    descriptor(&mut edid, 72, 0xfc, b"Entente\n     ");
    descriptor(&mut edid, 90, 0x10, &[0; 13]);
    descriptor(&mut edid, 108, 0x10, &[0; 13]);
    let sum = edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    edid[127] = sum.wrapping_neg();
    edid
}

/// 65 MHz; 1024 pixels and 320 between rows, 768 rows and 38 between pictures; both pulses negative.
const TIMING: [u8; 18] = [
    0x64, 0x19, 0x00, 0x40, 0x41, 0x00, 0x26, 0x30, 0x18, 0x88, 0x36, 0, 0, 0, 0, 0, 0, 0x18,
];

/// Three letters, five bits each.
fn maker(letters: [u8; 3]) -> [u8; 2] {
    let [first, second, third] = letters.map(|letter| u16::from(letter - b'A' + 1));
    (first << 10 | second << 5 | third).to_be_bytes()
}

fn descriptor(edid: &mut [u8; 128], at: usize, tag: u8, text: &[u8; 13]) {
    edid[at + 3] = tag;
    edid[at + 5..at + 18].copy_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MEMORY_MIB;

    #[test]
    fn every_resolution_fits_into_the_memory() {
        for (width, height) in RESOLUTIONS {
            let bytes = u32::from(width) * u32::from(height) * 4;
            assert!(bytes <= u32::from(MEMORY_MIB) << 20, "{width} x {height}");
        }
        assert_eq!(RESOLUTIONS[usize::from(DEFAULT)], (1024, 768));
        assert_eq!(resolutions(200).len(), RESOLUTIONS.len());
    }

    #[test]
    fn the_edid_is_one() {
        let edid = edid();
        assert_eq!(
            edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
            0
        );
        assert_eq!(maker(*b"MSH"), [0x36, 0x68]);
        // Active pixels and rows of the first timing, and its clock in units of 10 kHz.
        let low_and_high = |low: usize, high: usize| {
            u16::from(edid[54 + low]) | u16::from(edid[54 + high] >> 4) << 8
        };
        assert_eq!((low_and_high(2, 4), low_and_high(5, 7)), (1024, 768));
        assert_eq!(u16::from_le_bytes([edid[54], edid[55]]), 6500);
    }
}
