//! Chains of small disks in memory: a base and children of either format on it.
#![allow(dead_code, clippy::unwrap_used)]

use disk::{Checked, Disk, Raw};
use disk_testing::{Random, Volatile};
use vhd::{Located, ParentLink};
use vhdx::{Guid, Vhdx};

/// Size of all disks, in blocks of a VHD that are as small as they get.
pub const SIZE: u64 = 41 * 512;
const VHD_BLOCK: u32 = 4096;

/// The kind of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Raw,
    VhdFixed,
    VhdDynamic,
    VhdxFixed,
    VhdxDynamic,
    VhdChild,
    VhdxChild,
}

/// The files of a chain, the base first.
#[derive(Clone)]
pub struct Chain {
    pub files: Vec<(Kind, Volatile)>,
    sector: u32,
}

impl Chain {
    /// Empty disks of these kinds, each the parent of the next, with sectors of so many bytes.
    pub fn new(kinds: &[Kind], sector: u32) -> Self {
        let mut chain = Self {
            files: Vec::new(),
            sector,
        };
        for (number, kind) in (1..).zip(kinds) {
            let storage = chain.create(*kind, number);
            chain.files.push((*kind, storage));
        }
        chain
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        SIZE / u64::from(self.sector) * u64::from(self.sector)
    }

    fn create(&self, kind: Kind, number: u8) -> Volatile {
        let storage = Volatile::default();
        let (size, id) = (self.size(), [number; 16]);
        let vhdx = |mut new: vhdx::New| {
            // Blocks are of 1 MiB at least: what differs within one is in its bitmap.
            new.block_size = 1 << 20;
            new.logical_sector = self.sector;
            vhdx::create(Volatile::default(), &new).unwrap()
        };
        match kind {
            Kind::Raw => Volatile::new(vec![0; size as usize]),
            Kind::VhdFixed => vhd::create_fixed(storage, size, id, 1).unwrap(),
            Kind::VhdDynamic => vhd::create_dynamic(storage, size, VHD_BLOCK, id, 1).unwrap(),
            Kind::VhdxFixed => vhdx(vhdx::New::fixed(size)),
            Kind::VhdxDynamic => vhdx(vhdx::New::dynamic(size)),
            Kind::VhdChild => {
                let link = self.link_of_vhd();
                vhd::create_differencing(storage, size, VHD_BLOCK, id, 1, &link).unwrap()
            }
            Kind::VhdxChild => {
                let link = vhdx::ParentLink::new(Guid(id), Some(".\\parent"), None, None);
                let mut new = vhdx::New::dynamic(size);
                new.parent = Some(link);
                vhdx(new)
            }
        }
    }

    /// Who the parent is does not matter here: what stands in the files is tested with real ones.
    fn link_of_vhd(&self) -> ParentLink {
        let base = vhd::create_dynamic(Volatile::default(), 512, VHD_BLOCK, [9; 16], 1).unwrap();
        let footer = Located::find(&mut Checked(base)).unwrap().footer;
        ParentLink::to(&footer, "parent", Some(".\\parent"), None)
    }

    /// Opens the chain up to a file, the base being 0. Only the uppermost is written.
    pub fn open(&self, top: usize, writable: bool) -> Box<dyn Disk> {
        let parent = match top {
            0 => None,
            _ => Some(self.open(top - 1, false)),
        };
        let (kind, storage) = self.files[top].clone();
        match kind {
            Kind::Raw => Box::new(Raw::open(storage, writable).unwrap()),
            Kind::VhdFixed | Kind::VhdDynamic | Kind::VhdChild => {
                vhd::open(storage, parent, writable).unwrap()
            }
            Kind::VhdxFixed | Kind::VhdxDynamic | Kind::VhdxChild => {
                Box::new(Vhdx::open(storage, parent, writable).unwrap())
            }
        }
    }
}

/// All of a disk.
pub fn content(disk: &mut dyn Disk) -> Vec<u8> {
    let mut data = vec![0xaa; disk.size() as usize];
    disk.read(0, &mut data).unwrap();
    data
}

/// Some writes into a disk and an array.
pub fn scribble(random: &mut Random, disk: &mut dyn Disk, model: &mut [u8], writes: usize) {
    for _ in 0..writes {
        let offset = random.below(disk.size());
        let length = 1 + random.below((disk.size() - offset).min(5000));
        let value = random.below(4) as u8 * 60;
        let data = vec![value; length as usize];
        disk.write(offset, &data).unwrap();
        model[offset as usize..][..length as usize].copy_from_slice(&data);
    }
}
