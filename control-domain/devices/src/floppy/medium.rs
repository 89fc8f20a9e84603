//! A diskette and the drive it lies in.

use crate::block::{BlockBackend, BlockError};

/// Bytes in a sector; the code `N` of the commands for it is 2.
pub const SECTOR_BYTES: usize = 512;

/// How the tracks of a diskette are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders, 40 or more.
    pub cylinders: u8,
    /// Sides.
    pub heads: u8,
    /// Sectors of a track, numbered from 1.
    pub sectors: u8,
    density: Density,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Density {
    /// 250 kbit/s, or 300 in a drive that turns faster.
    Double,
    /// 500 kbit/s.
    High,
    /// 1 Mbit/s.
    Extra,
}

/// Cylinders, heads, sectors and density of every diskette that PCs have known.
const GEOMETRIES: [(u8, u8, u8, Density); 11] = [
    (40, 1, 8, Density::Double),
    (40, 1, 9, Density::Double),
    (40, 2, 8, Density::Double),
    (40, 2, 9, Density::Double),
    (80, 2, 8, Density::Double),
    (80, 2, 9, Density::Double),
    (80, 2, 15, Density::High),
    (80, 2, 18, Density::High),
    (80, 2, 21, Density::High),
    (82, 2, 21, Density::High),
    (80, 2, 36, Density::Extra),
];

impl Geometry {
    /// The layout of a diskette of so many sectors, if there was such a one.
    pub fn of(size_sectors: u64) -> Option<Self> {
        GEOMETRIES
            .iter()
            .map(|&(cylinders, heads, sectors, density)| Geometry {
                cylinders,
                heads,
                sectors,
                density,
            })
            .find(|geometry| geometry.size_sectors() == size_sectors)
    }

    fn size_sectors(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors)
    }

    /// Whether it can be read at the rate that bits 1:0 of the data rate select registers name.
    pub fn readable_at(self, rate: u8) -> bool {
        match rate & 3 {
            0 => self.density == Density::High,
            3 => self.density == Density::Extra,
            _ => self.density == Density::Double,
        }
    }
}

/// A diskette.
pub struct Diskette {
    backend: Box<dyn BlockBackend>,
    /// Its layout.
    pub geometry: Geometry,
    /// Its tab is open.
    pub write_protected: bool,
}

impl Diskette {
    /// A diskette of the image behind `backend`.
    ///
    /// # Errors
    /// If no diskette has that size.
    pub fn new(backend: Box<dyn BlockBackend>, write_protected: bool) -> Result<Self, BlockError> {
        let sectors = backend.size_sectors();
        let geometry = Geometry::of(sectors).ok_or_else(|| BlockError {
            reason: format!(
                "{sectors} sectors of 512 bytes are no diskette; 160 KiB to 2.88 MB are, 1.44 MB has 2880 sectors"
            ),
        })?;
        Ok(Diskette {
            backend,
            geometry,
            write_protected,
        })
    }

    /// Fills `data` from a sector that exists.
    pub fn read(&mut self, place: Sector, data: &mut [u8; SECTOR_BYTES]) -> Result<(), BlockError> {
        self.backend.read(self.lba(place), data)
    }

    /// Stores `data` in a sector that exists.
    pub fn write(&mut self, place: Sector, data: &[u8; SECTOR_BYTES]) -> Result<(), BlockError> {
        self.backend.write(self.lba(place), data)
    }

    /// Makes what was written safe: a diskette has no cache.
    pub fn flush(&mut self) -> Result<(), BlockError> {
        self.backend.flush()
    }

    fn lba(&self, place: Sector) -> u64 {
        let track =
            u64::from(place.cylinder) * u64::from(self.geometry.heads) + u64::from(place.head);
        track * u64::from(self.geometry.sectors) + u64::from(place.sector) - 1
    }
}

/// Where a sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sector {
    /// From 0.
    pub cylinder: u8,
    /// 0 or 1.
    pub head: u8,
    /// From 1.
    pub sector: u8,
}

/// A 3½-inch drive.
#[derive(Default)]
pub struct Drive {
    /// The machine has this drive.
    pub present: bool,
    /// What lies in it.
    pub diskette: Option<Diskette>,
    /// Where the heads stand.
    pub cylinder: u8,
    /// The diskette was changed since the heads last moved.
    pub changed: bool,
    /// Which sector of the track comes by next.
    turn: u8,
}

impl Drive {
    /// The drive that every machine has.
    pub fn present(diskette: Option<Diskette>) -> Self {
        Drive {
            present: true,
            diskette,
            changed: true,
            ..Drive::default()
        }
    }

    /// Moves the heads. A step with a diskette inside clears the change line.
    pub fn seek(&mut self, cylinder: u8) {
        if cylinder != self.cylinder && self.diskette.is_some() {
            self.changed = false;
        }
        self.cylinder = cylinder;
    }

    /// The number of the sector that comes by.
    pub fn next_sector(&mut self, sectors: u8) -> u8 {
        self.turn = self.turn % sectors.max(1) + 1;
        self.turn
    }
}
