//! Runs an emulator, stamps the lines it prints and waits for those that are expected.

use crate::cpu_time;
use crate::emulator::{Emulator, EmulatorName, Running, take_turn};
use crate::serial::Lines;
use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A line that must appear behind the one before it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What a part of the line must match.
    #[serde(deserialize_with = "pattern")]
    pub line: Regex,
    /// How often it must appear before the next one counts.
    #[serde(default = "once")]
    pub times: usize,
    /// How many different texts the expression's first group must have matched by then.
    #[serde(default)]
    pub different: usize,
    /// The name of this point in the time line.
    #[serde(default)]
    pub stage: Option<String>,
    /// What to type on the serial line whenever it has appeared.
    #[serde(default)]
    pub send: Option<String>,
    /// The emulator that it is for, if it is not for all of a row's: a network behind the PC's card is QEMU's.
    #[serde(default)]
    pub only: Option<EmulatorName>,
}

/// What one run looks for.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Lines that must appear, in this order.
    pub expect: Vec<Expectation>,
    /// Lines that must not appear before the last expected one.
    pub forbid: Vec<Regex>,
    /// Whether the PC must then turn itself off.
    pub until_off: bool,
    /// Gets every byte of the serial line.
    pub log: Option<PathBuf>,
    /// Shows the serial line on standard error.
    pub show: bool,
}

/// When a run is given up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time of the emulator on the host's CPUs.
    pub cpu: Duration,
    /// Time on the clock.
    pub wall: Duration,
}

/// A point of the time line.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Its name.
    pub stage: String,
    /// Since the emulator was started.
    pub wall: Duration,
    /// Of the emulator, until then.
    pub cpu: Duration,
}

/// What a run that went well showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The named points, the first one being "power-on".
    pub stamps: Vec<Stamp>,
    /// CPU time of the whole run.
    pub cpu: Duration,
    /// All lines.
    pub lines: Vec<String>,
}

/// How often limits are looked at when nothing is printed.
const TICK: Duration = Duration::from_millis(200);

/// How many lines of the end of the log an error shows.
const TAIL_LENGTH: usize = 40;

/// Boots the PC and waits for what is expected. The emulator is ended in any case.
///
/// # Errors
///
/// When a limit is reached, a forbidden line appears or the PC turns off too early: the awaited
/// line, the reason and the end of the serial log.
pub fn run(emulator: &Emulator, watch: &Watch, limits: Limits) -> Result<Report> {
    let _turn = take_turn()?;
    let Running {
        process,
        mut sent,
        typed,
        names: _names,
    } = emulator.start()?;
    let mut session = Session {
        watch,
        limits,
        emulator,
        pid: process.pids().first().copied().unwrap_or_default(),
        begun: Instant::now(),
        cpu: Duration::ZERO,
        lines: Lines::default(),
        seen: Vec::new(),
        next: 0,
        matches: 0,
        texts: BTreeSet::new(),
        current_used: false,
        stamps: Vec::new(),
        typed,
        log: watch
            .log
            .as_ref()
            .map(File::create)
            .transpose()
            .context("the log can't be made")?,
    };
    session.stamp("power-on");
    let (sender, pieces) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let sender = sender;
            let mut piece = [0; 4096];
            while let Ok(length) = sent.read(&mut piece) {
                if length == 0 || sender.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let outcome = session.follow(&pieces);
        // By its id, and waited for; the reader then sees the end of the pipe.
        let ended = process.kill();
        outcome.and(ended.context("the emulator can't be ended"))
    })?;
    session.check_rules()?;
    Ok(Report {
        stamps: session.stamps,
        cpu: session.cpu,
        lines: session.seen,
    })
}

struct Session<'a> {
    watch: &'a Watch,
    limits: Limits,
    emulator: &'a Emulator,
    pid: u32,
    begun: Instant,
    cpu: Duration,
    lines: Lines,
    seen: Vec<String>,
    /// Index of the awaited line.
    next: usize,
    /// How often that one was seen, and what its first group matched.
    matches: usize,
    texts: BTreeSet<String>,
    /// Whether the line that has not ended was already taken for an expectation.
    current_used: bool,
    stamps: Vec<Stamp>,
    typed: Box<dyn Write>,
    log: Option<File>,
}

impl Session<'_> {
    fn follow(&mut self, pieces: &Receiver<Vec<u8>>) -> Result<()> {
        loop {
            if self.next == self.watch.expect.len() && !self.watch.until_off {
                return Ok(());
            }
            match pieces.recv_timeout(TICK) {
                Ok(piece) => self.take(&piece)?,
                Err(RecvTimeoutError::Timeout) => self.measure(),
                Err(RecvTimeoutError::Disconnected) => return self.at_end(),
            }
            if self.cpu > self.limits.cpu {
                bail!(self.failure(&format!(
                    "{:.0} CPU seconds were used up",
                    self.limits.cpu.as_secs_f64()
                )));
            }
            if self.begun.elapsed() > self.limits.wall {
                bail!(self.failure(&format!(
                    "{:.0} seconds went by",
                    self.limits.wall.as_secs_f64()
                )));
            }
        }
    }

    fn at_end(&mut self) -> Result<()> {
        if self.next == self.watch.expect.len() {
            return Ok(());
        }
        let told = self.emulator.complaints().into_iter();
        let told: String = told
            .chain(self.emulator.violations())
            .map(|line| format!(" ({line})"))
            .collect();
        bail!(self.failure(&format!("the emulator ended{told}")))
    }

    /// A run is no success if the emulator saw a rule of the processor broken.
    fn check_rules(&self) -> Result<()> {
        let violations = self.emulator.violations();
        ensure!(
            violations.is_empty(),
            "the emulator named {} broken rules of the processor, the first being:\n  | {}",
            violations.len(),
            violations
                .iter()
                .take(TAIL_LENGTH)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("\n  | ")
        );
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        if let Some(log) = &mut self.log {
            log.write_all(piece).context("the log can't be written")?;
        }
        if self.watch.show {
            std::io::stderr()
                .write_all(piece)
                .context("the terminal can't be written")?;
        }
        self.measure();
        for line in self.lines.push(piece) {
            let used = std::mem::take(&mut self.current_used);
            self.seen.push(line.clone());
            self.look(&line, used)?;
        }
        let current = self.lines.current().to_owned();
        if !self.current_used && self.awaited().is_some_and(|e| e.line.is_match(&current)) {
            self.current_used = true;
            self.advance(&current)?;
        }
        Ok(())
    }

    fn look(&mut self, line: &str, used: bool) -> Result<()> {
        if self.next < self.watch.expect.len() || self.watch.until_off {
            for forbidden in &self.watch.forbid {
                if forbidden.is_match(line) {
                    bail!(self.failure(&format!("a line matched /{forbidden}/")));
                }
            }
        }
        if !used && self.awaited().is_some_and(|e| e.line.is_match(line)) {
            self.advance(line)?;
        }
        Ok(())
    }

    fn awaited(&self) -> Option<&Expectation> {
        self.watch.expect.get(self.next)
    }

    /// Counts a line that matches what is awaited.
    fn advance(&mut self, line: &str) -> Result<()> {
        let Some(expectation) = self.watch.expect.get(self.next) else {
            return Ok(());
        };
        let group = expectation.line.captures(line).and_then(|c| c.get(1));
        self.texts
            .extend(group.map(|text| text.as_str().to_owned()));
        self.matches += 1;
        if self.matches >= expectation.times {
            if self.texts.len() < expectation.different {
                bail!(self.failure(&format!(
                    "{} lines had {} different texts, not {}",
                    self.matches,
                    self.texts.len(),
                    expectation.different
                )));
            }
            self.next += 1;
            self.matches = 0;
            self.texts.clear();
            if let Some(stage) = &expectation.stage {
                self.stamp(stage);
            }
        }
        if let Some(text) = &expectation.send {
            self.typed
                .write_all(text.as_bytes())
                .context("nothing can be typed to the emulator")?;
        }
        Ok(())
    }

    fn stamp(&mut self, stage: &str) {
        self.stamps.push(Stamp {
            stage: stage.to_owned(),
            wall: self.begun.elapsed(),
            cpu: self.cpu,
        });
    }

    fn measure(&mut self) {
        // After its end the last figure stays.
        if let Some(cpu) = cpu_time::of_process(self.pid) {
            self.cpu = self.cpu.max(cpu);
        }
    }

    fn failure(&self, reason: &str) -> String {
        let mut text = match self.awaited() {
            Some(Expectation { line, times, .. }) => {
                let seen = match times {
                    0 | 1 => String::new(),
                    times => format!(", seen {} of {times} times", self.matches),
                };
                format!("{reason} while waiting for /{line}/{seen}")
            }
            None => format!("{reason} while waiting for the PC to turn off"),
        };
        let _ = write!(
            text,
            "\nafter {:.1} s and {:.1} CPU seconds; the serial line ended with:",
            self.begun.elapsed().as_secs_f64(),
            self.cpu.as_secs_f64()
        );
        let tail = self.seen.len().saturating_sub(TAIL_LENGTH);
        let current = Some(self.lines.current()).filter(|line| !line.is_empty());
        for line in self.seen[tail..].iter().map(String::as_str).chain(current) {
            let _ = write!(text, "\n  | {line}");
        }
        text
    }
}

fn once() -> usize {
    1
}

pub(crate) fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    let text = String::deserialize(deserializer)?;
    Regex::new(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bochs, Cpu, Program};

    /// One that is never started.
    fn emulator() -> Emulator {
        let bochs = Bochs {
            command: Vec::new(),
            environment: Vec::new(),
            firmware: PathBuf::new(),
            video_firmware: PathBuf::new(),
            cpu: Cpu::Amd,
        };
        Emulator {
            program: Program::Bochs(bochs),
            processors: 1,
            memory_mib: 1,
            disks: Vec::new(),
            folder: "/nowhere".into(),
        }
    }

    /// What a serial line with these lines leads to, all of them at once.
    fn follow(row: &str, lines: &str) -> Result<()> {
        let watch = Watch {
            expect: serde_yaml::from_str(row).unwrap(),
            until_off: true,
            ..Watch::default()
        };
        let emulator = emulator();
        let mut session = Session {
            watch: &watch,
            limits: Limits {
                cpu: Duration::MAX,
                wall: Duration::MAX,
            },
            emulator: &emulator,
            pid: 0,
            begun: Instant::now(),
            cpu: Duration::ZERO,
            lines: Lines::default(),
            seen: Vec::new(),
            next: 0,
            matches: 0,
            texts: BTreeSet::new(),
            current_used: false,
            stamps: Vec::new(),
            typed: Box::new(std::io::sink()),
            log: None,
        };
        session.take(lines.as_bytes())?;
        session.at_end()
    }

    const TWO_PLACES: &str = "[{line: '^at ([0-9a-f]+)', times: 3, different: 2}, {line: end}]";

    #[test]
    fn a_line_counts_as_often_as_it_says() {
        assert!(follow(TWO_PLACES, "at 1\nend\nat 2\nat 1\nend\n").is_ok());
        let error = follow(TWO_PLACES, "at 1\nat 2\nend\n").unwrap_err();
        assert!(error.to_string().contains("seen 2 of 3 times"), "{error}");
    }

    #[test]
    fn texts_that_should_differ_are_compared() {
        let error = follow(TWO_PLACES, "at 1\nat 1\nat 1\nend\n").unwrap_err();
        let said = "3 lines had 1 different texts, not 2";
        assert!(error.to_string().contains(said), "{error}");
    }
}
