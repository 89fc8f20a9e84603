//! Programs that the host must have, and the packages that bring them.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, the package that has it, and what it is for.
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// What needs it.
    pub purpose: &'static str,
}

/// All that any command needs beside Rust.
pub const TOOLS: [Tool; 16] = [
    tool("apt-get", "apt", "fetches distribution packages"),
    tool("dpkg-deb", "dpkg", "unpacks distribution packages"),
    tool("cc", "gcc", "links xtask itself"),
    tool("xz", "xz-utils", "unpacks kernel modules"),
    tool("mke2fs", "e2fsprogs", "makes the data partition"),
    tool("debugfs", "e2fsprogs", "gives its files one owner and date"),
    tool("qemu-system-x86_64", "qemu-system-x86", "boots the image"),
    tool("setpriv", "util-linux", "ends the emulator with its caller"),
    tool("git", "git", "lists the source for the second build"),
    tool("qemu-img", "qemu-utils", "makes and checks guests' disks"),
    tool("qemu-io", "qemu-utils", "opens disks in bench disks"),
    tool("7z", "7zip", "reads guests' disks in tests"),
    tool("vhdimount", "libvhdi-utils", "reads disks in tests"),
    tool("swtpm", "swtpm", "is the TPM in tests"),
    tool(
        "e2fsck",
        "e2fsprogs",
        "checks guests' file systems in tests",
    ),
    tool("busybox", "busybox-static", "reads archives in tests"),
];

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool {
        program,
        package,
        purpose,
    }
}

/// Where a program lies; system folders are looked through even where `PATH` leaves them out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Packages of the missing ones among these programs, each once.
pub fn missing(programs: &[&str]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = TOOLS
        .iter()
        .filter(|tool| programs.contains(&tool.program) && find(tool.program).is_none())
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Makes sure of these programs: installs what is missing when run by root, else names the
/// command that does.
pub fn require(programs: &[&str]) -> Result<()> {
    install(&missing(programs))
}

/// Installs packages, or fails with the command that would.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    ensure!(
        is_root() && find("apt-get").is_some(),
        "this host lacks {}; run: sudo {command}",
        packages.join(", ")
    );
    eprintln!("installing {}", packages.join(", "));
    let run = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(["--quiet=2", "--yes"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let install = [&["install", "--no-install-recommends"], packages].concat();
    ensure!(
        run(&install) || (run(&["update"]) && run(&install)),
        "the packages can't be installed; run: {command}"
    );
    Ok(())
}

/// Whether this process may install packages: the owner of its own entry in /proc.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|entry| entry.uid() == 0)
}
