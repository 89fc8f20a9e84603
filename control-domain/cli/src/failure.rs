//! Why a command was not done.

use crate::report::say;
use serde_json::json;
use std::process::ExitCode;

/// Why a command was not done.
#[derive(Debug)]
pub enum Failure {
    /// The command line is not understood: one line.
    Usage(String),
    /// It could not be done: what, where, what to do.
    Failed(String),
}

impl Failure {
    /// A command line that is not understood.
    pub fn usage(what: String) -> Self {
        Self::Usage(what)
    }

    /// Says it, to a machine too if one asked, and answers the exit code.
    pub fn print(&self, to_machine: bool) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Failed(text) => (text, 1),
        };
        eprintln!("error: {text}");
        if to_machine {
            // Nothing is left to say if this can't be written either.
            let _ = say(&format!("{:#}", json!({ "error": text })));
        }
        ExitCode::from(code)
    }
}

impl From<disks::Error> for Failure {
    fn from(error: disks::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
