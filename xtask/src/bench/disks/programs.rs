//! The programs that are measured, and what they took.

use super::{Case, files::text};
use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ways in which QEMU reads and writes files through the page cache.
pub const WAYS: [&str; 2] = ["threads", "io_uring"];

/// Starts a program before all others of this host, of ours and of QEMU's alike: what else runs there would otherwise
/// be measured too, and to the good of whichever has more threads.
const ALONE: [&str; 3] = ["chrt", "--fifo", "10"];

/// What a run took.
pub struct Run {
    /// By the program's own account where it has one, else from start to end.
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// At its peak.
    pub memory_bytes: f64,
}

/// The middle one of some figures.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Between which two the middle one of all such figures is, with 95 of 100 chances (order statistics: each figure lies
/// above it or below it like a coin).
pub fn range_of_median(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let count = figures.len() as f64;
    let below = ((count - 1.96 * count.sqrt()) / 2.0).floor().max(0.0) as usize;
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    (at(below), at((figures.len() - 1).saturating_sub(below)))
}

/// Ours and QEMU's.
pub struct Programs {
    bench: PathBuf,
    /// Whether this user may use [`ALONE`].
    alone: bool,
}

impl Programs {
    /// Builds ours.
    pub fn build(context: &Context) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--locked"])
            .args([
                "--package",
                "disk-queue",
                "--example",
                "bench",
                "--target-dir",
            ])
            .arg(&context.target)
            .current_dir(&context.root)
            .status()
            .context("cargo can't be started")?;
        ensure!(status.success(), "the example bench can't be built");
        let [program, words @ ..] = ALONE;
        let tried = Command::new(program).args(words).arg("true").output();
        Ok(Self {
            bench: context.target.join("release/examples/bench"),
            alone: tried.is_ok_and(|output| output.status.success()),
        })
    }

    /// What is to be known of all figures.
    pub fn remark(&self) -> &'static str {
        match self.alone {
            true => "",
            false => "; beside whatever else ran, as root alone may go first",
        }
    }

    fn run(&self, words: &[&str]) -> Result<(String, String)> {
        self.start(Command::new(&self.bench), words)
    }

    fn start(&self, mut command: Command, words: &[&str]) -> Result<(String, String)> {
        let output = command
            .args(words)
            .output()
            .context("the example bench can't be started")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "{words:?}: {out}{err}");
        Ok((out, err))
    }

    fn measure(&self, words: &[&str]) -> Result<Run> {
        let words = [&["measure"], words].concat();
        let (out, err) = match self.alone {
            true => {
                let [program, options @ ..] = ALONE;
                let mut command = Command::new(program);
                command.args(options).arg(&self.bench);
                self.start(command, &words)?
            }
            false => self.run(&words)?,
        };
        let figure = |text: &str, before: &str| -> Option<f64> {
            let (_, rest) = text.split_once(before)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let of_measure = |before| {
            figure(&err, before).with_context(|| format!("{words:?} was not measured: {err}"))
        };
        Ok(Run {
            seconds: match figure(&out, "Run completed in ") {
                Some(seconds) => seconds,
                None => of_measure("wall ")?,
            },
            cpu_seconds: of_measure("cpu ")?,
            memory_bytes: of_measure("memory ")?,
        })
    }

    /// Ours makes requests.
    pub fn ours(&self, file: &Path, case: &Case) -> Result<Run> {
        let figures = [case.count(), case.depth, case.size, case.step()].map(|n| n.to_string());
        let [count, depth, size, step] = figures.each_ref().map(String::as_str);
        let bench = text(&self.bench)?;
        let mut words = vec![bench, "requests", text(file)?, "--count", count];
        words.extend(["--depth", depth, "--size", size, "--step", step]);
        words.extend(case.write.then_some("--write"));
        self.measure(&words)
    }

    /// QEMU makes the same.
    pub fn qemu(&self, file: &Path, format: &str, way: &str, case: &Case) -> Result<Run> {
        let figures = [case.count(), case.depth, case.size, case.step()].map(|n| n.to_string());
        let [count, depth, size, step] = figures.each_ref().map(String::as_str);
        let mut words = vec!["qemu-img", "bench", "-f", format, "-i", way, "-c", count];
        words.extend(["-d", depth, "-s", size, "-S", step]);
        if case.write {
            words.extend(["-w", "--pattern=165"]);
        }
        words.push(text(file)?);
        self.measure(&words)
    }

    /// Ours opens a disk.
    pub fn open_ours(&self, file: &Path) -> Result<Run> {
        self.measure(&[text(&self.bench)?, "open", text(file)?])
    }

    /// QEMU opens a VHDX.
    pub fn open_qemu(&self, file: &Path) -> Result<Run> {
        self.measure(&["qemu-io", "-r", "-f", "vhdx", "-c", "quit", text(file)?])
    }

    /// Reads into the page cache what of a file is not there.
    pub fn warm(&self, file: &Path) -> Result<()> {
        self.run(&["warm", text(file)?]).map(drop)
    }

    /// Writes a file out, and drops it from the page cache.
    pub fn forget(&self, file: &Path) -> Result<()> {
        self.run(&["forget", text(file)?]).map(drop)
    }

    /// Puts empty children on a VHDX. Answers the last one.
    pub fn chain(&self, base: &Path, children: u32) -> Result<PathBuf> {
        let (out, _) = self.run(&["chain", text(base)?, &children.to_string()])?;
        Ok(PathBuf::from(out.trim()))
    }

    /// Makes an empty disk by QEMU.
    pub fn create(&self, file: &Path, format: &str, options: &[&str], size: &str) -> Result<()> {
        let words = [
            &["create", "-q", "-f", format],
            options,
            &[text(file)?, size],
        ]
        .concat();
        tool("qemu-img", &words)
    }

    /// Has QEMU write all of a disk.
    pub fn fill(&self, file: &Path, format: &str) -> Result<()> {
        let count = (super::files::SIZE >> 20).to_string();
        let mut words = vec!["bench", "-f", format, "-w", "--pattern=90", "-d", "1", "-c"];
        words.extend([&count, "-s", "1M", "-S", "1M", text(file)?]);
        tool("qemu-img", &words)
    }
}

fn tool(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("{program} can't be started"))?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {words:?}: {err}");
    Ok(())
}
