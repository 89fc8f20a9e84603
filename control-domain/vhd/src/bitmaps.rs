//! The sector bitmaps of an open disk: which sectors of a block the file holds.
//!
//! They are cached. A generation holds 1 MiB of bitmaps (64 at least), and there are at most three: the
//! changed ones, which wait for a flush, and two that are dropped when they are old.

use std::collections::{BTreeMap, HashMap};

const GENERATION_BYTES: usize = 1 << 20;
const LEAST_BITMAPS: usize = 64;

/// One bit a sector, the first in the highest bit of the first byte; set: the sector was written.
#[derive(Clone, Debug)]
pub struct Bitmap(Vec<u8>);

impl Bitmap {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_set(&self, sector: u64) -> bool {
        self.0
            .get((sector / 8) as usize)
            .is_some_and(|byte| byte & 0x80 >> (sector % 8) != 0)
    }

    /// Sets a bit. Answers whether it was clear.
    pub fn set(&mut self, sector: u64) -> bool {
        let mask = 0x80 >> (sector % 8);
        match self.0.get_mut((sector / 8) as usize) {
            Some(byte) => {
                let was_clear = *byte & mask == 0;
                *byte |= mask;
                was_clear
            }
            None => false,
        }
    }

    /// The sectors of a range, cut where the bit changes: bit, first sector, sector behind the last.
    pub fn runs(&self, sectors: core::ops::Range<u64>) -> Vec<(bool, u64, u64)> {
        let mut runs: Vec<(bool, u64, u64)> = Vec::new();
        for sector in sectors {
            let bit = self.is_set(sector);
            match runs.last_mut() {
                Some((last, _, end)) if *last == bit => *end += 1,
                _ => runs.push((bit, sector, sector + 1)),
            }
        }
        runs
    }
}

/// The cache. Bitmaps are known by the number of their block.
#[derive(Debug)]
pub struct Bitmaps {
    most: usize,
    changed: BTreeMap<usize, Bitmap>,
    recent: HashMap<usize, Bitmap>,
    older: HashMap<usize, Bitmap>,
}

impl Bitmaps {
    /// An empty cache for bitmaps of so many bytes each.
    pub fn new(bitmap_bytes: u64) -> Self {
        Self {
            most: (GENERATION_BYTES / bitmap_bytes as usize).max(LEAST_BITMAPS),
            changed: BTreeMap::new(),
            recent: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// A bitmap that is here.
    pub fn get(&mut self, block: usize) -> Option<&Bitmap> {
        if let Some(old) = self.older.remove(&block) {
            self.remember(block, old);
        }
        self.changed.get(&block).or_else(|| self.recent.get(&block))
    }

    /// Keeps a bitmap as the file has it.
    pub fn remember(&mut self, block: usize, bitmap: Bitmap) {
        if self.recent.len() >= self.most {
            self.older = core::mem::take(&mut self.recent);
        }
        self.recent.insert(block, bitmap);
    }

    /// Keeps a bitmap that the file does not have yet.
    pub fn change(&mut self, block: usize, bitmap: Bitmap) {
        self.recent.remove(&block);
        self.older.remove(&block);
        self.changed.insert(block, bitmap);
    }

    /// Whether so many have changed that a flush is due.
    pub fn is_full(&self) -> bool {
        self.changed.len() >= self.most
    }

    /// The changed ones.
    pub fn changed(&self) -> impl Iterator<Item = (usize, &Bitmap)> {
        self.changed.iter().map(|(block, bitmap)| (*block, bitmap))
    }

    /// Whether there are changed ones.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The file has all that had changed.
    pub fn written(&mut self) {
        for (block, bitmap) in core::mem::take(&mut self.changed) {
            self.remember(block, bitmap);
        }
    }

    /// Forgets a block's bitmap.
    pub fn forget(&mut self, block: usize) {
        self.changed.remove(&block);
        self.recent.remove(&block);
        self.older.remove(&block);
    }
}
