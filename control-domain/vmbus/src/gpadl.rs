//! GPADLs: lists of pages that a guest describes in several messages and then names by a number.

use crate::message::{GpadlBodyBody, GpadlHeaderBody};
use crate::paged_range::{PagedRange, RangeError};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A guest's number for a list of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GpadlId(pub u32);

impl fmt::Display for GpadlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPADL {:#x}", self.0)
    }
}

/// Most lists of a guest, finished or not: 64 KiB of memory here each.
const MOST_GPADLS: usize = 1024;

/// All lists of a connection.
#[derive(Debug, Default)]
pub struct Gpadls {
    finished: HashMap<GpadlId, (u32, Arc<PagedRange>)>,
    unfinished: HashMap<GpadlId, Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    channel: u32,
    bytes: Vec<u8>,
    expected: usize,
}

/// What a message about a list led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More messages are to come.
    More,
    /// It is complete; the channel it belongs to.
    Created(u32, Arc<PagedRange>),
    /// It is refused; the channel it belongs to, and why.
    Refused(u32, GpadlError),
}

/// Why a list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpadlError {
    /// The number is taken.
    Exists,
    /// The guest has too many.
    TooMany,
    /// One range a list is all that drivers use.
    RangeCount(u16),
    /// More bytes came than the header said.
    TooLong,
    /// The list itself.
    Range(RangeError),
}

impl fmt::Display for GpadlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => write!(f, "its number is taken"),
            Self::TooMany => write!(f, "there are {MOST_GPADLS} already"),
            Self::RangeCount(count) => write!(f, "it has {count} ranges, not one"),
            Self::TooLong => write!(f, "it is longer than its header says"),
            Self::Range(error) => error.fmt(f),
        }
    }
}

impl Gpadls {
    /// Number of lists, finished or not.
    pub fn count(&self) -> usize {
        self.finished.len() + self.unfinished.len()
    }

    /// The first message of a list: header, and as much of the list as fits.
    pub fn begin(&mut self, header: &GpadlHeaderBody, bytes: &[u8]) -> Progress {
        let id = GpadlId(header.gpadl.get());
        let channel = header.channel.get();
        let refused = |error| Progress::Refused(channel, error);
        if self.finished.contains_key(&id) || self.unfinished.contains_key(&id) {
            return refused(GpadlError::Exists);
        }
        if self.finished.len() + self.unfinished.len() >= MOST_GPADLS {
            return refused(GpadlError::TooMany);
        }
        if header.range_count.get() != 1 {
            return refused(GpadlError::RangeCount(header.range_count.get()));
        }
        let list = Unfinished {
            channel,
            bytes: Vec::new(),
            expected: header.range_bytes.get().into(),
        };
        // What lies behind the list in its only message is padding.
        let bytes = &bytes[..bytes.len().min(list.expected)];
        self.unfinished.insert(id, list);
        self.append(id, bytes)
    }

    /// A further message of a list. Nothing if there is no such list.
    pub fn go_on(&mut self, body: &GpadlBodyBody, bytes: &[u8]) -> Option<Progress> {
        let id = GpadlId(body.gpadl.get());
        self.unfinished
            .contains_key(&id)
            .then(|| self.append(id, bytes))
    }

    fn append(&mut self, id: GpadlId, bytes: &[u8]) -> Progress {
        let Some(list) = self.unfinished.get_mut(&id) else {
            return Progress::More;
        };
        list.bytes.extend_from_slice(bytes);
        if list.bytes.len() < list.expected {
            return Progress::More;
        }
        let channel = list.channel;
        let result = if list.bytes.len() > list.expected {
            Err(GpadlError::TooLong)
        } else {
            PagedRange::parse(&list.bytes).map_err(GpadlError::Range)
        };
        let progress = match result {
            Ok((range, _)) => {
                let range = Arc::new(range);
                self.finished.insert(id, (channel, range.clone()));
                Progress::Created(channel, range)
            }
            Err(error) => Progress::Refused(channel, error),
        };
        self.unfinished.remove(&id);
        progress
    }

    /// A finished list of this channel.
    pub fn find(&self, channel: u32, id: GpadlId) -> Option<&Arc<PagedRange>> {
        let (owner, range) = self.finished.get(&id)?;
        (*owner == channel).then_some(range)
    }

    /// All finished lists of this channel.
    pub fn of_channel(&self, channel: u32) -> Vec<(GpadlId, Arc<PagedRange>)> {
        let all = self.finished.iter();
        all.filter(|(_, (owner, _))| *owner == channel)
            .map(|(id, (_, range))| (*id, range.clone()))
            .collect()
    }

    /// Forgets a list, finished or not.
    pub fn remove(&mut self, channel: u32, id: GpadlId) {
        if self.find(channel, id).is_some() {
            self.finished.remove(&id);
        }
        if self
            .unfinished
            .get(&id)
            .is_some_and(|l| l.channel == channel)
        {
            self.unfinished.remove(&id);
        }
    }

    /// Forgets all lists of a channel.
    pub fn remove_channel(&mut self, channel: u32) {
        self.finished.retain(|_, (owner, _)| *owner != channel);
        self.unfinished.retain(|_, list| list.channel != channel);
    }
}
