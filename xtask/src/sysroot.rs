//! A freestanding target's library built by ourselves, for hosts where it can't be added to the
//! toolchain: core, alloc and compiler_builtins from the library's source.
//!
//! The project's own crates are then built by the same stable compiler as always, with
//! `--sysroot`; the bootstrap variable is set for the library alone.

use crate::context::{Context, create_folder, write};
use crate::{progress, toolchain};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a folder `library/` with the source of exactly this compiler's library, and asks for it
/// to be used even where the target is there.
const SOURCE_VARIABLE: &str = "ENTENTE_RUST_SOURCE";

/// The packages that are built, and where they lie in the source.
const PACKAGES: [(&str, &str); 3] = [
    ("core", "core"),
    ("alloc", "alloc"),
    ("compiler_builtins", "compiler-builtins/compiler-builtins"),
];

/// The library's source that a person named.
pub fn named_source() -> Option<PathBuf> {
    std::env::var_os(SOURCE_VARIABLE).map(PathBuf::from)
}

/// The library's source in the toolchain (its component `rust-src`).
pub fn toolchain_source() -> Result<Option<PathBuf>> {
    let folder = Path::new(&toolchain::sysroot()?).join("lib/rustlib/src/rust/library");
    Ok(folder.join("core").is_dir().then_some(folder))
}

/// Builds a target's library once, into the cache. Answers the folder for `--sysroot`.
pub fn build(context: &Context, target: &str, source: &Path) -> Result<PathBuf> {
    ensure!(
        target != toolchain::MUSL,
        "the library of {target} can't be built here; run: rustup target add {target}"
    );
    let commit = toolchain::commit()?;
    let sysroot = context
        .cache
        .join("sysroot")
        .join(format!("{target}-{commit}"));
    let into = sysroot.join("lib/rustlib").join(target).join("lib");
    if into.exists() {
        return Ok(sysroot);
    }
    let spinner = progress::spinner("Rust library");
    let seed = context.cache.join("sysroot").join(format!("{target}-seed"));
    write_seed(&seed, source)?;
    let flags = [
        "-Zforce-unstable-if-unmarked".to_owned(),
        "-Cembed-bitcode=yes".to_owned(),
        format!(
            "--remap-path-prefix={}=/rustc/{commit}/library",
            source.display()
        ),
    ];
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--offline",
            "--quiet",
            "--release",
            "--target",
            target,
        ])
        .current_dir(&seed)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", seed.join("target"));
    for (package, _) in PACKAGES {
        command.args(["--package", package]);
    }
    let output = command.output().context("cargo can't be started")?;
    ensure!(
        output.status.success(),
        "the library of {target} can't be built from {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let part = into.with_extension("part");
    create_folder(&part)?;
    for entry in walkdir::WalkDir::new(seed.join("target").join(target).join("release/deps")) {
        let path = entry
            .context("what cargo built can't be listed")?
            .into_path();
        if let (Some(name), Some("rlib")) = (
            path.file_name(),
            path.extension().and_then(|extension| extension.to_str()),
        ) {
            std::fs::copy(&path, part.join(name))
                .with_context(|| format!("{} can't be copied", path.display()))?;
        }
    }
    std::fs::rename(&part, &into)
        .with_context(|| format!("{} can't be written", into.display()))?;
    spinner.finish_and_clear();
    Ok(sysroot)
}

/// A package that depends on the library's and is itself never built.
fn write_seed(seed: &Path, source: &Path) -> Result<()> {
    let source = source
        .canonicalize()
        .with_context(|| format!("there is no folder {}", source.display()))?;
    let mut manifest = "[package]\nname = \"sysroot-seed\"\nversion = \"0.0.0\"\n\
        edition = \"2021\"\n[workspace]\n[profile.release]\ndebug = 0\npanic = \"abort\"\n\
        codegen-units = 1\n[dependencies]\n"
        .to_owned();
    for (package, folder) in PACKAGES {
        let path = source.join(folder);
        manifest.push_str(&format!(
            "{package} = {{ path = {:?} }}\n",
            path.display().to_string()
        ));
    }
    write(&seed.join("Cargo.toml"), manifest)?;
    write(
        &seed.join("src/lib.rs"),
        "#![feature(no_core)]\n#![no_core]\n",
    )?;
    std::fs::copy(source.join("Cargo.lock"), seed.join("Cargo.lock"))
        .with_context(|| format!("{} has no Cargo.lock", source.display()))?;
    Ok(())
}
