//! The vmm's end: how much memory the guest is to have, and how much it has.

use crate::wire::PageRange;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vmbus::Doorbell;

/// How the guest's memory is. Numbers are of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What the machine has.
    pub all: u64,
    /// What the guest has given.
    pub given: u64,
    /// What it says that it needs, and what could be had at once, once its driver has reported.
    pub reported: Option<Reported>,
}

/// What a guest's driver says of its memory. Numbers are of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Promised to programs, what the kernel itself needs, and what it has given.
    pub demand: u64,
    /// Could be had at once.
    pub available: u64,
}

/// Why the guest has not the memory that it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// No driver has opened the channel.
    NoDriver,
    /// Another request waits for the guest.
    Busy,
    /// The guest has not answered in time; it may still do what was asked.
    Late,
    /// The guest can't spare so much.
    Refused,
    /// The guest takes no new memory, or none now.
    NotTaken,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDriver => {
                "the guest has no driver for dynamic memory, or has not loaded it (in Linux hv_balloon)"
            }
            Self::Busy => "another request waits for the guest",
            Self::Late => "the guest has not answered in time",
            Self::Refused => "the guest can't spare so much now",
            Self::NotTaken => "the guest takes no new memory while it runs, or not now",
        })
    }
}

impl State {
    /// What the guest has to use.
    pub fn assigned(&self) -> u64 {
        self.all - self.given
    }
}

/// How much memory a guest has. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Assigned(Arc<(Mutex<Shared>, Condvar)>);

#[derive(Debug, Default)]
struct Shared {
    state: State,
    ready: bool,
    doorbell: Option<Doorbell>,
    wanted: Option<Wanted>,
    settled: Option<Result<(), Unsettled>>,
}

/// What the guest is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To have so many pages.
    Pages(u64),
    /// To use these, too.
    More(PageRange),
}

impl Assigned {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// Has the guest give pages, or gives it some of them again, until it has `pages`, rounded up to what guests
    /// give at once. Waits for it.
    ///
    /// # Errors
    /// [`Unsettled`]; what the guest has given until then it has given.
    pub fn set(&self, pages: u64, patience: Duration) -> Result<State, Unsettled> {
        self.ask(Wanted::Pages(pages), patience)
    }

    /// As [`Assigned::set`], without waiting for it.
    ///
    /// # Errors
    /// [`Unsettled`]: it can't be asked now.
    pub fn begin(&self, pages: u64) -> Result<(), Unsettled> {
        begin(&mut self.lock(), Wanted::Pages(pages))
    }

    /// Tells the guest of new memory, which lies there already. Waits until it uses it.
    ///
    /// # Errors
    /// [`Unsettled`]; a guest that is late may use it later.
    pub fn add(&self, range: PageRange, patience: Duration) -> Result<State, Unsettled> {
        self.ask(Wanted::More(range), patience)
    }

    fn ask(&self, wanted: Wanted, patience: Duration) -> Result<State, Unsettled> {
        let mut shared = self.lock();
        begin(&mut shared, wanted)?;
        let end = Instant::now() + patience;
        loop {
            if let Some(settled) = shared.settled.take() {
                return settled.map(|()| shared.state);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                shared.wanted = None;
                return Err(Unsettled::Late);
            }
            let waited = self.0.1.wait_timeout(shared, left);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn set_all(&self, all: u64) {
        self.lock().state.all = all;
    }

    pub(crate) fn set_doorbell(&self, doorbell: Doorbell) {
        self.lock().doorbell = Some(doorbell);
    }

    /// What the guest is to be asked, or is being asked.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.lock().wanted
    }

    /// The driver is there, or has gone; then the guest has all that the machine has.
    pub(crate) fn set_ready(&self, ready: bool) {
        let mut shared = self.lock();
        shared.ready = ready;
        if !ready {
            shared.state.given = 0;
            shared.state.reported = None;
            if shared.wanted.take().is_some() {
                shared.settled = Some(Err(Unsettled::NoDriver));
            }
            self.0.1.notify_all();
        }
    }

    pub(crate) fn set_given(&self, given: u64) {
        self.lock().state.given = given;
    }

    pub(crate) fn set_reported(&self, reported: Reported) {
        self.lock().state.reported = Some(reported);
    }

    /// The guest has what it was asked to have, or can't.
    pub(crate) fn settle(&self, result: Result<(), Unsettled>) {
        let mut shared = self.lock();
        if shared.wanted.take().is_some() {
            shared.settled = Some(result);
            self.0.1.notify_all();
        }
    }
}

fn begin(shared: &mut Shared, wanted: Wanted) -> Result<(), Unsettled> {
    if !shared.ready {
        return Err(Unsettled::NoDriver);
    }
    if shared.wanted.is_some() {
        return Err(Unsettled::Busy);
    }
    shared.wanted = Some(wanted);
    shared.settled = None;
    shared.doorbell.iter().for_each(Doorbell::ring);
    Ok(())
}
