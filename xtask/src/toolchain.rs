//! Rust targets, and the cross builds: the same bytes wherever the checkout lies.

use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The hypervisor's target.
pub const UEFI: &str = "x86_64-unknown-uefi";
/// The userland's target: static, no C library of the host.
pub const MUSL: &str = "x86_64-unknown-linux-musl";
/// Freestanding programs for inside a guest.
pub const NONE: &str = "x86_64-unknown-none";

/// All targets that the pipeline builds for.
pub const TARGETS: [&str; 3] = [UEFI, MUSL, NONE];

/// Whether the toolchain has the target's library. Its folder can exist and be empty.
pub fn has_target(target: &str) -> Result<bool> {
    let folder = rustc(&["--print", "target-libdir", "--target", target])?;
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(false);
    };
    Ok(entries
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// Adds the target to the toolchain if it is not there. Answers where its library came from, for
/// the image's manifest.
pub fn ensure_target(target: &str) -> Result<&'static str> {
    if !has_target(target)? {
        eprintln!("adding the Rust target {target}");
        let status = Command::new("rustup")
            .args(["target", "add", target])
            .status();
        let added = status.is_ok_and(|status| status.success()) && has_target(target)?;
        ensure!(
            added,
            "the Rust target {target} is missing and can't be added; run: rustup target add {target}"
        );
    }
    Ok("prebuilt with the toolchain")
}

/// First line of `rustc --version`.
pub fn version() -> Result<String> {
    rustc(&["--version"])
}

/// Builds one package in release and answers the program's file.
///
/// Paths are remapped, and the linker writes no time and no path, so two checkouts give the same
/// bytes. A stray `RUSTFLAGS` of the environment has no effect.
pub fn build(context: &Context, package: &str, target: &str) -> Result<PathBuf> {
    ensure_target(target)?;
    let target_folder = context.target.join("image");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked", "--package", package])
        .args(["--target", target, "--target-dir"])
        .arg(&target_folder)
        .current_dir(&context.root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(context, target)?)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .env_remove("CARGO_BUILD_RUSTFLAGS");
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    let name = match target {
        UEFI => format!("{package}.efi"),
        _ => package.to_owned(),
    };
    let program = target_folder.join(target).join("release").join(name);
    let status = command.status().context("cargo can't be started")?;
    if !status.success() && context.stale && program.exists() {
        eprintln!("warning: the last build of {package} is used, since it can't be built now");
        return Ok(program);
    }
    ensure!(
        status.success(),
        "the package {package} can't be built for {target}"
    );
    ensure!(
        program.exists(),
        "building {package} for {target} left no {}",
        program.display()
    );
    Ok(program)
}

/// Flags in cargo's encoded form: separated by the byte 0x1f. Of the remaps, the last that
/// matches counts.
fn flags(context: &Context, target: &str) -> Result<String> {
    let sysroot = rustc(&["--print", "sysroot"])?;
    let verbose = rustc(&["-vV"])?;
    let commit = verbose
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))
        .context("rustc -vV tells no commit hash")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        remap(&context.root, "/src"),
        remap(&context.target.join("image"), "/target"),
        remap(&cargo_home()?, "/cargo"),
        remap(
            &Path::new(&sysroot).join("lib/rustlib/src/rust"),
            &format!("/rustc/{commit}"),
        ),
    ];
    if target == UEFI {
        flags.push("-Clink-arg=/Brepro".into());
        flags.push("-Clink-arg=/DEBUG:NONE".into());
    }
    Ok(flags.join("\x1f"))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(folder.into());
    }
    let home = std::env::home_dir().context("neither CARGO_HOME nor HOME is set")?;
    Ok(home.join(".cargo"))
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc")
        .args(arguments)
        .output()
        .context("rustc can't be started")?;
    ensure!(
        output.status.success(),
        "rustc {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
