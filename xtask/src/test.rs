//! `cargo xtask test`: every test that fits on one machine without hardware virtualization.

use crate::context::Context;
use crate::recipe::Recipe;
use crate::{host, repro, rows};
use anyhow::{Context as _, Result, ensure};
use qemu_tests::RowSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// How many tests went well and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that went well.
    pub passed: u64,
    /// Those that did not.
    pub failed: u64,
}

impl Count {
    /// Adds one.
    pub fn add(&mut self, passed: bool) {
        match passed {
            true => self.passed += 1,
            false => self.failed += 1,
        }
    }

    fn sum(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }
}

/// Runs the tests of all crates, then builds the image twice, then boots the rows.
///
/// The last line printed is `N passed, N failed`.
pub fn run(context: &Context, recipe: &Recipe) -> Result<()> {
    host::install(&host::missing(&host::TOOLS.map(|tool| tool.program)))?;
    let mut count = crates(context)?;

    println!("the image is built in two folders");
    let repeated = repro::run(context, recipe);
    if let Err(error) = &repeated {
        eprintln!("{error:#}");
    }
    count.add(repeated.is_ok());

    let booted = rows::run(context, RowSet::Test, &[])?;
    let all = count.sum(booted);
    println!("\n{} passed, {} failed", all.passed, all.failed);
    ensure!(all.failed == 0, "{} tests failed", all.failed);
    Ok(())
}

/// `cargo test` over the workspace, on the host.
fn crates(context: &Context) -> Result<Count> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["test", "--workspace", "--no-fail-fast", "--quiet"])
        .current_dir(&context.root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo can't be started")?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.context("what cargo prints can't be read")?;
            println!("{line}");
            count = count.sum(result(&line).unwrap_or_default());
        }
    }
    let status = child.wait().context("cargo can't be waited for")?;
    if !status.success() && count.failed == 0 {
        // Something could not be built, or ended before it told its count.
        count.failed = 1;
    }
    Ok(count)
}

/// The counts of a line such as `test result: ok. 3 passed; 0 failed; …`.
fn result(line: &str) -> Option<Count> {
    let (_, counts) = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    let number = |word: &str| {
        let (number, _) = counts
            .split("; ")
            .find_map(|part| part.split_once(' ').filter(|(_, w)| *w == word))?;
        number.parse().ok()
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_own_line_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";
        let expected = Count {
            passed: 12,
            failed: 3,
        };
        assert_eq!(result(line), Some(expected));
        assert_eq!(result("12 passed; 3 failed"), None);
    }
}
