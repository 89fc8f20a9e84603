//! Pages of block table, sector bitmaps and metadata in memory: read on demand, forgotten when there are
//! too many, except those that were changed.

use disk::{Checked, DiskError, Storage};
use std::collections::{BTreeSet, HashMap};

/// Bytes of a page; the log counts in them.
pub const PAGE_SIZE: u64 = 4096;
/// At most so many pages are held.
pub const PAGE_LIMIT: usize = 2048;

/// The bytes of a page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

struct Page {
    bytes: Box<PageBytes>,
    used: u64,
}

/// The pages of an open file, by their offset.
#[derive(Default)]
pub struct Pages {
    pages: HashMap<u64, Page>,
    changed: BTreeSet<u64>,
    clock: u64,
}

impl Pages {
    fn page<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        offset: u64,
    ) -> Result<&mut Page, DiskError> {
        let offset = offset / PAGE_SIZE * PAGE_SIZE;
        self.clock += 1;
        if !self.pages.contains_key(&offset) {
            if self.pages.len() >= PAGE_LIMIT {
                self.forget();
            }
            let mut bytes = Box::new([0; PAGE_SIZE as usize]);
            file.read(offset, &mut bytes[..])?;
            self.pages.insert(offset, Page { bytes, used: 0 });
        }
        let used = self.clock;
        let page = self.pages.entry(offset).or_insert_with(|| Page {
            bytes: Box::new([0; PAGE_SIZE as usize]),
            used,
        });
        page.used = used;
        Ok(page)
    }

    /// Forgets the half that was not used for longest, so that this is rarely needed.
    fn forget(&mut self) {
        let mut used: Vec<u64> = self.pages.values().map(|page| page.used).collect();
        used.sort_unstable();
        let middle = used[used.len() / 2];
        self.pages
            .retain(|offset, page| page.used >= middle || self.changed.contains(offset));
    }

    /// The eight bytes at an offset that they divide.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn word<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        offset: u64,
    ) -> Result<u64, DiskError> {
        let page = self.page(file, offset)?;
        Ok(u64::from_le_bytes(
            page.bytes.as_chunks().0[(offset % PAGE_SIZE / 8) as usize],
        ))
    }

    /// Changes them.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn set_word<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        offset: u64,
        value: u64,
    ) -> Result<(), DiskError> {
        let page = self.page(file, offset)?;
        page.bytes.as_chunks_mut().0[(offset % PAGE_SIZE / 8) as usize] = value.to_le_bytes();
        self.changed.insert(offset / PAGE_SIZE * PAGE_SIZE);
        Ok(())
    }

    /// Changes bytes.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn set_bytes<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        for (at, byte) in (offset..).zip(bytes) {
            let page = self.page(file, at)?;
            page.bytes[(at % PAGE_SIZE) as usize] = *byte;
            self.changed.insert(at / PAGE_SIZE * PAGE_SIZE);
        }
        Ok(())
    }

    /// The bit number `bit` of a bitmap at `base`, and how many from there on (at most `limit`, at
    /// least one) are known to be the same.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn run<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        base: u64,
        bit: u64,
        limit: u64,
    ) -> Result<(bool, u64), DiskError> {
        let page = self.page(file, base + bit / 8)?;
        let first = bit % (PAGE_SIZE * 8);
        let end = (first + limit).min(PAGE_SIZE * 8);
        let get = |at: u64| page.bytes[(at / 8) as usize] >> (at % 8) & 1 == 1;
        let set = get(first);
        let same = if set { 0xff } else { 0 };
        let mut at = first + 1;
        while at < end {
            if at.is_multiple_of(8) && page.bytes[(at / 8) as usize] == same {
                at += 8;
            } else if get(at) == set {
                at += 1;
            } else {
                break;
            }
        }
        Ok((set, at.min(end) - first))
    }

    /// Sets or clears bits of a bitmap at `base`.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn set_bits<S: Storage>(
        &mut self,
        file: &mut Checked<S>,
        base: u64,
        bits: core::ops::Range<u64>,
        value: bool,
    ) -> Result<(), DiskError> {
        let mut bit = bits.start;
        while bit < bits.end {
            let offset = base + bit / 8;
            let page = self.page(file, offset)?;
            let byte = &mut page.bytes[(offset % PAGE_SIZE) as usize];
            let end = (bit - bit % 8 + 8).min(bits.end);
            let mask = (0xff_u8 << (bit % 8)) & (0xff >> (7 - (end - 1) % 8));
            let new = if value { *byte | mask } else { *byte & !mask };
            if new != *byte {
                *byte = new;
                self.changed.insert(offset / PAGE_SIZE * PAGE_SIZE);
            }
            bit = end;
        }
        Ok(())
    }

    /// Number of changed pages.
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// The changed pages.
    pub fn changes(&self) -> Vec<(u64, &PageBytes)> {
        let page = |offset: &u64| self.pages.get(offset).map(|page| (*offset, &*page.bytes));
        self.changed.iter().filter_map(page).collect()
    }

    /// The file has them now.
    pub fn written(&mut self) {
        self.changed.clear();
    }
}
