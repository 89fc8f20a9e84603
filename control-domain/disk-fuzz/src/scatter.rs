//! A file as few bytes: disks are large and mostly zero, and what mutates should be what matters.
//!
//! The length in sectors (4 bytes, little-endian), then runs: first sector (4 bytes), length in bytes (2
//! bytes), bytes.

use disk_testing::{Image, SECTOR};

/// The longest file: 1 GiB.
const MOST_SECTORS: u32 = 1 << 21;
const RUN_HEADER: usize = 6;

/// The file that some bytes stand for; runs that do not fit are cut.
pub fn unpack(input: &[u8]) -> Image {
    let Some((length, mut rest)) = input.split_first_chunk::<4>() else {
        return Image::zeros(0);
    };
    let length = u64::from(u32::from_le_bytes(*length) % (MOST_SECTORS + 1)) * SECTOR;
    let mut image = Image::zeros(length);
    while let Some((header, behind)) = rest.split_first_chunk::<RUN_HEADER>() {
        let [a, b, c, d, low, high] = *header;
        let start = u64::from(u32::from_le_bytes([a, b, c, d])) * SECTOR;
        let size = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (bytes, next) = behind.split_at(size);
        let fits = bytes.len().min(length.saturating_sub(start) as usize);
        if fits > 0 {
            image.store(start, &bytes[..fits]);
        }
        rest = next;
    }
    image
}

/// The other way, for seeds. The file must be whole sectors, and 1 GiB at most.
pub fn pack(file: &[u8]) -> Vec<u8> {
    let sectors: Vec<_> = file.chunks(SECTOR as usize).collect();
    let mut packed = (sectors.len() as u32).to_le_bytes().to_vec();
    for (number, sector) in (0u32..).zip(sectors) {
        let Some(last) = sector.iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        packed.extend(number.to_le_bytes());
        packed.extend((last as u16 + 1).to_le_bytes());
        packed.extend(&sector[..=last]);
    }
    packed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_nothing_panics() {
        let mut file = vec![0; 10 * 512];
        file[700] = 7;
        file[5119] = 9;
        let packed = pack(&file);
        assert_eq!(packed.len(), 4 + 6 + 189 + 6 + 512);
        assert_eq!(unpack(&packed).bytes(), file);
        for end in 0..packed.len() {
            unpack(&packed[..end]);
        }
        assert!(unpack(&[0xff; 64]).len() <= 1 << 30);
    }
}
