//! Rust targets, and the cross builds: the same bytes wherever the checkout lies.

use crate::context::Context;
use crate::sysroot;
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

/// Where a target's library comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Library {
    /// The toolchain's own.
    Prebuilt,
    /// Built by ourselves, into this folder for `--sysroot`.
    Built(PathBuf),
}

impl Library {
    /// How the image's manifest calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prebuilt => "prebuilt with the toolchain",
            Self::Built(_) => "built from its source",
        }
    }
}

/// Makes sure of the target's library: it is there, or is added to the toolchain, or is built from
/// its source.
pub fn ensure_target(context: &Context, target: &str) -> Result<Library> {
    if let Some(source) = sysroot::named_source()
        && target != MUSL
    {
        return Ok(Library::Built(sysroot::build(context, target, &source)?));
    }
    if has_target(target)? {
        return Ok(Library::Prebuilt);
    }
    eprintln!("adding the Rust target {target}");
    let status = Command::new("rustup")
        .args(["target", "add", target])
        .status();
    if status.is_ok_and(|status| status.success()) && has_target(target)? {
        return Ok(Library::Prebuilt);
    }
    let source = sysroot::toolchain_source()?.with_context(|| {
        format!(
            "the Rust target {target} is missing and can't be added; run: rustup target add {target}"
        )
    })?;
    Ok(Library::Built(sysroot::build(context, target, &source)?))
}

/// First line of `rustc --version`.
pub fn version() -> Result<String> {
    rustc(&["--version"])
}

/// The compiler's own folder.
pub fn sysroot() -> Result<String> {
    rustc(&["--print", "sysroot"])
}

/// The commit that the compiler was built from: names its library's version exactly.
pub fn commit() -> Result<String> {
    let verbose = rustc(&["-vV"])?;
    let commit = verbose
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "));
    Ok(commit.context("rustc -vV tells no commit hash")?.to_owned())
}

/// Builds one package in release and answers the program's file.
///
/// Paths are remapped, and the linker writes no time and no path, so two checkouts give the same
/// bytes. A stray `RUSTFLAGS` of the environment has no effect.
pub fn build(context: &Context, package: &str, target: &str) -> Result<PathBuf> {
    let library = ensure_target(context, target)?;
    let target_folder = context.target.join("image");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked", "--package", package])
        .args(["--target", target, "--target-dir"])
        .arg(&target_folder)
        .current_dir(&context.root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(context, target, &library)?)
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
fn flags(context: &Context, target: &str, library: &Library) -> Result<String> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        remap(&context.root, "/src"),
        remap(&context.target.join("image"), "/target"),
        remap(&cargo_home()?, "/cargo"),
        remap(
            &Path::new(&sysroot()?).join("lib/rustlib/src/rust"),
            &format!("/rustc/{}", commit()?),
        ),
    ];
    if target == UEFI {
        flags.push("-Clink-arg=/Brepro".into());
        flags.push("-Clink-arg=/DEBUG:NONE".into());
    }
    if let Library::Built(folder) = library {
        flags.push(format!("--sysroot={}", folder.display()));
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
