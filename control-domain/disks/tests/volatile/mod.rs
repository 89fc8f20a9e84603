//! A storage that forgets: what was not flushed may be gone after a power cut, sector by sector.
#![allow(dead_code, clippy::unwrap_used)]

use disk::Storage;
use std::io;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Default)]
struct State {
    /// As the running program sees it.
    now: Vec<u8>,
    /// What a power cut can't take.
    safe: Vec<u8>,
    /// Sectors written since the last flush, in order, with their bytes then; and new lengths.
    unsafe_writes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Sector(usize, Vec<u8>),
    Length(usize),
}

/// A handle to the storage; clones see the same bytes.
#[derive(Clone, Default)]
pub struct Volatile(Arc<Mutex<State>>);

impl Volatile {
    /// Holds these bytes, safely.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            safe: bytes.clone(),
            now: bytes,
            unsafe_writes: Vec::new(),
        })))
    }

    /// What the program sees.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().now.clone()
    }

    /// What is left after a power cut: each unflushed sector write reached the disk or not, as
    /// `reached` decides; writes to one sector stay in order.
    pub fn cut(&self, mut reached: impl FnMut() -> bool) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut bytes = state.safe.clone();
        for change in &state.unsafe_writes {
            if !reached() {
                continue;
            }
            match change {
                Change::Length(length) => bytes.resize(*length, 0),
                Change::Sector(sector, data) => {
                    let start = sector * SECTOR;
                    if bytes.len() < start + data.len() {
                        bytes.resize(start + data.len(), 0);
                    }
                    bytes[start..start + data.len()].copy_from_slice(data);
                }
            }
        }
        bytes
    }
}

impl Storage for Volatile {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = offset as usize;
        let source = state
            .now
            .get(start..start + data.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        data.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + data.len());
        if state.now.len() < end {
            state.now.resize(end, 0);
        }
        state.now[start..end].copy_from_slice(data);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let last = ((sector + 1) * SECTOR).min(state.now.len());
            let bytes = state.now[sector * SECTOR..last].to_vec();
            state.unsafe_writes.push(Change::Sector(sector, bytes));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.safe = state.now.clone();
        state.unsafe_writes.clear();
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.now.resize(length as usize, 0);
        state.unsafe_writes.push(Change::Length(length as usize));
        Ok(())
    }
}
