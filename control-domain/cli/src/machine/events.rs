//! `entente events`: what happens to machines.

use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::{Report, say};
use management::{Connection, Event, Folder, Request, read_line};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

const SO_FAR: Opt = Opt::flag(
    "so-far",
    "what has happened to machines that run, and then end",
);
/// How often machines that were started meanwhile are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// A machine that says nothing for so long has told what happened so far.
const SILENCE: Duration = Duration::from_millis(200);

/// `entente events`
pub const EVENTS: Command = Command {
    name: "events",
    summary: "what happens to machines, a line each, until Ctrl-C",
    operands: &["[NAME]"],
    options: &[SO_FAR],
    notes: "Of machines that run already it begins with what has happened to them since they were started.\n\
            With --json each line is a JSON document.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let only = given.text(0)?;
    let (send, events) = channel();
    let mut following = Following {
        only: only.to_owned(),
        so_far: given.has(SO_FAR.name),
        known: BTreeSet::new(),
        send,
    };
    if !only.is_empty() {
        // A machine that was named must be there.
        ask(only, &Request::State)?;
    }
    following.look();
    match following.so_far {
        true => {
            drop(following);
            say_all(&events, given.wants_json())?;
        }
        false => loop {
            say_for_a_while(&events, given.wants_json())?;
            following.look();
        },
    }
    Ok(Report::new(String::new(), Value::Null))
}

struct Following {
    only: String,
    so_far: bool,
    known: BTreeSet<String>,
    send: Sender<Event>,
}

impl Following {
    /// Begins to follow machines that were not there before.
    fn look(&mut self) {
        for name in Folder::usual().names() {
            if (self.only.is_empty() || self.only == name)
                && !self.known.contains(&name)
                && let Ok(connection) = ask(&name, &Request::Events)
            {
                self.known.insert(name);
                let (send, so_far) = (self.send.clone(), self.so_far);
                std::thread::spawn(move || follow(connection, so_far, &send));
            }
        }
    }
}

fn follow(mut connection: Connection, so_far: bool, send: &Sender<Event>) {
    if so_far {
        let _ = connection.stream.get_ref().set_read_timeout(Some(SILENCE));
    }
    while let Ok(Some(event)) = read_line(&mut connection.stream) {
        if send.send(event).is_err() {
            return;
        }
    }
}

fn say_all(events: &Receiver<Event>, json: bool) -> Result<(), Failure> {
    while let Ok(event) = events.recv() {
        tell(event, json)?;
    }
    Ok(())
}

fn say_for_a_while(events: &Receiver<Event>, json: bool) -> Result<(), Failure> {
    loop {
        match events.recv_timeout(LOOK) {
            Ok(event) => tell(event, json)?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn tell(event: Event, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => serde_json::to_string(&event).unwrap_or_default(),
        false => {
            let (seconds, what) = (event.unix_ms / 1000, event.what.to_string());
            let of_day = seconds % 86_400;
            let time = [of_day / 3600, of_day / 60 % 60, of_day % 60];
            let lines = what.lines().map(|line| {
                let [hour, minute, second] = time;
                format!(
                    "{hour:02}:{minute:02}:{second:02} {}: {line}",
                    event.machine
                )
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    say(&text).map_err(|error: io::Error| {
        Failure::Failed(format!("the answer can't be written: {error}"))
    })
}
