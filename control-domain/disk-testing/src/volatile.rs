//! A file that forgets: what was not flushed may be gone after a power cut.

use crate::{Image, SECTOR};
use disk::{DirectFile, Storage};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

/// How much had reached a storage: everything before this epoch's start, and so many changes in it.
/// An epoch ends with a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Number of flushes before.
    pub epoch: usize,
    /// Number of changes since the last of them.
    pub change: usize,
}

/// Something the storage was told.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Whole sectors (the file's last one may be short), as they are after the write.
    Write { offset: u64, data: Arc<[u8]> },
    /// A new length.
    Length(u64),
    /// A range that reads as zeros.
    Punch { offset: u64, length: u64 },
}

impl Change {
    pub(crate) fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, data } => image.store(*offset, data),
            Self::Length(length) => image.resize(*length),
            Self::Punch { offset, length } => image.clear(*offset, *length),
        }
    }

    /// The parts that reach the disk or don't, each for itself.
    pub(crate) fn sectors(&self) -> Vec<Change> {
        match self {
            Self::Write { offset, data } => (*offset..)
                .step_by(SECTOR as usize)
                .zip(data.chunks(SECTOR as usize))
                .map(|(offset, data)| Self::Write {
                    offset,
                    data: data.into(),
                })
                .collect(),
            Self::Punch { offset, length } => (*offset..offset + length)
                .step_by(PUNCHED as usize)
                .map(|piece| Self::Punch {
                    offset: piece,
                    length: PUNCHED.min(offset + length - piece),
                })
                .collect(),
            Self::Length(_) => vec![self.clone()],
        }
    }
}

/// What of a hole reaches the disk by itself: a file system takes the room of a large one back in steps.
const PUNCHED: u64 = 64 << 10;

/// What was told between two flushes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch {
    /// The file at its start.
    pub(crate) safe: Image,
    pub(crate) changes: Vec<Change>,
}

#[derive(Default)]
pub(crate) struct State {
    now: Image,
    pub(crate) past: Vec<Epoch>,
    pub(crate) epoch: Epoch,
    /// Bytes that may still be added to the file's length; then there is no room.
    room: Option<u64>,
    /// Writes that may still be made; then there is no room.
    writes: Option<u64>,
}

/// A handle to the storage; clones see the same bytes.
#[derive(Clone, Default)]
pub struct Volatile(Arc<Mutex<State>>);

impl Volatile {
    /// Holds these bytes, safely.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::from_image(Image::new(&bytes))
    }

    /// Holds this file, safely.
    pub fn from_image(image: Image) -> Self {
        let state = State {
            now: image.clone(),
            epoch: Epoch {
                safe: image,
                changes: Vec::new(),
            },
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// What the program sees.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().now.bytes()
    }

    /// What the program sees.
    pub fn image(&self) -> Image {
        self.state().now.clone()
    }

    /// How much it was told up to now.
    pub fn moment(&self) -> Moment {
        let state = self.state();
        Moment {
            epoch: state.past.len(),
            change: state.epoch.changes.len(),
        }
    }

    /// The file may grow by so many bytes from now on; `None` lifts the limit.
    pub fn limit_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// So many writes go well from now on, then there is no room; `None` lifts the limit.
    pub fn limit_writes(&self, writes: Option<u64>) {
        self.state().writes = writes;
    }

    /// What is left after a power cut now: each unflushed sector reached the disk or not, as
    /// `reached` decides; writes to one sector stay in order.
    pub fn cut(&self, mut reached: impl FnMut() -> bool) -> Vec<u8> {
        let state = self.state();
        let mut image = state.epoch.safe.clone();
        for change in state.epoch.changes.iter().flat_map(Change::sectors) {
            if reached() {
                change.apply(&mut image);
            }
        }
        image.bytes()
    }
}

impl State {
    fn take_room(&mut self, end: u64) -> io::Result<()> {
        match &mut self.writes {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(writes) => *writes -= 1,
            None => {}
        }
        let more = end.saturating_sub(self.now.len());
        match &mut self.room {
            Some(room) if *room < more => return Err(io::ErrorKind::StorageFull.into()),
            Some(room) => *room -= more,
            None => {}
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.epoch.changes.push(change);
    }
}

impl Storage for Volatile {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.state().now.read_at(offset, data)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let end = offset + data.len() as u64;
        state.take_room(end)?;
        state.now.store(offset, data);
        let start = offset / SECTOR * SECTOR;
        let end = end.next_multiple_of(SECTOR).min(state.now.len());
        let mut sectors = vec![0; (end - start) as usize];
        state.now.load(start, &mut sectors);
        state.change(Change::Write {
            offset: start,
            data: sectors.into(),
        });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.state();
        let next = Epoch {
            safe: state.now.clone(),
            changes: Vec::new(),
        };
        let epoch = core::mem::replace(&mut state.epoch, next);
        state.past.push(epoch);
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.state().now.len())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.take_room(length)?;
        state.change(Change::Length(length));
        Ok(())
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.state().change(Change::Punch { offset, length });
        Ok(true)
    }

    fn direct(&self) -> Option<Arc<dyn DirectFile>> {
        Some(Arc::new(self.clone()))
    }
}

impl DirectFile for Volatile {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        Storage::read_at(&mut self.clone(), offset, data)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Storage::write_at(&mut self.clone(), offset, data)
    }
}
