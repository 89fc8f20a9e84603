//! What is done to files that mean harm.

use super::{Case, MIB};
use disk::Disk;
use disk_testing::Image;
use vhdx::{check, repair};

/// Everything that reads or writes a file.
pub fn use_it(case: Case, image: Image) {
    let _ = check(&mut image.clone());
    let _ = repair(&mut image.clone());
    if let Ok(mut disk) = case.try_open(image, true) {
        let size = disk.size();
        let mut data = vec![0; size.min(4 * MIB) as usize];
        let _ = disk.read(0, &mut data);
        let _ = disk.read(size - 512, &mut data[..512]);
        let _ = disk.write(100, &[1; 5000]);
        let _ = disk.discard(0, size.min(4 * MIB));
        let _ = disk.extent(size / 2);
        let _ = disk.flush();
        let _ = disk.close();
    }
}

/// Makes the checksum of a header or table right again.
pub fn crc(image: &mut Image, offset: u64, length: usize) {
    let mut bytes = vec![0; length];
    image.load(offset, &mut bytes);
    bytes[4..8].fill(0);
    image.store(offset + 4, &crc32c::crc32c(&bytes).to_le_bytes());
}
