//! An image's recipe: `image-recipes/NAME.yaml`, where everything that goes into it is named.

use crate::like;
use anyhow::{Context as _, Result};
use qemu_tests::EmulatorName;
use serde::Deserialize;
use std::path::Path;

/// The recipe that is built for an emulator when none is named; Bochs is too slow for all that is
/// in the other.
pub fn usual(emulator: EmulatorName) -> &'static str {
    match emulator {
        EmulatorName::Qemu => "first-light",
        EmulatorName::Bochs => "first-light-slim",
    }
}

/// One image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name of its files in `out/`.
    pub name: String,
    /// What os-release calls it.
    pub title: String,
    /// The workspace's package that is the UEFI executable.
    pub hypervisor: String,
    /// The control domain's kernel.
    pub kernel: Kernel,
    /// The kernel's command line, one option an entry.
    pub command_line: Vec<String>,
    /// The control domain's programs.
    pub programs: Vec<Program>,
    /// Files from distribution packages.
    #[serde(default)]
    pub files: Vec<PackageFile>,
    /// Programs from distribution packages; the libraries that they need come along.
    #[serde(default)]
    pub packaged_programs: Vec<PackageFile>,
    /// Whether the initramfs is compressed, where reading it costs more than unpacking it.
    #[serde(default)]
    pub compress_initramfs: bool,
    /// Size of the EFI system partition in MiB.
    pub esp_mib: u64,
    /// The disk that holds the machines.
    pub data: Data,
}

/// A distribution kernel and which of its modules come along.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The meta package that names the present one.
    pub meta_package: String,
    /// How the name of the kernel's own package starts.
    pub package_prefix: String,
    /// Modules that lie in the initramfs, with all that they depend on.
    pub modules: Vec<String>,
    /// Those of them that are loaded though no device asks for them.
    #[serde(default)]
    pub load: Vec<String>,
}

/// One program of the workspace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The workspace's package.
    pub package: String,
    /// Where it lies in the initramfs.
    pub path: String,
    /// The Rust target; static Linux unless named.
    #[serde(default = "musl")]
    pub target: String,
}

/// One file of a distribution package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile {
    /// The package.
    pub package: String,
    /// The file's path in it.
    pub from: String,
    /// Where it lies in the initramfs.
    pub path: String,
}

/// The data disk: one ext4 partition with a folder for each machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Size of the partition in MiB.
    pub size_mib: u64,
    /// The partition's name in the GPT, by which init finds it.
    pub label: String,
    /// The machine that is started when none is named.
    pub machine: String,
}

fn musl() -> String {
    crate::toolchain::MUSL.to_owned()
}

impl Recipe {
    /// Reads `image-recipes/NAME.yaml` of a checkout, which may be like another one there.
    pub fn read(root: &Path, name: &str) -> Result<Self> {
        let named = |name: &str| root.join("image-recipes").join(format!("{name}.yaml"));
        serde_yaml::from_slice(&like::read(&named(name), named, None)?)
            .with_context(|| format!("{} is no image recipe", named(name).display()))
    }
}
