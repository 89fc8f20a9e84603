//! What a command has to say when it is done.

use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

/// The answer of a command, for people and for machines.
pub struct Report {
    /// For people: lines.
    pub text: String,
    /// For machines; null if there is nothing to say.
    pub json: Value,
    /// What is wrong but does no harm; `--json` has it in the answer.
    pub warnings: Vec<String>,
    /// Whether all is well; if not, the exit code is 1.
    pub is_well: bool,
}

impl Report {
    /// All is well.
    pub fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            warnings: Vec::new(),
            is_well: true,
        }
    }

    /// The same with warnings.
    pub fn with_warnings(self, warnings: impl IntoIterator<Item = String>) -> Self {
        Self {
            warnings: warnings.into_iter().collect(),
            ..self
        }
    }
}

/// A report, and for whom.
pub struct Output {
    /// What to say.
    pub report: Report,
    /// Whether to say it to a machine.
    pub json: bool,
}

impl Output {
    /// Plain text.
    pub fn text(text: String) -> Self {
        Self {
            report: Report::new(text, Value::Null),
            json: false,
        }
    }

    /// Says it, and answers the exit code.
    pub fn print(&self) -> ExitCode {
        let report = &self.report;
        let text = match self.json {
            true if report.json.is_null() => String::new(),
            true => format!("{:#}", report.json),
            false => report.text.trim_end().to_owned(),
        };
        if !self.json {
            for warning in &report.warnings {
                eprintln!("warning: {warning}");
            }
        }
        match say(&text) {
            // Whoever read it has had enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("error: the answer can't be written: {error}");
                ExitCode::FAILURE
            }
            _ if report.is_well => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Writes a text and a line end at once; nothing for an empty text.
pub fn say(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush()
}

/// Lines of a name and what it is, the second column aligned.
pub fn aligned<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}
