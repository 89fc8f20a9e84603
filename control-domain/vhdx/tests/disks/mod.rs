//! Small disks of all kinds, and what a guest may do to them.
#![allow(dead_code, clippy::unwrap_used)]

pub mod hostile;

use disk::{Disk, Raw, Storage};
use disk_testing::{Cut, History, Image, Random, Volatile};
use vhdx::{Guid, Kind, New, ParentLink, Vhdx, check, create};

pub const MIB: u64 = 1 << 20;
/// Blocks of the smallest size; the last one is not whole.
pub const SIZE: u64 = 3 * MIB + 5 * 4096;

/// A disk under test: how to make and open it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub kind: Kind,
    pub sector: u32,
}

/// All kinds with both sector sizes.
pub fn cases() -> Vec<Case> {
    let kinds = [Kind::Fixed, Kind::Dynamic, Kind::Differencing];
    kinds
        .into_iter()
        .flat_map(|kind| [512, 4096].map(|sector| Case { kind, sector }))
        .collect()
}

impl Case {
    /// A new file, the same each time.
    pub fn file(self) -> Image {
        let link = ParentLink::new(Guid([7; 16]), Some(r".\parent.vhdx"), None, None);
        let new = New {
            block_size: MIB,
            logical_sector: self.sector,
            fixed: self.kind == Kind::Fixed,
            parent: (self.kind == Kind::Differencing).then_some(link),
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
            ..New::dynamic(SIZE)
        };
        create(Image::default(), &new).unwrap()
    }

    /// What the disk holds at first: the parent's content, or zeros.
    pub fn content(self) -> Image {
        let mut content = Image::zeros(SIZE);
        if self.kind == Kind::Differencing {
            for offset in (0..SIZE).step_by(3 * 4096) {
                content.store(offset, &[(offset >> 12) as u8 | 1; 4096]);
            }
        }
        content
    }

    pub fn open<S: Storage + 'static>(self, storage: S, writable: bool) -> Vhdx<S> {
        self.try_open(storage, writable).unwrap()
    }

    pub fn try_open<S: Storage + 'static>(
        self,
        storage: S,
        writable: bool,
    ) -> Result<Vhdx<S>, disk::DiskError> {
        let parent = (self.kind == Kind::Differencing).then(|| {
            let raw = Raw::open(self.content(), false).unwrap();
            Box::new(Sectors(raw, self.sector)) as Box<dyn Disk>
        });
        Vhdx::open(storage, parent, writable)
    }
}

/// A raw disk with sectors of another size.
struct Sectors(Raw<Image>, u32);

impl Disk for Sectors {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn logical_sector_size(&self) -> u32 {
        self.1
    }
    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), disk::DiskError> {
        self.0.read(offset, data)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), disk::DiskError> {
        self.0.write(offset, data)
    }
    fn flush(&mut self) -> Result<(), disk::DiskError> {
        self.0.flush()
    }
    fn extent(&mut self, offset: u64) -> Result<disk::Extent, disk::DiskError> {
        self.0.extent(offset)
    }
}

/// What a guest asks for.
#[derive(Clone, Debug)]
pub enum Request {
    Write { offset: u64, data: Vec<u8> },
    Discard { offset: u64, length: u64 },
    Flush,
}

/// Mostly short writes that begin near the edge of a block, now and then a long one.
pub fn request(random: &mut Random, longest: u64) -> Request {
    let blocks = SIZE.div_ceil(MIB);
    let near = random.below(blocks + 1) * MIB + random.below(8) * 2048 + random.below(3) * 100;
    let offset = near.saturating_sub(4 * 4096).min(SIZE - 1);
    match random.below(12) {
        0 | 1 => Request::Flush,
        2 => {
            let first = random.below(blocks);
            let offset = first * MIB;
            let length = (MIB + random.below(2) * MIB).min(SIZE - offset);
            Request::Discard { offset, length }
        }
        kind => {
            let longest = if kind == 3 { longest } else { 6000 };
            let mut length = 1 + random.below(longest);
            let mut offset = offset;
            if random.coin() {
                offset = offset / 512 * 512;
                length = length.next_multiple_of(512);
            }
            let length = length.min(SIZE - offset);
            let value = if random.below(5) == 0 {
                0
            } else {
                random.below(255) as u8 + 1
            };
            let data = vec![value; length as usize];
            Request::Write { offset, data }
        }
    }
}

/// Whether a file is whole after a cut and holds what it must; `thoroughly`: also when it is only read,
/// and after more writes.
///
/// # Errors
/// What is wrong.
pub fn judge(case: Case, history: &History, cut: &Cut, thoroughly: bool) -> Result<(), String> {
    let text = |error: disk::DiskError| error.to_string();
    let whole = |mut image: Image| match check(&mut image).map_err(text)?.problems.first() {
        Some(problem) => Err(format!("{problem:?}")),
        None => Ok(()),
    };
    whole(cut.image.clone())?;
    if thoroughly {
        let mut reader = case.try_open(cut.image.clone(), false).map_err(text)?;
        history.judge(cut.moment, &mut reader)?;
    }
    let storage = Volatile::from_image(cut.image.clone());
    let mut writer = case.try_open(storage.clone(), true).map_err(text)?;
    history.judge(cut.moment, &mut writer)?;
    if thoroughly {
        // What the next program does goes well too.
        let old = writer.size() - 4096;
        let mut data = [0; 512];
        writer.read(old, &mut data).map_err(text)?;
        writer.write(MIB + 512, &[0xee; 512]).map_err(text)?;
        writer.write(old, &data).map_err(text)?;
        writer.close().map_err(text)?;
        whole(storage.image())?;
        writer.read(MIB + 512, &mut data).map_err(text)?;
        assert!(data == [0xee; 512]);
    }
    Ok(())
}
