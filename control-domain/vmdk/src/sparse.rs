//! A sparse extent: a directory of tables of grains.

use crate::cache::Cache;
use crate::header::{HEADER_SIZE, Header};
use crate::marker::{effective_header, read_grain};
use disk::{Checked, DiskError, Extent, Place, SECTOR_SIZE, Storage, invalid};

/// How many grains [`Sparse::extent`] looks at before it answers.
const MOST_GRAINS_AT_ONCE: u64 = 4096;

/// An open sparse extent.
pub struct Sparse<S> {
    storage: Checked<S>,
    header: Header,
    /// Bytes of the file.
    length: u64,
    /// Where the grain directory lies in the file, in bytes.
    directory: u64,
}

/// Where a grain is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Zero,
    /// In the file, at this byte.
    At(u64),
}

impl<S: Storage> Sparse<S> {
    /// Opens an extent; nothing but its header is read.
    ///
    /// # Errors
    /// What is wrong with the header, or that the directory is not within the file.
    pub fn open(storage: S) -> Result<Self, DiskError> {
        let mut storage = Checked(storage);
        let length = storage.length()?;
        let mut bytes = [0; HEADER_SIZE as usize];
        storage.read(0, &mut bytes)?;
        let header = effective_header(&mut storage, Header::parse(&bytes, 0)?)?;
        let tables = header
            .capacity
            .get()
            .div_ceil(header.grain_size.get())
            .div_ceil(header.table_entries.get().into());
        let sector = header.directory_offset.get();
        let directory = sector.checked_mul(SECTOR_SIZE).filter(|start| {
            *start > 0
                && start
                    .checked_add(tables * 4)
                    .is_some_and(|end| end <= length)
        });
        let Some(directory) = directory else {
            return Err(invalid(
                56,
                format!(
                    "the grain directory, {tables} entries at sector {sector}, is not within the file of {length} bytes; it was cut short, get it again"
                ),
            ));
        };
        Ok(Self {
            storage,
            header,
            length,
            directory,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Size of the extent in bytes.
    pub fn size(&self) -> u64 {
        self.header.bytes()
    }

    /// The descriptor's bytes, if the extent has one; at least one byte.
    ///
    /// # Errors
    /// If it is not within the file, or larger than `most` bytes.
    pub fn descriptor(&mut self, most: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let (sector, sectors) = (
            self.header.descriptor_offset.get(),
            self.header.descriptor_size.get(),
        );
        if sector == 0 || sectors == 0 {
            return Ok(None);
        }
        let start = sector.checked_mul(SECTOR_SIZE);
        let size = sectors
            .checked_mul(SECTOR_SIZE)
            .filter(|size| *size <= most);
        match (start, size) {
            (Some(start), Some(size))
                if start
                    .checked_add(size)
                    .is_some_and(|end| end <= self.length) =>
            {
                let mut bytes = vec![0; size as usize];
                self.storage.read(start, &mut bytes)?;
                // Some writers leave room for one in the pieces of a split disk.
                Ok((bytes[0] != 0).then_some(bytes))
            }
            _ => Err(invalid(
                28,
                format!(
                    "the descriptor, {sectors} sectors at sector {sector}, is not within the file, or larger than {most} bytes"
                ),
            )),
        }
    }

    /// Where the table for a grain lies in the file, if there is one.
    fn table(
        &mut self,
        cache: &mut Cache,
        extent: usize,
        table: u64,
    ) -> Result<Option<u64>, DiskError> {
        let at = self.directory + table * 4;
        let sector = cache.number(&mut self.storage, extent, self.length, at)?;
        Ok((sector != 0).then(|| u64::from(sector) * SECTOR_SIZE))
    }

    fn grain(&mut self, cache: &mut Cache, extent: usize, index: u64) -> Result<Grain, DiskError> {
        let entries = u64::from(self.header.table_entries.get());
        let Some(table) = self.table(cache, extent, index / entries)? else {
            return Ok(Grain::Zero);
        };
        let at = table + index % entries * 4;
        let sector = cache.number(&mut self.storage, extent, self.length, at)?;
        match sector {
            0 => Ok(Grain::Zero),
            1 if self.header.has_zero_entries() => Ok(Grain::Zero),
            _ if u64::from(sector) * SECTOR_SIZE >= self.length => Err(invalid(
                at,
                format!(
                    "grain {index} should be at sector {sector}, behind the end of the file of {} bytes; it was cut short, get it again",
                    self.length
                ),
            )),
            _ => Ok(Grain::At(u64::from(sector) * SECTOR_SIZE)),
        }
    }

    /// Fills `data` from `offset` on; the caller has checked the range.
    ///
    /// # Errors
    /// If tables or grains are damaged, or the file can't be read.
    pub fn read(
        &mut self,
        cache: &mut Cache,
        extent: usize,
        mut offset: u64,
        mut data: &mut [u8],
    ) -> Result<(), DiskError> {
        let grain_bytes = self.header.grain_bytes();
        while !data.is_empty() {
            let (index, inside) = (offset / grain_bytes, offset % grain_bytes);
            let length = (grain_bytes - inside).min(data.len() as u64);
            let (piece, rest) = data.split_at_mut(length as usize);
            match self.grain(cache, extent, index)? {
                Grain::Zero => piece.fill(0),
                Grain::At(place) if self.header.is_compressed() => {
                    let grain = self.unpack(cache, extent, index, place)?;
                    let start = inside as usize;
                    piece.copy_from_slice(&grain[start..start + piece.len()]);
                }
                Grain::At(place) => self.storage.read(place + inside, piece)?,
            }
            (offset, data) = (offset + length, rest);
        }
        Ok(())
    }

    /// The bytes of a compressed grain; the last one may be shorter in the file, and ends in zeros then.
    fn unpack<'a>(
        &mut self,
        cache: &'a mut Cache,
        extent: usize,
        index: u64,
        place: u64,
    ) -> Result<&'a [u8], DiskError> {
        let sector = index * self.header.grain_size.get();
        let grain_bytes = self.header.grain_bytes() as usize;
        let left = (self.size() - sector * SECTOR_SIZE).min(grain_bytes as u64) as usize;
        let storage = &mut self.storage;
        cache.grain(extent, sector, || {
            let mut grain = vec![0; grain_bytes];
            let whole = read_grain(storage, place, sector, &mut grain);
            if whole.is_err() && left < grain_bytes {
                grain.fill(0);
                read_grain(storage, place, sector, &mut grain[..left])?;
            } else {
                whole?;
            }
            Ok(grain)
        })
    }

    /// What holds the bytes from `offset` on, and for how many that is so.
    ///
    /// # Errors
    /// If tables are damaged or can't be read.
    pub fn extent(
        &mut self,
        cache: &mut Cache,
        extent: usize,
        offset: u64,
    ) -> Result<Extent, DiskError> {
        let grain_bytes = self.header.grain_bytes();
        let (first, inside) = (offset / grain_bytes, offset % grain_bytes);
        let grain = self.grain(cache, extent, first)?;
        let last = self.size().div_ceil(grain_bytes);
        let mut next = first + 1;
        while next < last.min(first + MOST_GRAINS_AT_ONCE) {
            let follows = match (grain, self.grain(cache, extent, next)?) {
                (Grain::Zero, other) => other == Grain::Zero,
                (Grain::At(_), Grain::Zero) => false,
                (Grain::At(_), Grain::At(_)) if self.header.is_compressed() => true,
                (Grain::At(place), Grain::At(other)) => {
                    other == place + (next - first) * grain_bytes
                }
            };
            if !follows {
                break;
            }
            next += 1;
        }
        let place = match grain {
            Grain::Zero => Place::Zero,
            Grain::At(_) if self.header.is_compressed() => Place::Packed { depth: 0 },
            Grain::At(place) => Place::File {
                depth: 0,
                offset: place + inside,
            },
        };
        Ok(Extent {
            length: (next * grain_bytes).min(self.size()) - offset,
            place,
        })
    }
}
