//! What happens to the machine: told to the log, and to whoever follows.

use crate::history::History;
use management::{Event, What};
use std::sync::Arc;

/// So many events are kept for those who come later.
const MOST_KEPT: usize = 1000;

/// The machine's events. Clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    machine: Arc<str>,
    history: History<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self::of("")
    }
}

impl Events {
    /// Those of a machine, none yet.
    pub fn of(machine: &str) -> Self {
        Self {
            machine: machine.into(),
            history: History::keeping(MOST_KEPT),
        }
    }

    /// Something happened, and the log says so.
    pub fn tell(&self, what: What) {
        for line in what.to_string().lines() {
            eprintln!("entente-vmm: {line}");
        }
        self.note(what);
    }

    /// Something happened of which the log speaks elsewhere.
    pub fn note(&self, what: What) {
        self.history.push(Event::now(&self.machine, what));
    }

    /// All of them, for readers.
    pub fn history(&self) -> &History<Event> {
        &self.history
    }
}
