//! A file in memory that stores only what is not zero.

use disk::Storage;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// A file in memory. Clones share their pages until one of them is written.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
    length: u64,
}

impl Image {
    /// Holds these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.store(0, bytes);
        image
    }

    /// `length` bytes of zeros.
    pub fn zeros(length: u64) -> Self {
        Self {
            pages: BTreeMap::new(),
            length,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        self.load(0, &mut bytes);
        bytes
    }

    /// Fills `data` from `offset` on; behind the end there are zeros.
    pub fn load(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let end = offset + data.len() as u64;
        for (&page, bytes) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let from = (page * PAGE).max(offset);
            let to = ((page + 1) * PAGE).min(end);
            data[(from - offset) as usize..(to - offset) as usize].copy_from_slice(
                &bytes[(from - page * PAGE) as usize..(to - page * PAGE) as usize],
            );
        }
    }

    /// Stores `data` from `offset` on, and extends.
    pub fn store(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let page = at / PAGE;
            let to = ((page + 1) * PAGE).min(end);
            let part = &data[(at - offset) as usize..(to - offset) as usize];
            let inside = (at % PAGE) as usize;
            if self.pages.contains_key(&page) || part.iter().any(|byte| *byte != 0) {
                let bytes = self
                    .pages
                    .entry(page)
                    .or_insert_with(|| Arc::new([0; PAGE as usize]));
                Arc::make_mut(bytes)[inside..inside + part.len()].copy_from_slice(part);
            }
            at = to;
        }
        self.length = self.length.max(end);
    }

    /// Zeros a range without extending.
    pub fn clear(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(self.length);
        if offset >= end {
            return;
        }
        let pages: Vec<u64> = self
            .pages
            .range(offset / PAGE..end.div_ceil(PAGE))
            .map(|(page, _)| *page)
            .collect();
        for page in pages {
            let (from, to) = ((page * PAGE).max(offset), ((page + 1) * PAGE).min(end));
            if to - from == PAGE {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                let inside = (from - page * PAGE) as usize..(to - page * PAGE) as usize;
                Arc::make_mut(bytes)[inside].fill(0);
            }
        }
    }

    /// Cuts, or extends with zeros.
    pub fn resize(&mut self, length: u64) {
        if length < self.length {
            self.clear(length, self.length - length);
        }
        self.length = length;
    }
}

impl Storage for Image {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(data.len() as u64) {
            Some(end) if end <= self.length => self.load(offset, data),
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.store(offset, data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.resize(length);
        Ok(())
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.clear(offset, length);
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_an_array() {
        let mut random = crate::Random::new(1);
        let (mut image, mut array) = (Image::default(), Vec::new());
        for _ in 0..300 {
            let (offset, length) = (random.below(20_000) as usize, random.below(9000) as usize);
            match random.below(4) {
                0 => {
                    image.resize(offset as u64);
                    array.resize(offset, 0);
                }
                1 => {
                    image.clear(offset as u64, length as u64);
                    let end = array.len().min(offset + length);
                    array[offset.min(end)..end].fill(0);
                }
                _ => {
                    let data = vec![random.below(3) as u8; length];
                    image.store(offset as u64, &data);
                    array.resize(array.len().max(offset + length), 0);
                    array[offset..offset + length].copy_from_slice(&data);
                }
            }
            assert!(image.bytes() == array);
        }
        assert!(image.read_at(image.len(), &mut [0]).is_err());
    }
}
