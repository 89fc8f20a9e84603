//! What is done with every disk that opens.

use disk::{Disk, DiskError};

/// How many stretches are looked at, and how much of each is read.
const STRETCHES: usize = 64;
const PIECE: u64 = 64 << 10;

/// Reads here and there.
pub fn read(disk: &mut dyn Disk) -> Result<(), DiskError> {
    let size = disk.size();
    let mut data = vec![0; PIECE as usize];
    let mut offset = 0;
    for _ in 0..STRETCHES {
        let extent = disk.extent(offset)?;
        assert!(extent.length > 0 && extent.length <= size - offset);
        let length = extent.length.min(PIECE) as usize;
        disk.read(offset, &mut data[..length])?;
        offset += extent.length;
        if offset >= size {
            break;
        }
    }
    disk.read(size - size.min(700), &mut data[..size.min(700) as usize])?;
    assert!(disk.read(size, &mut data[..1]).is_err() && disk.extent(size).is_err());
    Ok(())
}

/// Writes at the start, in the middle and at the end, and reads it back.
pub fn write(disk: &mut dyn Disk) -> Result<(), DiskError> {
    let size = disk.size();
    let length = size.min(1500);
    for (offset, value) in [(0, 1), (size / 2, 2), (size - length, 3)] {
        let data = vec![value; length.min(size - offset) as usize];
        disk.write(offset, &data)?;
        let mut back = vec![0; data.len()];
        disk.read(offset, &mut back)?;
        assert!(
            back == data,
            "what was written at {offset:#x} reads differently"
        );
    }
    disk.flush()?;
    disk.discard(0, size.min(8 << 20))?;
    disk.close()
}
