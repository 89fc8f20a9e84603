//! Checksums, mended so that chance gets behind them.

use disk_testing::Image;

/// Bytes of a VHD's footer, and of its header.
const VHD_PARTS: [(u64, usize); 2] = [(512, 64), (1024, 36)];

/// Mends the ones' complement sums of a VHD: the footer at the end and at the start, and the header.
pub fn mend_vhd(image: &mut Image) {
    let [(footer, footer_sum), (header, header_sum)] = VHD_PARTS;
    let last = image.len().saturating_sub(footer);
    mend(image, last, footer, footer_sum, ones_complement);
    mend(image, 0, footer, footer_sum, ones_complement);
    mend(image, 512, header, header_sum, ones_complement);
}

/// Mends the CRCs of a VHDX: both headers and both region tables ([MS-VHDX] 2.2.2, 2.2.3).
pub fn mend_vhdx(image: &mut Image) {
    for (offset, length) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
        mend(image, offset << 10, length << 10, 4, crc);
    }
}

fn mend(image: &mut Image, offset: u64, length: u64, at: usize, sum: fn(&[u8]) -> [u8; 4]) {
    if offset + length > image.len() {
        return;
    }
    let mut bytes = vec![0; length as usize];
    image.load(offset, &mut bytes);
    bytes[at..at + 4].fill(0);
    image.store(offset + at as u64, &sum(&bytes));
}

fn ones_complement(bytes: &[u8]) -> [u8; 4] {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (!sum).to_be_bytes()
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_le_bytes()
}
