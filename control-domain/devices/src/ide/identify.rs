//! The answers to IDENTIFY DEVICE and IDENTIFY PACKET DEVICE.
//!
//! Source: ATA/ATAPI-7 (T13/1532D) volume 1 §6.17, §6.18.

use super::disk::{Disk, LBA28_SECTORS, MAX_MULTIPLE, SECTOR_BYTES};

const MODEL: &str = "Virtual HD";
const DVD_MODEL: &str = "Virtual CD";
const REVISION: &str = "1.1.0";
/// Largest capacity that words 60 and 61 can say.
const MAX_LBA28: u64 = LBA28_SECTORS - 1;

/// Describes `disk` in position `unit` of its channel; `has_slave` says whether there is a second.
pub fn identify(disk: &Disk, unit: usize, has_slave: bool) -> [u8; SECTOR_BYTES] {
    let mut words = [0u16; 256];
    let geometry = super::disk::Geometry::default_for(disk.size_sectors);
    let current = disk.geometry;

    // Fixed, not removable.
    words[0] = 0x0040;
    words[1] = geometry.cylinders;
    words[3] = geometry.heads.into();
    words[6] = geometry.sectors.into();
    text(&mut words[10..20], &disk.serial);
    text(&mut words[23..27], REVISION);
    text(&mut words[27..47], MODEL);
    words[47] = 0x8000 | u16::from(MAX_MULTIPLE);
    // IORDY may be disabled, IORDY, LBA, DMA.
    words[49] = 0x0f00;
    words[50] = 0x4000;
    // Words 54 to 58, 64 to 70 and 88 are valid.
    words[53] = 7;
    words[54] = current.cylinders;
    words[55] = current.heads.into();
    words[56] = current.sectors.into();
    let chs = u32::from(current.cylinders) * u32::from(current.heads) * u32::from(current.sectors);
    (words[57], words[58]) = (chs as u16, (chs >> 16) as u16);
    words[59] = if disk.multiple > 0 {
        0x100 | u16::from(disk.multiple)
    } else {
        0
    };
    let lba28 = disk.size_sectors.min(MAX_LBA28) as u32;
    (words[60], words[61]) = (lba28 as u16, (lba28 >> 16) as u16);
    modes(&mut words, disk.transfer_mode);
    // Write cache; NOP is not there. 48-bit addresses, FLUSH CACHE and FLUSH CACHE EXT.
    words[82] = 0x0020;
    words[83] = 0x4000 | 1 << 13 | 1 << 12 | 1 << 10;
    words[84] = 0x4000;
    words[85] = u16::from(disk.write_cache) << 5;
    words[86] = 1 << 13 | 1 << 12 | 1 << 10;
    words[87] = 0x4000;
    words[93] = hardware_reset(unit, has_slave);
    for (word, shift) in words[100..104].iter_mut().zip([0, 16, 32, 48]) {
        *word = (disk.size_sectors >> shift) as u16;
    }
    finish(words)
}

/// Describes a DVD drive with this transfer mode.
pub fn identify_packet(
    serial: &str,
    transfer_mode: u8,
    unit: usize,
    has_slave: bool,
) -> [u8; SECTOR_BYTES] {
    let mut words = [0u16; 256];
    // A packet device of type 5, removable, that asks for its 12 bytes at once, without interrupt.
    words[0] = 0x85c0;
    text(&mut words[10..20], serial);
    text(&mut words[23..27], REVISION);
    text(&mut words[27..47], DVD_MODEL);
    // IORDY may be disabled, IORDY, LBA, DMA.
    words[49] = 0x0f00;
    words[50] = 0x4000;
    // Words 64 to 70 and 88 are valid.
    words[53] = 6;
    modes(&mut words, transfer_mode);
    // PACKET and DEVICE RESET.
    words[82] = 1 << 4 | 1 << 9;
    words[83] = 0x4000;
    words[84] = 0x4000;
    words[85] = words[82];
    words[87] = 0x4000;
    words[93] = hardware_reset(unit, has_slave);
    finish(words)
}

/// Versions of the standard, and modes of transfer.
fn modes(words: &mut [u16; 256], transfer_mode: u8) {
    words[63] = 0x07 | selected(transfer_mode, 0x20) << 8;
    // PIO 3 and 4, with their cycle times in nanoseconds.
    words[64] = 3;
    words[65..69].fill(120);
    // ATA/ATAPI-4 to 7.
    words[80] = 0x00f0;
    // Ultra DMA 0 to 5; the controller goes up to 2.
    words[88] = 0x3f | selected(transfer_mode, 0x40) << 8;
}

/// 80-wire cable; who answered at reset, and that device 0 answers for a device 1 that is not there.
fn hardware_reset(unit: usize, has_slave: bool) -> u16 {
    match (unit, has_slave) {
        (0, false) => 0x604b,
        (0, true) => 0x602b,
        _ => 0x6b00,
    }
}

fn finish(words: [u16; 256]) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    for (pair, word) in bytes.chunks_exact_mut(2).zip(words) {
        pair.copy_from_slice(&word.to_le_bytes());
    }
    // The last word checks the whole: signature, then what makes the sum of all bytes 0.
    bytes[510] = 0xa5;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[511] = sum.wrapping_neg();
    bytes
}

/// The bit of the selected transfer mode, if it is of this type.
fn selected(transfer_mode: u8, kind: u8) -> u16 {
    if transfer_mode & 0xf8 == kind {
        1 << (transfer_mode & 7)
    } else {
        0
    }
}

/// Text has its first character in the upper byte of a word and is padded with spaces.
fn text(words: &mut [u16], value: &str) {
    let mut bytes = value.bytes().chain(std::iter::repeat(b' '));
    for word in words {
        let pair = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
        *word = u16::from_be_bytes(pair);
    }
}
