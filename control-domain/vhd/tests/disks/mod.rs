//! Small disks of both kinds that grow.
#![allow(dead_code, clippy::unwrap_used)]

use disk::{Checked, Disk};
use disk_testing::{Image, Random, Volatile};
use std::sync::OnceLock;
use vhd::{Located, ParentLink};

/// Bytes in a block, the smallest that there is.
pub const BLOCK: u64 = 4096;
/// Six blocks, the last one not whole.
pub const SIZE: u64 = 41 * 512;
/// What qemu takes for the size: it goes by the creator, and takes ours at its word.
pub const CREATOR_SIZE: u64 = SIZE;

/// A kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Dynamic,
    /// Over a dynamic one of which half the sectors were written.
    Differencing,
}

impl Case {
    /// An empty disk's file.
    pub fn file(self) -> Image {
        let storage = Volatile::default();
        let storage = match self {
            Self::Dynamic => vhd::create_dynamic(storage, SIZE, BLOCK as u32, [1; 16], 7),
            Self::Differencing => {
                let parent = Located::find(&mut Checked(base())).unwrap().footer;
                let link = ParentLink::to(&parent, "base.vhd", Some(".\\base.vhd"), None);
                vhd::create_differencing(storage, SIZE, BLOCK as u32, [2; 16], 7, &link)
            }
        };
        storage.unwrap().image()
    }

    /// Its parent.
    pub fn parent(self) -> Option<Box<dyn Disk>> {
        match self {
            Self::Dynamic => None,
            Self::Differencing => Some(vhd::open(base(), None, false).unwrap()),
        }
    }

    /// Opens it.
    pub fn open(self, storage: Volatile, writable: bool) -> Box<dyn Disk> {
        vhd::open(storage, self.parent(), writable).unwrap()
    }
}

/// A disk with something in every other sector of its first four blocks.
fn base() -> Volatile {
    static FILE: OnceLock<Image> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let storage = Volatile::from_image(Case::Dynamic.file());
        let mut disk = vhd::open(storage.clone(), None, true).unwrap();
        for sector in (0..4 * BLOCK / 512).step_by(2) {
            let data = [0xb0 | sector as u8; 512];
            disk.write(sector * 512, &data).unwrap();
        }
        disk.close().unwrap();
        storage.image()
    });
    Volatile::from_image(file.clone())
}

/// All of a disk.
pub fn content(disk: &mut dyn Disk) -> Image {
    let mut data = vec![0xaa; disk.size() as usize];
    disk.read(0, &mut data).unwrap();
    let mut image = Image::zeros(disk.size());
    image.store(0, &data);
    image
}

/// Whether a file has no faults but such as a repair mends.
pub fn is_whole(storage: &Volatile) -> Result<(), String> {
    let findings = vhd::check(&mut Checked(storage.clone())).map_err(|e| e.to_string())?;
    match findings.into_iter().find(|finding| !finding.repairable) {
        None => Ok(()),
        Some(finding) => Err(format!("at {:#x}: {}", finding.offset, finding.what)),
    }
}

/// A range of a disk: whole sectors mostly.
pub fn range(random: &mut Random, size: u64) -> (u64, usize) {
    let mut offset = random.below(size);
    let mut length = 1 + random.below((size - offset).min(9000));
    if random.below(4) > 0 {
        offset -= offset % 512;
        length = length.next_multiple_of(512).min(size - offset);
    }
    (offset, length as usize)
}

/// Data to write; zeros now and then.
pub fn data(random: &mut Random, length: usize) -> Vec<u8> {
    let first = random.number() as u8;
    match random.below(5) {
        0 => vec![0; length],
        _ => (0..length)
            .map(|at| first.wrapping_add((at / 7) as u8))
            .collect(),
    }
}
