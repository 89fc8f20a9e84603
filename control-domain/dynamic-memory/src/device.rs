//! The device: agrees on a version, then asks for pages or gives them back, one exchange at a time.

use crate::assigned::{Assigned, Reported, Unsettled, Wanted};
use crate::pages::Pages;
use crate::wire::{self, Header, PageRange, kind};
use crate::{PAGE_BYTES, PAGES_AT_ONCE};
use std::collections::VecDeque;
use std::ops::Range;
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, Refused, RingError};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x525074dc_8985_46e2_8057_a307dc18a502);
const INSTANCE: Uuid = Uuid::from_u128(0x1eccfd72_4b41_45ef_b73a_4a6e44c12924);

const SHORT: RingError = RingError::Protocol("a message that is shorter than it says");
const UNKNOWN: RingError = RingError::Protocol("a message that is none of the protocol's");
const UNASKED: RingError = RingError::Protocol("an answer that nobody asked for");
const NOT_ITS_PAGES: RingError =
    RingError::Protocol("pages given that are given already, are none of its memory or too many");

/// Ranges in one message, so that it is no longer than drivers take.
const MOST_RANGES: usize = 500;

/// What the guest is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// No driver, or it does not give pages.
    Nothing,
    /// It could be asked for something.
    Waiting,
    /// It gives at most so many pages more.
    Giving { left: u64 },
    /// It takes these, and more messages follow.
    Taking,
    /// It has been told the last of them.
    Taken,
    /// It is told of new memory.
    Adding(PageRange),
}

/// The device.
#[derive(Debug)]
pub struct DynamicMemory {
    assigned: Assigned,
    /// Its memory, in numbers of pages.
    memory: Vec<Range<u64>>,
    most_pages: u64,
    doing: Doing,
    pages: Pages,
    version: Option<u32>,
    /// It takes new memory.
    can_add: bool,
    answers: VecDeque<Vec<u8>>,
}

impl DynamicMemory {
    /// The device of a guest whose memory lies in these ranges of addresses; it is told that it will never
    /// have more than `most_pages`.
    pub fn new(assigned: Assigned, memory: &[Range<u64>], most_pages: u64) -> Self {
        let pages = |range: &Range<u64>| range.start / PAGE_BYTES..range.end / PAGE_BYTES;
        let mut device = Self {
            assigned,
            memory: memory.iter().map(pages).collect(),
            most_pages,
            doing: Doing::Nothing,
            pages: Pages::default(),
            version: None,
            can_add: false,
            answers: VecDeque::new(),
        };
        device.assigned.set_all(device.count());
        device.reset();
        device
    }

    /// A system that starts anew takes all of its memory for its own.
    fn reset(&mut self) {
        self.doing = Doing::Nothing;
        self.pages = Pages::default();
        self.version = None;
        self.answers.clear();
        self.assigned.set_ready(false);
    }

    fn take(&mut self, message: &[u8]) -> Result<(), RingError> {
        let (header, _) = Header::read_from_prefix(message).map_err(|_| SHORT)?;
        let body = message.get(size_of::<Header>()..header.bytes.get().into());
        let body = body.ok_or(SHORT)?;
        let transaction = header.transaction.get();
        match header.kind.get() {
            kind::VERSION_REQUEST => {
                let wanted = read::<wire::VersionRequest>(body)?.0.version.get();
                let known = wire::VERSIONS.contains(&wanted);
                self.reset();
                self.version = known.then_some(wanted);
                self.accept(kind::VERSION_RESPONSE, transaction, known);
            }
            kind::CAPABILITIES_REPORT if self.version.is_some() => {
                let flags = read::<wire::Capabilities>(body)?.0.flags.get();
                self.can_add = flags & wire::CAN_HOT_ADD != 0;
                self.accept(kind::CAPABILITIES_RESPONSE, transaction, true);
                self.tell_most_pages();
                if flags & wire::CAN_BALLOON != 0 && self.doing == Doing::Nothing {
                    self.doing = Doing::Waiting;
                    self.assigned.set_ready(true);
                }
            }
            kind::STATUS_REPORT if self.version.is_some() => {
                let (status, _) = read::<wire::Status>(body)?;
                self.assigned.set_reported(Reported {
                    demand: status.committed.get(),
                    available: status.available.get(),
                });
            }
            kind::BALLOON_RESPONSE => self.take_pages(body)?,
            kind::UNBALLOON_RESPONSE if self.doing == Doing::Taken => self.doing = Doing::Waiting,
            kind::HOT_ADD_RESPONSE => self.memory_added(read::<wire::HotAddResponse>(body)?.0)?,
            kind::UNBALLOON_RESPONSE => return Err(UNASKED),
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn accept(&mut self, kind: u16, transaction: u32, accepted: bool) {
        let accepted = u64::from(accepted).into();
        let answer = message(kind, transaction, &wire::Accepted { accepted }, &[]);
        self.answers.push_back(answer);
    }

    fn tell_most_pages(&mut self) {
        if self.version < Some(wire::FIRST_WITH_INFORMATION) {
            return;
        }
        let told = wire::Information {
            reserved: 0.into(),
            bytes: 16.into(),
            kind: wire::MOST_PAGES.into(),
            value_bytes: 8.into(),
            value: self.most_pages.into(),
        };
        let told = message(kind::INFORMATION, 0, &told, &[]);
        self.answers.push_back(told);
    }

    fn take_pages(&mut self, body: &[u8]) -> Result<(), RingError> {
        let Doing::Giving { mut left } = self.doing else {
            return Err(UNASKED);
        };
        let (response, words) = read::<wire::BalloonResponse>(body)?;
        let more_and_ranges = response.more_and_ranges.get();
        let ranges = (more_and_ranges >> 1) as usize;
        let (words, _) = <[U64]>::ref_from_prefix_with_elems(words, ranges).map_err(|_| SHORT)?;
        for word in words {
            let range = PageRange::from_word(word.get());
            left = left.checked_sub(range.count).ok_or(NOT_ITS_PAGES)?;
            if !self.is_memory(range) || !self.pages.add(range) {
                return Err(NOT_ITS_PAGES);
            }
        }
        self.assigned.set_given(self.pages.count());
        self.doing = Doing::Giving { left };
        if more_and_ranges & wire::MORE == 0 {
            self.doing = Doing::Waiting;
            if left > 0 {
                self.assigned.settle(Err(Unsettled::Refused));
            }
        }
        Ok(())
    }

    fn memory_added(&mut self, response: wire::HotAddResponse) -> Result<(), RingError> {
        let Doing::Adding(range) = self.doing else {
            return Err(UNASKED);
        };
        let pages = u64::from(response.pages.get());
        if pages > range.count {
            return Err(NOT_ITS_PAGES);
        }
        self.doing = Doing::Waiting;
        if pages > 0 {
            self.memory.push(range.first..range.first + pages);
        }
        self.assigned.set_all(self.count());
        self.assigned.settle(match pages {
            0 => Err(Unsettled::NotTaken),
            _ => Ok(()),
        });
        Ok(())
    }

    /// All of its pages.
    fn count(&self) -> u64 {
        self.memory
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    fn is_memory(&self, range: PageRange) -> bool {
        let end = range.first.saturating_add(range.count);
        let holds = |memory: &Range<u64>| memory.start <= range.first && end <= memory.end;
        self.memory.iter().any(holds)
    }

    /// The next request, if the guest has not what it should.
    fn ask(&mut self) -> Option<Vec<u8>> {
        match (self.doing, self.assigned.wanted()) {
            (Doing::Waiting, Some(Wanted::Pages(wanted))) => self.ask_for_pages(wanted),
            (Doing::Waiting, Some(Wanted::More(_))) if !self.can_add => {
                self.assigned.settle(Err(Unsettled::NotTaken));
                None
            }
            (Doing::Waiting, Some(Wanted::More(range))) => {
                self.doing = Doing::Adding(range);
                let range = range.to_word().into();
                let request = wire::HotAddRequest { range };
                Some(message(kind::HOT_ADD_REQUEST, 0, &request, &[]))
            }
            (Doing::Taking, wanted) => {
                let missing = match wanted {
                    Some(Wanted::Pages(wanted)) => wanted.saturating_sub(self.assigned()),
                    _ => 0,
                };
                Some(self.give_back(missing))
            }
            _ => None,
        }
    }

    /// What the guest has to use.
    fn assigned(&self) -> u64 {
        self.assigned.state().assigned()
    }

    fn ask_for_pages(&mut self, wanted: u64) -> Option<Vec<u8>> {
        let assigned = self.assigned();
        let excess = assigned.saturating_sub(wanted) / PAGES_AT_ONCE * PAGES_AT_ONCE;
        if excess > 0 {
            let pages = u32::try_from(excess).unwrap_or(u32::MAX - PAGES_AT_ONCE as u32 + 1);
            self.doing = Doing::Giving { left: pages.into() };
            let request = wire::BalloonRequest {
                pages: pages.into(),
                reserved: 0.into(),
            };
            return Some(message(kind::BALLOON_REQUEST, 0, &request, &[]));
        }
        if wanted <= assigned || self.pages.count() == 0 {
            self.assigned.settle(Ok(()));
            return None;
        }
        Some(self.give_back(wanted - assigned))
    }

    fn give_back(&mut self, missing: u64) -> Vec<u8> {
        let mut missing = missing;
        let mut words = Vec::new();
        while words.len() < MOST_RANGES
            && let Some(range) = self.pages.take(missing)
        {
            missing -= range.count;
            words.push(U64::new(range.to_word()));
        }
        self.assigned.set_given(self.pages.count());
        let more = missing > 0 && self.pages.count() > 0;
        self.doing = if more { Doing::Taking } else { Doing::Taken };
        let request = wire::UnballoonRequest {
            more: if more { wire::MORE } else { 0 }.into(),
            ranges: (words.len() as u32).into(),
        };
        message(kind::UNBALLOON_REQUEST, 0, &request, words.as_bytes())
    }
}

impl Device for DynamicMemory {
    fn offer(&self) -> Offer {
        Offer::new("dynamic memory", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.assigned.set_doorbell(doorbell);
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        self.reset();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(packet) = channel.receive()? {
            self.take(&packet.data)?;
        }
        loop {
            if self.answers.is_empty() {
                let Some(request) = self.ask() else {
                    return Ok(());
                };
                self.answers.push_back(request);
            }
            while let Some(answer) = self.answers.front() {
                if !channel.send(&Outgoing::in_band(0, answer))? {
                    return Ok(());
                }
                self.answers.pop_front();
            }
        }
    }
}

fn read<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(
    body: &[u8],
) -> Result<(T, &[u8]), RingError> {
    T::read_from_prefix(body).map_err(|_| SHORT)
}

/// A message with its header.
fn message(
    kind: u16,
    transaction: u32,
    body: &(impl IntoBytes + Immutable),
    rest: &[u8],
) -> Vec<u8> {
    let body = [body.as_bytes(), rest].concat();
    let header = Header {
        kind: kind.into(),
        bytes: ((size_of::<Header>() + body.len()) as u16).into(),
        transaction: transaction.into(),
    };
    [header.as_bytes(), &body].concat()
}
