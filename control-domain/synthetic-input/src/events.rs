//! What the person did and the guest has not seen yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmbus::Doorbell;

/// More than anybody does while a guest looks away; what comes beyond it is lost, as with a keyboard.
const MOST_WAITING: usize = 256;

/// A queue with the vmm at one end and a device at the other.
#[derive(Debug)]
pub struct Events<T>(Arc<Mutex<Shared<T>>>);

#[derive(Debug)]
struct Shared<T> {
    listening: bool,
    waiting: VecDeque<T>,
    doorbell: Option<Doorbell>,
}

impl<T> Clone for Events<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Events<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Shared {
            listening: false,
            waiting: VecDeque::new(),
            doorbell: None,
        })))
    }
}

impl<T> Events<T> {
    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts these in, all or none. `false`: the guest has no driver for them.
    pub fn put(&self, events: impl IntoIterator<Item = T>) -> bool {
        let mut shared = self.lock();
        if !shared.listening {
            return false;
        }
        let before = shared.waiting.len();
        shared.waiting.extend(events);
        if shared.waiting.len() > MOST_WAITING {
            shared.waiting.truncate(before);
        }
        if let Some(bell) = &shared.doorbell {
            bell.ring();
        }
        true
    }

    pub(crate) fn set_doorbell(&self, doorbell: Doorbell) {
        self.lock().doorbell = Some(doorbell);
    }

    /// A driver came or went; what waited for the one before it is gone.
    pub(crate) fn set_listening(&self, listening: bool) {
        let mut shared = self.lock();
        shared.listening = listening;
        shared.waiting.clear();
    }

    /// Hands the events out, oldest first, as long as `send` takes them.
    pub(crate) fn send<E>(&self, mut send: impl FnMut(&T) -> Result<bool, E>) -> Result<(), E> {
        let mut shared = self.lock();
        while let Some(event) = shared.waiting.front() {
            if !send(event)? {
                break;
            }
            shared.waiting.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let events = Events::default();
        assert!(!events.put([0]), "nobody listens");
        events.set_listening(true);
        for n in 0..200 {
            assert!(events.put([n, -n]));
        }
        let mut seen = Vec::new();
        let take = |event: &i32| {
            seen.push(*event);
            Ok::<_, ()>(seen.len() < 300)
        };
        events.send(take).unwrap();
        assert_eq!(seen.len(), MOST_WAITING);
        assert_eq!(seen[254..], [127, -127]);
    }
}
