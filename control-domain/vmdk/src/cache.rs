//! What a disk keeps of its extents in memory: pages of tables, and grains that were unpacked.

use disk::{Checked, DiskError, Storage, invalid};
use lru::LruCache;
use std::num::NonZeroUsize;

/// Bytes of a page of a table.
const PAGE_SIZE: u64 = 4096;
const PAGES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const GRAINS: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// The most recently used pages and grains. Keys are the extent's index, and where the piece lies
/// in it.
pub struct Cache {
    pages: LruCache<(usize, u64), Vec<u8>>,
    grains: LruCache<(usize, u64), Vec<u8>>,
}

impl Cache {
    pub fn new() -> Self {
        Self {
            pages: LruCache::new(PAGES),
            grains: LruCache::new(GRAINS),
        }
    }

    /// The number at `offset`, a multiple of 4, of extent `extent`, whose file is `length` bytes.
    ///
    /// # Errors
    /// If it is not within the file, or the file can't be read.
    pub fn number<S: Storage>(
        &mut self,
        storage: &mut Checked<S>,
        extent: usize,
        length: u64,
        offset: u64,
    ) -> Result<u32, DiskError> {
        let page = offset / PAGE_SIZE * PAGE_SIZE;
        let bytes = self.pages.try_get_or_insert((extent, page), || {
            let mut bytes = vec![0; PAGE_SIZE.min(length.saturating_sub(page)) as usize];
            storage.read(page, &mut bytes)?;
            Ok::<_, DiskError>(bytes)
        })?;
        let inside = (offset - page) as usize;
        match bytes.get(inside..).and_then(|rest| rest.first_chunk()) {
            Some(number) => Ok(u32::from_le_bytes(*number)),
            None => Err(invalid(
                offset,
                format!(
                    "the file ends at {length:#x}, and a grain table should be here; get it again from where it came"
                ),
            )),
        }
    }

    /// A grain by its sector in the extent, as `unpack` makes it.
    ///
    /// # Errors
    /// Those of `unpack`.
    pub fn grain(
        &mut self,
        extent: usize,
        sector: u64,
        unpack: impl FnOnce() -> Result<Vec<u8>, DiskError>,
    ) -> Result<&[u8], DiskError> {
        let grain = self.grains.try_get_or_insert((extent, sector), unpack)?;
        Ok(grain)
    }
}
