//! `cargo xtask fuzz TARGET`: libFuzzer with the address sanitizer, for so many CPU seconds, and what it covered.
//!
//! The pinned compiler does it, as a nightly one that is not installed would; see `fuzz/README.md`. Inputs that are
//! new go into the target folder, not into the corpus that is kept.

use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use std::process::Command;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Runs a target; with no seconds, replays its corpus.
pub fn run(context: &Context, target: &str, seconds: u32) -> Result<()> {
    let sources = context.root.join("fuzz");
    let known = sources.join(format!("fuzz_targets/{target}.rs"));
    ensure!(
        known.is_file(),
        "there is no fuzz target {target}; fuzz/fuzz_targets lists them"
    );
    let folder = context.target.join("fuzz");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", TRIPLE])
        .args(["--bin", target, "--target-dir"])
        .arg(&folder)
        .current_dir(&sources)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .status()
        .context("cargo can't be started")?;
    ensure!(built.success(), "the fuzz target can't be built");
    let found = folder.join("inputs").join(target);
    std::fs::create_dir_all(&found)?;
    let mut fuzzer = Command::new(folder.join(TRIPLE).join("release").join(target));
    match seconds {
        0 => fuzzer.arg("-runs=0"),
        _ => fuzzer.arg(format!("-max_total_time={seconds}")).arg(&found),
    };
    fuzzer
        .arg(sources.join("corpus").join(target))
        .args(["-malloc_limit_mb=128", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", folder.display()));
    let ended = fuzzer.status().context("the fuzzer can't be started")?;
    ensure!(
        ended.success(),
        "{target} found something; the input lies in {}",
        folder.display()
    );
    Ok(())
}
