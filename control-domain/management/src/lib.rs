//! How a running machine is managed: requests, answers and events on its socket, and the client's side
//! of it. docs/management.md is the protocol for those who speak it without this crate.
//!
//! - Each vmm listens on a Unix socket that is called as its machine, in a [`Folder`].
//! - A client sends one [`Request`] as a line of JSON, and gets one [`Answer`] as a line of JSON. Then the
//!   connection is closed, or what the request asked for follows: events, each a line; a console's bytes,
//!   both ways; a picture's bytes.
//!
//! What is absent: what a request leads to (the vmm has it), network sockets, and users: whoever may open
//! the socket, may do everything.
#![forbid(unsafe_code)]

mod answer;
mod client;
mod event;
mod folder;
mod line;
mod request;
mod terminal;

pub use answer::Answer;
pub use client::{Connection, Unanswered};
pub use event::{Event, What};
pub use folder::{Folder, check_name, listen_at, sockets_of};
pub use line::{read_line, write_line};
pub use request::{Place, Request};
pub use terminal::RawTerminal;
