//! The end of whoever looks at the screen.

use crate::pointer::Pointer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmbus::Doorbell;

/// A handle to the screen of a machine, over its guest's resets. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Screen(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    watched: bool,
    changed: Option<Area>,
    pointer: Pointer,
    doorbell: Option<Doorbell>,
}

/// A part of the screen: columns and rows from the first to behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub left: i32,
    /// First row.
    pub top: i32,
    /// Column behind the last one.
    pub right: i32,
    /// Row behind the last one.
    pub bottom: i32,
}

impl Area {
    fn with(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody looks, or nobody any more: the guest is asked to say what it draws, or to save the effort.
    pub fn watch(&self, watched: bool) {
        let mut shared = self.lock();
        shared.watched = watched;
        shared.changed = None;
        if let Some(bell) = &shared.doorbell {
            bell.ring();
        }
    }

    /// What holds all that was drawn since the last time, as far as the guest said so.
    pub fn take_changed(&self) -> Option<Area> {
        self.lock().changed.take()
    }

    /// The guest's pointer.
    pub fn pointer(&self) -> Pointer {
        self.lock().pointer.clone()
    }

    pub(crate) fn set_doorbell(&self, doorbell: Doorbell) {
        self.lock().doorbell = Some(doorbell);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.lock().watched
    }

    pub(crate) fn add_changed(&self, area: Area) {
        let mut shared = self.lock();
        if shared.watched {
            let before = shared.changed.unwrap_or(area);
            shared.changed = Some(before.with(area));
        }
    }

    pub(crate) fn change_pointer(&self, change: impl FnOnce(&mut Pointer)) {
        change(&mut self.lock().pointer);
    }
}
