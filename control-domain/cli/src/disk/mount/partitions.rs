//! Where the partitions of a disk lie: MBR with extended partitions, and GPT (UEFI 2.10, chapter 5).
//! What lies outside the disk or contradicts itself is left out: the whole disk is there all the same.

use disk::Disk;

/// The most partitions that are shown.
const MOST_PARTITIONS: usize = 128;
/// Partition type of a disk that has a GPT.
const PROTECTIVE: u8 = 0xee;
/// Partition types that hold further partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As Linux numbers it, from 1 on.
    pub number: usize,
    /// First byte of the disk.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

/// The partitions of a disk, by number.
pub fn find(disk: &mut dyn Disk) -> Vec<Partition> {
    let Some(entries) = table(disk, 0) else {
        return Vec::new();
    };
    let mut found = match entries.iter().any(|entry| entry.kind == PROTECTIVE) {
        true => guid_table(disk).unwrap_or_default(),
        false => numbered(entries.iter().map(|entry| (entry.first, entry.count)), 1),
    };
    let extended = entries.iter().find(|entry| EXTENDED.contains(&entry.kind));
    if let Some(extended) = extended {
        found.retain(|partition| partition.start != extended.first);
        found.extend(numbered(logical(disk, extended.first), 5));
    }
    let sector = u64::from(disk.logical_sector_size());
    found.retain_mut(|partition| {
        let bytes = partition
            .start
            .checked_mul(sector)
            .zip(partition.length.checked_mul(sector));
        let Some((start, length)) = bytes else {
            return false;
        };
        (partition.start, partition.length) = (start, length);
        start > 0
            && length > 0
            && start
                .checked_add(length)
                .is_some_and(|end| end <= disk.size())
    });
    found.truncate(MOST_PARTITIONS);
    found
}

fn numbered(places: impl IntoIterator<Item = (u64, u64)>, first: usize) -> Vec<Partition> {
    let places = places.into_iter().enumerate();
    places
        .map(|(index, (start, length))| Partition {
            number: first + index,
            start,
            length,
        })
        .collect()
}

/// An entry of an MBR; places are sectors.
struct Entry {
    kind: u8,
    first: u64,
    count: u64,
}

/// The four entries of the table in a sector, if there is one.
fn table(disk: &mut dyn Disk, sector: u64) -> Option<[Entry; 4]> {
    let mut bytes = [0; 512];
    let offset = sector.checked_mul(disk.logical_sector_size().into())?;
    disk.read(offset, &mut bytes).ok()?;
    (bytes[510..] == [0x55, 0xaa]).then(|| {
        [446, 462, 478, 494].map(|at| Entry {
            kind: bytes[at + 4],
            first: u64::from(number(&bytes, at + 8)),
            count: u64::from(number(&bytes, at + 12)),
        })
    })
}

/// The chain of tables inside an extended partition: each names one partition and the next table.
fn logical(disk: &mut dyn Disk, extended: u64) -> Vec<(u64, u64)> {
    let (mut found, mut at) = (Vec::new(), extended);
    while let Some([partition, next, ..]) =
        table(disk, at).filter(|_| found.len() < MOST_PARTITIONS)
    {
        found.push((at + partition.first, partition.count));
        if next.first == 0 {
            break;
        }
        at = extended + next.first;
    }
    found
}

/// The partitions of a GPT, in sectors.
fn guid_table(disk: &mut dyn Disk) -> Option<Vec<Partition>> {
    let sector = u64::from(disk.logical_sector_size());
    let mut header = [0; 92];
    disk.read(sector, &mut header).ok()?;
    let (count, size) = (number(&header, 80), number(&header, 84));
    if !header.starts_with(b"EFI PART") || !(128..=4096).contains(&size) {
        return None;
    }
    let entries = long_number(&header, 72).checked_mul(sector)?;
    let mut found = Vec::new();
    for index in 0..count.min(MOST_PARTITIONS as u32) {
        let mut entry = [0; 48];
        let offset = entries.checked_add(u64::from(index) * u64::from(size))?;
        disk.read(offset, &mut entry).ok()?;
        let (first, last) = (long_number(&entry, 32), long_number(&entry, 40));
        // An entry without a type is not in use.
        if entry[..16] != [0; 16] && last >= first {
            found.push(Partition {
                number: index as usize + 1,
                start: first,
                length: (last - first).saturating_add(1),
            });
        }
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long_number(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}
