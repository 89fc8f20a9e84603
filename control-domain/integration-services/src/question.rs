//! Questions of the vmm's threads that wait for the guest's answer, one at a time.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vmbus::Doorbell;

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No driver has opened the channel, or a version is not agreed upon.
    NoDriver,
    /// Another question waits for its answer.
    Busy,
    /// The guest has taken too long. It may still do what was asked.
    Late,
    /// The channel was closed meanwhile.
    Closed,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDriver => "the guest has no driver for it, or has not loaded it",
            Self::Busy => "another request waits for the guest",
            Self::Late => "the guest has not answered in time",
            Self::Closed => "the guest's driver has gone meanwhile",
        })
    }
}

/// Where questions are put. Clones are the same.
#[derive(Debug)]
pub struct Questions<Q>(Arc<(Mutex<Shared<Q>>, Condvar)>);

#[derive(Debug)]
struct Shared<Q> {
    ready: bool,
    doorbell: Option<Doorbell>,
    asked: Asked<Q>,
}

#[derive(Debug)]
enum Asked<Q> {
    Nothing,
    /// Not yet with the guest.
    Question(Q),
    /// With the guest.
    Waiting,
    /// With the guest, and nobody waits for the answer any more.
    Abandoned,
    Answered(Result<u32, Unanswered>),
}

impl<Q> Clone for Questions<Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q> Default for Questions<Q> {
    fn default() -> Self {
        let shared = Shared {
            ready: false,
            doorbell: None,
            asked: Asked::Nothing,
        };
        Self(Arc::new((Mutex::new(shared), Condvar::new())))
    }
}

impl<Q> Questions<Q> {
    fn lock(&self) -> MutexGuard<'_, Shared<Q>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer: an HRESULT, 0 is success.
    ///
    /// # Errors
    /// If none comes.
    pub fn ask(&self, question: Q, patience: Duration) -> Result<u32, Unanswered> {
        let mut shared = self.lock();
        match shared.asked {
            _ if !shared.ready => return Err(Unanswered::NoDriver),
            Asked::Nothing => shared.asked = Asked::Question(question),
            _ => return Err(Unanswered::Busy),
        }
        if let Some(bell) = &shared.doorbell {
            bell.ring();
        }
        let end = Instant::now() + patience;
        loop {
            if let Asked::Answered(answer) = shared.asked {
                shared.asked = Asked::Nothing;
                return answer;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                shared.asked = match shared.asked {
                    Asked::Waiting => Asked::Abandoned,
                    _ => Asked::Nothing,
                };
                return Err(Unanswered::Late);
            }
            let waited = self.0.1.wait_timeout(shared, left);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The bell that wakes the device.
    pub(crate) fn set_doorbell(&self, doorbell: Doorbell) {
        self.lock().doorbell = Some(doorbell);
    }

    /// Whether questions can be asked. Where they can't, who waits hears so.
    pub(crate) fn set_ready(&self, ready: bool) {
        let mut shared = self.lock();
        shared.ready = ready;
        if !ready {
            shared.asked = match shared.asked {
                Asked::Question(_) | Asked::Waiting => Asked::Answered(Err(Unanswered::Closed)),
                Asked::Answered(answer) => Asked::Answered(answer),
                Asked::Nothing | Asked::Abandoned => Asked::Nothing,
            };
            self.0.1.notify_all();
        }
    }

    /// Passes the question that waits to the guest, if `send` says that it could be sent.
    pub(crate) fn pass<E>(&self, send: impl FnOnce(&Q) -> Result<bool, E>) -> Result<(), E> {
        let mut shared = self.lock();
        if let Asked::Question(question) = &shared.asked
            && send(question)?
        {
            shared.asked = Asked::Waiting;
        }
        Ok(())
    }

    /// The guest has answered. `false`: nobody waits any more.
    pub(crate) fn answered(&self, status: u32) -> bool {
        let mut shared = self.lock();
        let waits = matches!(shared.asked, Asked::Waiting);
        shared.asked = match waits {
            true => Asked::Answered(Ok(status)),
            false => Asked::Nothing,
        };
        self.0.1.notify_all();
        waits
    }
}
