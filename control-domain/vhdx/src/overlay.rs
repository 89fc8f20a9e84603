//! A storage with changes that stay in memory: how a log is replayed where nothing may be written.

use crate::pages::{PAGE_SIZE, PageBytes};
use crate::replay::Step;
use disk::{DirectFile, Storage};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A storage and what reads differently. Without changes it is the storage itself.
pub struct Overlay<S> {
    below: S,
    pages: BTreeMap<u64, Box<PageBytes>>,
    zeros: Vec<Range<u64>>,
    length: Option<u64>,
}

impl<S: Storage> Overlay<S> {
    /// Without changes.
    pub fn new(below: S) -> Self {
        Self {
            below,
            pages: BTreeMap::new(),
            zeros: Vec::new(),
            length: None,
        }
    }

    /// From now on the storage seems to be at least so long.
    pub fn extend(&mut self, length: u64) {
        self.length = Some(length);
    }

    /// From now on a part reads as this. Later changes win.
    pub fn change(&mut self, step: Step) {
        match step {
            Step::Page(offset, page) => {
                self.pages.insert(offset, page);
            }
            Step::Zero(range) => {
                self.pages.retain(|offset, _| !range.contains(offset));
                self.zeros.push(range);
            }
        }
    }
}

impl<S: Storage> Storage for Overlay<S> {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let Some(length) = self.length else {
            return self.below.read_at(offset, data);
        };
        let end = offset + data.len() as u64;
        if end > length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = self.below.length()?.clamp(offset, end);
        let (read, missing) = data.split_at_mut((there - offset) as usize);
        self.below.read_at(offset, read)?;
        missing.fill(0);
        let part = |range: Range<u64>| {
            let start = range.start.clamp(offset, end) - offset;
            start as usize..(range.end.clamp(offset, end) - offset) as usize
        };
        for range in &self.zeros {
            data[part(range.clone())].fill(0);
        }
        let first = offset / PAGE_SIZE * PAGE_SIZE;
        for (&at, page) in self.pages.range(first..end) {
            let to = part(at..at + PAGE_SIZE);
            let skipped = offset.saturating_sub(at) as usize;
            let count = to.len();
            data[to].copy_from_slice(&page[skipped..skipped + count]);
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.below.write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }

    fn length(&mut self) -> io::Result<u64> {
        let length = self.below.length()?;
        Ok(length.max(self.length.unwrap_or(0)))
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.below.set_length(length)
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.below.punch(offset, length)
    }

    fn direct(&self) -> Option<Arc<dyn DirectFile>> {
        // What differs can be seen through the overlay alone.
        match self.length {
            None => self.below.direct(),
            Some(_) => None,
        }
    }
}
