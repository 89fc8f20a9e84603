//! Commands about machines: those that run, by their sockets, and those that are to run.

mod add_disk;
mod console;
mod copy_file;
mod disc;
mod events;
mod freeze;
mod list;
mod memory;
mod new;
mod place;
mod remove_disk;
mod resize_disk;
mod run;
mod screenshot;
mod show;
mod socket;
mod stop;
mod type_text;

use crate::command::Entry;
use crate::disk::DISK;
use crate::failure::Failure;
use management::{Connection, Folder, Request, Unanswered};

/// What can be typed after `entente`.
pub const ENTRIES: &[Entry] = &[
    Entry::Command(&run::RUN),
    Entry::Command(&list::LIST),
    Entry::Command(&show::SHOW),
    Entry::Command(&stop::STOP),
    Entry::Command(&console::CONSOLE),
    Entry::Command(&screenshot::SCREENSHOT),
    Entry::Command(&type_text::TYPE),
    Entry::Command(&events::EVENTS),
    Entry::Command(&freeze::FREEZE),
    Entry::Command(&freeze::THAW),
    Entry::Command(&memory::MEMORY),
    Entry::Command(&copy_file::COPY_FILE),
    Entry::Command(&socket::SOCKET),
    Entry::Command(&add_disk::ADD_DISK),
    Entry::Command(&resize_disk::RESIZE_DISK),
    Entry::Command(&remove_disk::REMOVE_DISK),
    Entry::Command(&disc::INSERT_DISC),
    Entry::Command(&disc::EJECT_DISC),
    Entry::Group(&DISK),
];

/// Asks a running machine.
fn ask(machine: &str, request: &Request) -> Result<Connection, Failure> {
    Ok(Connection::ask(&Folder::usual(), machine, request)?)
}

impl From<Unanswered> for Failure {
    fn from(why: Unanswered) -> Self {
        Self::Failed(match why {
            Unanswered::NotRunning(_) => format!("{why}; `entente list` shows those that are"),
            Unanswered::Failed(_) => why.to_string(),
        })
    }
}
