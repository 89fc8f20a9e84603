//! `cargo xtask fuzz TARGET`: libFuzzer with the address sanitizer, for so many CPU seconds, and which lines it reached.
//!
//! The pinned compiler does it, as a nightly one would; see `fuzz/README.md`. Inputs that are new go into the target
//! folder, not into the corpus that is kept. Lines are counted by replaying both in a build of its own, as the
//! sanitizer's counters know no lines.

use crate::context::Context;
use crate::host;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const FUZZING: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
const COUNTING: &str = "-Cinstrument-coverage --cfg fuzzing";
/// Debian's: it reads what the pinned compiler's LLVM, a later one, writes.
const PROFILE_TOOL: &str = "llvm-profdata-19";
const REPORT_TOOL: &str = "llvm-cov-19";
const TOOLS_PACKAGE: &str = "llvm-19";
/// Whose lines are not counted: others' code, and what only tests have.
const NOT_COUNTED: &str = r"\.cargo/|/rustc/|/fuzz/|-fuzz/|-testing/";
/// What libFuzzer answers when it was told to stop.
const STOPPED: i32 = 72;
/// How often it is looked at how much time was used.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Ticks in a second, in `/proc/PID/stat` (`USER_HZ` of x86).
const TICKS: u64 = 100;

/// Runs a target for so many CPU seconds, or, with none, replays its corpus; then prints the lines that were reached.
pub fn run(context: &Context, target: &str, seconds: u32) -> Result<()> {
    let sources = context.root.join("fuzz");
    let known = sources.join(format!("fuzz_targets/{target}.rs"));
    ensure!(
        known.is_file(),
        "there is no fuzz target {target}; fuzz/fuzz_targets lists them"
    );
    if host::find(REPORT_TOOL).is_none() {
        host::install(&[TOOLS_PACKAGE])?;
    }
    let folder = context.target.join("fuzz");
    let program = build(&sources, target, &folder, FUZZING)?;
    let found = folder.join("inputs").join(target);
    std::fs::create_dir_all(&found)?;
    let corpus = sources.join("corpus").join(target);
    let mut fuzzer = Command::new(program);
    fuzzer
        .args([&found, &corpus])
        .args([
            "-malloc_limit_mb=128",
            "-timeout=60",
            // What a thread has that is just ending looks like a leak.
            "-detect_leaks=0",
            "-print_final_stats=1",
        ])
        .arg(format!("-artifact_prefix={}/", folder.display()));
    if seconds == 0 {
        fuzzer.arg("-runs=0");
    }
    let child = fuzzer.spawn().context("the fuzzer can't be started")?;
    let ended = wait(child, seconds)?;
    ensure!(
        ended.success() || ended.code() == Some(STOPPED),
        "{target} found something; the input lies in {}",
        folder.display()
    );
    count_lines(context, &sources, target, &[&found, &corpus])
}

/// Builds a target into a folder of its own. Answers the program.
fn build(sources: &Path, target: &str, folder: &Path, flags: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--release", "--target", TRIPLE])
        .args(["--bin", target, "--target-dir"])
        .arg(folder)
        .current_dir(sources)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .status()
        .context("cargo can't be started")?;
    ensure!(built.success(), "the fuzz target can't be built");
    Ok(folder.join(TRIPLE).join("release").join(target))
}

/// Waits for the end of a process, and has it stop after so many CPU seconds, if there are any.
fn wait(mut child: Child, seconds: u32) -> Result<ExitStatus> {
    let mut told = seconds == 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if !told && cpu_seconds(child.id()) >= u64::from(seconds) {
            let process = child.id().to_string();
            Command::new("kill").args(["-INT", &process]).status()?;
            told = true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What a process has used: fields 14 and 15 of its `stat`, behind its name in brackets.
fn cpu_seconds(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    let fields = behind.split(' ').skip(11).take(2);
    fields
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>()
        / TICKS
}

/// Replays folders of inputs, and prints which lines of which files they reach.
fn count_lines(context: &Context, sources: &Path, target: &str, inputs: &[&PathBuf]) -> Result<()> {
    let folder = context.target.join("fuzz-coverage");
    let program = build(sources, target, &folder, COUNTING)?;
    let (raw, profile) = (
        folder.join(format!("{target}.profraw")),
        folder.join(format!("{target}.profdata")),
    );
    let replayed = Command::new(&program)
        .arg("-runs=0")
        .args(inputs)
        .env("LLVM_PROFILE_FILE", &raw)
        .stderr(std::process::Stdio::null())
        .status();
    ensure!(
        replayed.context("the replay can't be started")?.success(),
        "an input can't be replayed"
    );
    let merge = ["merge", "-sparse", "-o"];
    let mut merging = Command::new(PROFILE_TOOL);
    let merged = merging.args(merge).arg(&profile).arg(&raw).status();
    ensure!(
        merged.context("the profile can't be read")?.success(),
        "{PROFILE_TOOL} does not understand the compiler's profile"
    );
    let reported = Command::new(REPORT_TOOL)
        .arg("report")
        .arg(&program)
        .arg(format!("-instr-profile={}", profile.display()))
        .arg(format!("-ignore-filename-regex={NOT_COUNTED}"))
        .args(["-show-region-summary=0", "-show-branch-summary=0"])
        .output()
        .context("the lines can't be listed")?;
    ensure!(
        reported.status.success(),
        "{REPORT_TOOL} does not understand the compiler's profile"
    );
    print!("{}", by_crate(&String::from_utf8_lossy(&reported.stdout)));
    Ok(())
}

/// Sums a report up: a line for each crate that was reached. Columns are the file, functions (all, missed, part), lines (all, missed, part).
fn by_crate(report: &str) -> String {
    let mut crates: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in report.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[file, _, _, _, lines, missed, _] = columns.as_slice() else {
            continue;
        };
        let (Some((name, _)), Ok(lines), Ok(missed)) = (
            file.split_once("/src/"),
            lines.parse::<u64>(),
            missed.parse::<u64>(),
        ) else {
            continue;
        };
        let of_crate = crates.entry(name).or_default();
        *of_crate = (of_crate.0 + lines - missed.min(lines), of_crate.1 + lines);
    }
    let mut text = "lines reached\n".to_owned();
    for (name, (reached, lines)) in crates.into_iter().filter(|(_, (reached, _))| *reached > 0) {
        let part = reached * 100 / lines.max(1);
        text += &format!("  {name:<40} {reached:>5} of {lines:>5}  {part:>3} %\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::by_crate;

    #[test]
    fn lines_are_summed_up_by_crate() {
        let report = "Filename  Functions  Missed Functions  Executed  Lines  Missed Lines  Cover\n\
            a/src/one.rs  4  4  0.00%  16  16  0.00%\na/src/sub/two.rs  2  1  50.00%  4  1  75.00%\n\
            b/src/lib.rs  4  4  0.00%  16  16  0.00%\n---\nTOTAL  10  9  10.00%  36  33  8.00%\n";
        let text = by_crate(report);
        assert!(
            text.contains("3 of    20   15 %") && !text.contains("  b"),
            "{text}"
        );
    }
}
