//! The queue: what is under way, what waits for it, and what is done.

use crate::span::Span;
use crate::{Command, Completion, Engine, Finished, Operation, Request, Ring};
use disk::{Access, Direct, Disk, DiskError, check_range_u64};
use guest_memory::ScatterList;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A request that lies in more pieces than this is left to the disk from there on.
const MOST_PARTS: usize = 16;

/// A disk that takes many requests at a time. Whoever submits looks for completions afterwards, and again
/// whenever [`Queue::event`] becomes readable.
pub struct Queue<E: Engine = Ring> {
    // Before the disk, as it goes first when the queue is dropped: it waits for what is under way.
    engine: Option<E>,
    disk: Box<dyn Disk>,
    refused: Option<io::Error>,
    under_way: Vec<Option<UnderWay>>,
    free: Vec<usize>,
    waiting: VecDeque<Request>,
    completions: VecDeque<Completion>,
    finished: Vec<Finished>,
    /// What the disk reads and writes on behalf of requests.
    bytes: Vec<u8>,
}

/// A request that was begun.
struct UnderWay {
    request: Request,
    span: Span,
    /// Operations of the engine that are not over.
    parts: usize,
    result: Result<(), DiskError>,
    /// Whether it waits for room.
    stalled: bool,
    /// What was read where it presumably lies ([`Disk::presumed`]), each with its first byte on the disk.
    presumed: Vec<(u64, Direct)>,
}

impl Queue {
    /// A queue with an io_uring of its own; without one where the kernel refuses it, which
    /// [`Queue::refused`] tells.
    pub fn new(disk: Box<dyn Disk>) -> Self {
        match Ring::new() {
            Ok(ring) => Self::with_engine(disk, Some(ring)),
            Err(error) => Self {
                refused: Some(error),
                ..Self::with_engine(disk, None)
            },
        }
    }
}

impl<E: Engine> Queue<E> {
    /// A queue over another engine; without one, everything runs through the disk.
    pub fn with_engine(disk: Box<dyn Disk>, engine: Option<E>) -> Self {
        Self {
            engine,
            disk,
            refused: None,
            under_way: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            completions: VecDeque::new(),
            finished: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Why there is no io_uring: then one request runs after the other, to the same effect.
    pub fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// Bytes of the sector that the guest addresses: 512 or 4096.
    pub fn logical_sector_size(&self) -> u32 {
        self.disk.logical_sector_size()
    }

    /// Takes a request. It may be completed when this returns, or not be begun before [`Queue::advance`]:
    /// whoever has several to submit does so, and then advances once.
    pub fn submit(&mut self, request: Request) {
        let span = Span::of(&request.command);
        if self.must_wait(&span, self.waiting.len()) {
            self.waiting.push_back(request);
        } else {
            self.begin(request, span);
        }
    }

    /// Hands over what was submitted, and takes what is done, without waiting.
    ///
    /// # Errors
    /// If the kernel takes no requests any more: those under way will never be completed.
    pub fn advance(&mut self) -> io::Result<()> {
        self.collect(false)
    }

    /// As [`Queue::advance`], but if there is no completion to be had, waits for one; not if nothing is under
    /// way but what waits for room.
    ///
    /// # Errors
    /// As [`Queue::advance`].
    pub fn wait(&mut self) -> io::Result<()> {
        self.collect(false)?;
        while self.completions.is_empty() && self.is_moving() {
            self.collect(true)?;
        }
        Ok(())
    }

    /// The next request that is done.
    pub fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Becomes readable when [`Queue::advance`] may bring completions. None if they are all there when
    /// [`Queue::submit`] returns. It is an eventfd, which the caller reads before it advances.
    pub fn event(&self) -> Option<BorrowedFd<'_>> {
        self.engine.as_ref().and_then(Engine::event)
    }

    /// Whether requests wait for room on the host, and what one of them heard. They go on by
    /// [`Queue::retry`], which the caller tries now and then; meanwhile the machine should not be given the
    /// impression of a broken disk.
    pub fn stalled(&self) -> Option<&DiskError> {
        let stalled = self.under_way.iter().flatten().find(|one| one.stalled)?;
        stalled.result.as_ref().err()
    }

    /// Tries again what found no room.
    pub fn retry(&mut self) {
        for index in 0..self.under_way.len() {
            if let Some(one) = &mut self.under_way[index]
                && one.stalled
            {
                one.stalled = false;
                one.result = Ok(());
                self.perform(index, true);
            }
        }
        self.begin_waiting();
    }

    /// Waits for what is under way, flushes, and gives back what the disk holds in reserve.
    ///
    /// # Errors
    /// As [`Disk::close`]; or if requests still wait for room.
    pub fn close(&mut self) -> Result<(), DiskError> {
        while self.is_moving() {
            self.collect(true).map_err(handing_over)?;
        }
        self.disk.close()?;
        match self.stalled() {
            Some(error) => Err(DiskError::Unsupported {
                reason: format!("requests were left that had found no room: {error}"),
            }),
            None => Ok(()),
        }
    }

    /// Whether the engine has something to do.
    fn is_moving(&self) -> bool {
        self.under_way.iter().flatten().any(|one| one.parts > 0)
    }

    /// Whether a request has to wait for one that was begun, or for one of the first few that wait.
    fn must_wait(&self, span: &Span, waiting: usize) -> bool {
        let begun = self.under_way.iter().flatten().map(|one| one.span);
        let waiting = self.waiting.iter().take(waiting);
        begun
            .chain(waiting.map(|request| Span::of(&request.command)))
            .any(|other| other.conflicts(span))
    }

    fn begin_waiting(&mut self) {
        let mut index = 0;
        while let Some(request) = self.waiting.get(index) {
            let span = Span::of(&request.command);
            if self.must_wait(&span, index) {
                index += 1;
            } else if let Some(request) = self.waiting.remove(index) {
                self.begin(request, span);
            }
        }
    }

    fn begin(&mut self, request: Request, span: Span) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.under_way.push(None);
            self.under_way.len() - 1
        });
        self.under_way[index] = Some(UnderWay {
            request,
            span,
            parts: 0,
            result: Ok(()),
            stalled: false,
            presumed: Vec::new(),
        });
        self.perform(index, true);
    }

    /// Does what a request says, as far as that can be done at once. With `presuming`, a read need not wait for what
    /// the disk presumes.
    fn perform(&mut self, index: usize, presuming: bool) {
        let Some(one) = &self.under_way[index] else {
            return;
        };
        let mut parts = 0;
        let mut presumed = Vec::new();
        let result = match one.request.command.clone() {
            Command::Read { offset, memory } => {
                let presumed = presuming.then_some(&mut presumed);
                self.transfer(Access::Read, offset, &memory, index, &mut parts, presumed)
            }
            Command::Write { offset, memory } => {
                self.transfer(Access::Write, offset, &memory, index, &mut parts, None)
            }
            // What is under way need not wait for the disk.
            Command::Flush => self.hand_over().and_then(|()| self.disk.flush()),
            Command::Discard { offset, length } => self.disk.discard(offset, length),
        };
        if let Some(one) = &mut self.under_way[index] {
            one.parts = parts;
            one.result = result;
            one.presumed = presumed;
        }
        self.settle(index);
    }

    /// Reads or writes, part by part: through the engine or through the disk.
    fn transfer(
        &mut self,
        access: Access,
        offset: u64,
        memory: &Arc<ScatterList>,
        token: usize,
        parts: &mut usize,
        mut presumed: Option<&mut Vec<(u64, Direct)>>,
    ) -> Result<(), DiskError> {
        let length = memory.length();
        check_range_u64(self.disk.size(), offset, length)?;
        let mut at = 0;
        while at < length {
            let (start, left) = (offset + at, length - at);
            let direct = match self.engine {
                Some(_) if *parts < MOST_PARTS => {
                    self.place(start, left, access, presumed.as_deref_mut())?
                }
                _ => Direct::by_the_disk(left),
            };
            match (direct.place, &mut self.engine) {
                (Some((file, file_offset)), Some(engine)) => {
                    engine.start(Operation {
                        token,
                        access,
                        file,
                        file_offset,
                        memory: memory.clone(),
                        at,
                        length: direct.length,
                    });
                    *parts += 1;
                }
                _ => {
                    self.bytes.resize(direct.length as usize, 0);
                    match access {
                        Access::Read => {
                            self.disk.read(start, &mut self.bytes)?;
                            memory.write(at, &self.bytes);
                        }
                        Access::Write => {
                            memory.read(at, &mut self.bytes);
                            self.disk.write(start, &self.bytes)?;
                        }
                    }
                }
            }
            at += direct.length;
        }
        Ok(())
    }

    /// Where bytes are; presumably, if `presumed` is there to take note of it.
    fn place(
        &mut self,
        offset: u64,
        length: u64,
        access: Access,
        presumed: Option<&mut Vec<(u64, Direct)>>,
    ) -> Result<Direct, DiskError> {
        if let Some(presumed) = presumed
            && let Some(place) = self.disk.presumed(offset, length)?
        {
            presumed.push((offset, place.clone()));
            return Ok(place);
        }
        self.disk.direct(offset, length, access)
    }

    fn hand_over(&mut self) -> Result<(), DiskError> {
        match &mut self.engine {
            Some(engine) => engine
                .advance(false, &mut self.finished)
                .map_err(handing_over),
            None => Ok(()),
        }
    }

    /// Goes on until nothing more is over: the rest of a short operation, and a request that waited for
    /// one that has ended, are begun here, and nobody would ring for what was not handed over.
    fn collect(&mut self, wait: bool) -> io::Result<()> {
        let mut wait = wait && self.finished.is_empty();
        while let Some(engine) = &mut self.engine {
            engine.advance(wait, &mut self.finished)?;
            let finished = core::mem::take(&mut self.finished);
            if finished.is_empty() {
                break;
            }
            finished.into_iter().for_each(|one| self.part_is_over(one));
            self.begin_waiting();
            wait = false;
        }
        Ok(())
    }

    /// A part is over: all of it, or some, or it failed.
    fn part_is_over(&mut self, finished: Finished) {
        let Finished {
            mut operation,
            result,
        } = finished;
        let index = operation.token;
        let moved = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        let error = match (moved, &mut self.engine) {
            (Ok(bytes), Some(engine)) if bytes < operation.length => {
                operation.file_offset += bytes;
                operation.at += bytes;
                operation.length -= bytes;
                engine.start(operation);
                return;
            }
            (Ok(_), _) => None,
            (Err(source), _) => Some(DiskError::Io {
                what: match operation.access {
                    Access::Read => "read",
                    Access::Write => "write",
                },
                offset: operation.file_offset,
                source,
            }),
        };
        let Some(Some(one)) = self.under_way.get_mut(index) else {
            return;
        };
        one.parts = one.parts.saturating_sub(1);
        if let Some(error) = error {
            one.result = Err(error);
        }
        self.settle(index);
    }

    /// Whether what was presumed is so. If not, or if that can't be said, the request is made again by what is known:
    /// nobody looks at a read's memory before it is completed.
    fn is_confirmed(&mut self, presumed: &[(u64, Direct)]) -> bool {
        presumed.iter().all(|(start, place)| {
            let known = self.disk.direct(*start, place.length, Access::Read);
            known.is_ok_and(|known| place.is_confirmed_by(&known))
        })
    }

    /// Completes a request of which nothing is left to be done.
    fn settle(&mut self, index: usize) {
        let Some(one) = &mut self.under_way[index] else {
            return;
        };
        if one.parts > 0 {
            return;
        }
        let presumed = core::mem::take(&mut one.presumed);
        if !self.is_confirmed(&presumed) {
            return self.perform(index, false);
        }
        let Some(one) = &mut self.under_way[index] else {
            return;
        };
        if one.result.as_ref().is_err_and(DiskError::is_out_of_space) {
            one.stalled = true;
            return;
        }
        if let Some(one) = self.under_way[index].take() {
            self.free.push(index);
            self.completions.push_back(Completion {
                id: one.request.id,
                result: one.result,
            });
        }
    }
}

fn handing_over(source: io::Error) -> DiskError {
    DiskError::Io {
        what: "hand requests to the kernel",
        offset: 0,
        source,
    }
}
