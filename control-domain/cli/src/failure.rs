//! Why a command was not done.

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

    /// Says it, and answers the exit code.
    pub fn print(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Failed(text) => (text, 1),
        };
        eprintln!("error: {text}");
        ExitCode::from(code)
    }
}

impl From<disks::Error> for Failure {
    fn from(error: disks::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
