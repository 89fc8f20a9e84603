//! The client's side.

use crate::answer::Answer;
use crate::folder::Folder;
use crate::line::{read_line, write_line};
use crate::request::Request;
use serde_json::Value;
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There is no such machine, or it does not run.
    NotRunning(String),
    /// The machine refuses, or can't be talked to: one sentence.
    Failed(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning(machine) => write!(f, "machine {machine} is not running"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A machine that has said yes to a request.
#[derive(Debug)]
pub struct Connection {
    /// What it answered.
    pub answer: Value,
    /// What follows the answer.
    pub stream: BufReader<UnixStream>,
}

impl Connection {
    /// Sends a machine a request and waits for its answer.
    ///
    /// # Errors
    /// If it does not run, does not answer, or refuses.
    pub fn ask(folder: &Folder, machine: &str, request: &Request) -> Result<Self, Unanswered> {
        let socket = folder.socket(machine).map_err(Unanswered::Failed)?;
        let fail = |error: io::Error| Unanswered::Failed(format!("machine {machine}: {error}"));
        let stream = UnixStream::connect(&socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Unanswered::NotRunning(machine.into())
            }
            _ => fail(error),
        })?;
        write_line(&stream, request).map_err(fail)?;
        let mut stream = BufReader::new(stream);
        let answer: Option<Answer> = read_line(&mut stream).map_err(fail)?;
        let answer = answer
            .ok_or_else(|| Unanswered::Failed(format!("machine {machine} ended meanwhile")))?;
        let answer = Result::from(answer)
            .map_err(|why| Unanswered::Failed(format!("machine {machine}: {why}")))?;
        Ok(Self { answer, stream })
    }
}
