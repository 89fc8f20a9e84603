//! Units of a controller come, go and change while the guest runs.

use crate::device::Parts;
use crate::media::Media;
use scsi::Unit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The side of a controller on which units are plugged in and out, from any thread. The guest is told
/// as soon as it listens.
pub struct Backplane<M>(Arc<Mutex<Parts<M>>>);

impl<M> Clone for Backplane<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Media> Backplane<M> {
    pub(crate) fn new(parts: Arc<Mutex<Parts<M>>>) -> Self {
        Self(parts)
    }

    fn parts(&self) -> MutexGuard<'_, Parts<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plugs a unit in; `plug` gives its medium to the media. `false`: the place is taken.
    pub fn add(&self, lun: u8, unit: Unit, plug: impl FnOnce(&mut M)) -> bool {
        let mut parts = self.parts();
        if parts.controller.unit(lun).is_some() {
            return false;
        }
        plug(&mut parts.media);
        let notice = parts.controller.add(lun, unit);
        parts.tell(notice);
        true
    }

    /// Pulls a unit out; `unplug` takes its medium away, and with it ends what is under way there.
    /// `None`: there is none.
    pub fn remove<R>(&self, lun: u8, unplug: impl FnOnce(&mut M) -> R) -> Option<R> {
        let mut parts = self.parts();
        let (_, notice) = parts.controller.remove(lun)?;
        let result = unplug(&mut parts.media);
        parts.tell(notice);
        Some(result)
    }

    /// Looks at a unit and its medium, or changes them. `None`: there is none.
    pub fn with_unit<R>(&self, lun: u8, f: impl FnOnce(&mut Unit, &mut M) -> R) -> Option<R> {
        let mut parts = self.parts();
        let Parts {
            controller, media, ..
        } = &mut *parts;
        let result = f(controller.unit(lun)?, media);
        // Media may have ended something.
        parts.ring();
        Some(result)
    }

    /// Looks at every unit with its medium.
    pub fn inspect<R>(&self, look: impl Fn(&M, u8, &Unit) -> R) -> Vec<R> {
        let parts = self.parts();
        let units = parts.controller.units();
        units
            .map(|(lun, unit)| look(&parts.media, lun, unit))
            .collect()
    }

    /// Looks at the media.
    pub fn with_media<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.parts().media)
    }
}

impl<M> Parts<M> {
    fn tell(&mut self, notice: Option<Vec<u8>>) {
        // One that was not read yet says the same.
        if self.notices.is_empty() {
            self.notices.extend(notice);
        }
        self.ring();
    }

    fn ring(&self) {
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
    }
}
