//! A guest's recipe: `image-recipes/guest-NAME.yaml`.

use crate::{digest, like, packages};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What starts a guest.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A BIOS, from an IDE disk.
    #[default]
    Bios,
    /// UEFI, from a disk at a SCSI controller of VMBus.
    Uefi,
}

impl Firmware {
    /// The disk's name in the machine's folder.
    pub fn disk(self) -> &'static str {
        match self {
            Self::Bios => "disk.vhd",
            Self::Uefi => "disk.vhdx",
        }
    }
}

/// One guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRecipe {
    /// Its name; the disk's identifiers are derived from it.
    pub name: String,
    /// What starts it.
    #[serde(default)]
    pub firmware: Firmware,
    /// Debian's packages; what they depend on comes along. Without any, there is no userland on the disk.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The Debian release that they are of, if it is not the usual one.
    #[serde(default)]
    pub release: Option<String>,
    /// Packages of that list that others come in place of.
    #[serde(default)]
    instead: BTreeMap<String, String>,
    /// In place of a userland: files of packages, by their paths on the disk.
    #[serde(default)]
    pub boot_files: BTreeMap<String, BootFile>,
    /// Folders whose content is left out of every package.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Path and content of files written after the packages were set up.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Shell commands run in the userland as its root after that.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Modules in GRUB's core for a BIOS; the one for UEFI is signed with those that it has.
    #[serde(default)]
    pub grub_modules: Vec<String>,
    /// Size of the disk in MiB.
    pub disk_mib: u64,
    /// What its machine.yaml says beside name and disks.
    machine: BTreeMap<String, serde_yaml::Value>,
}

/// A file of a package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// The package.
    pub package: String,
    /// The file's path in it.
    pub file: String,
}

/// In a file's content: the identifier of the root file system.
const ROOT_UUID: &str = "{root_uuid}";

impl GuestRecipe {
    /// Reads and checks a recipe.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut recipe: Self = serde_yaml::from_slice(text).context("the YAML is wrong")?;
        for (name, other) in std::mem::take(&mut recipe.instead) {
            let place = recipe.packages.iter_mut().find(|package| **package == name);
            *place.with_context(|| format!("instead: {name} is none of the packages"))? = other;
        }
        ensure!(
            (64..=65_536).contains(&recipe.disk_mib),
            "disk_mib is {}; 64 to 65536 are possible",
            recipe.disk_mib
        );
        ensure!(
            recipe.packages.is_empty() != recipe.boot_files.is_empty(),
            "a guest has either packages or boot_files"
        );
        ensure!(
            recipe.release.is_none() || recipe.boot_files.is_empty(),
            "boot_files are of the usual release alone"
        );
        let paths = recipe.exclude.iter().chain(recipe.files.keys());
        for path in paths.chain(recipe.boot_files.keys()) {
            let inside = path.strip_prefix('/');
            ensure!(
                inside.is_some_and(|p| p.split('/').all(|name| !name.is_empty() && name != "..")),
                "{path} is no full path"
            );
        }
        Ok(recipe)
    }

    /// Reads `guest-NAME.yaml` in a folder, which may be like another one there, as it is with a Debian release: what
    /// differs then is in `release-RELEASE.yaml`.
    pub fn read(folder: &Path, name: &str, release: Option<&str>) -> Result<Self> {
        let named = |name: &str| folder.join(format!("guest-{name}.yaml"));
        let differs = release.map(|release| folder.join(format!("release-{release}.yaml")));
        Self::parse(&like::read(&named(name), named, differs.as_deref())?)
            .with_context(|| format!("{} is no guest's recipe", named(name).display()))
    }

    /// Path, without the leading slash, and content of each file.
    pub fn files(&self) -> impl Iterator<Item = (&str, String)> {
        let uuid = digest::uuid_text(self.id("root file system"));
        self.files
            .iter()
            .map(move |(path, text)| (path.trim_start_matches('/'), text.replace(ROOT_UUID, &uuid)))
    }

    /// A package of the guest's release, as the store calls it.
    pub fn of_release(&self, name: &str) -> String {
        packages::of_release(self.release.as_deref(), name)
    }

    /// The packages that they are of, each once.
    pub fn packages_of_boot_files(&self) -> Vec<&str> {
        let packages = self.boot_files.values().map(|file| file.package.as_str());
        packages.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// An identifier of this guest.
    pub fn id(&self, role: &str) -> [u8; 16] {
        digest::derived_uuid(&format!("guest {}", self.name), role)
    }

    /// The text of machine.yaml, with one disk.
    pub fn machine_file(&self) -> Result<String> {
        let fields = serde_yaml::to_string(&self.machine).context("machine.yaml can't be made")?;
        let (controllers, controller) = match self.firmware {
            Firmware::Bios => ("", "ide"),
            Firmware::Uefi => ("scsi_controllers: 1\n", "scsi"),
        };
        Ok(format!(
            "name: {}\n{fields}{controllers}disks:\n  - {{controller: {controller}, location: 0, path: {}}}\n",
            self.name,
            self.firmware.disk()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
name: a
packages: [b]
files: {/etc/fstab: 'UUID={root_uuid} /'}
grub_modules: [ext2]
disk_mib: 64
machine: {generation: 1, memory_mib: 128}
";

    #[test]
    fn files_get_the_identifier() {
        let recipe = GuestRecipe::parse(TEXT.as_bytes()).unwrap();
        let uuid = digest::uuid_text(recipe.id("root file system"));
        let files: Vec<_> = recipe.files().collect();
        assert_eq!(files, [("etc/fstab", format!("UUID={uuid} /"))]);
    }

    #[test]
    fn the_machine_has_the_disk() {
        let text = GuestRecipe::parse(TEXT.as_bytes())
            .unwrap()
            .machine_file()
            .unwrap();
        assert_eq!(
            text,
            "name: a\ngeneration: 1\nmemory_mib: 128\ndisks:\n  \
             - {controller: ide, location: 0, path: disk.vhd}\n"
        );
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in ["etc/fstab", "/../x", "/", "/a//b"] {
            let text = TEXT.replace("/etc/fstab", path);
            assert!(GuestRecipe::parse(text.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn packages_take_the_place_of_others() {
        let recipe = GuestRecipe::parse(format!("{TEXT}instead: {{b: c}}\n").as_bytes()).unwrap();
        assert_eq!(recipe.packages, ["c"]);
        let error = GuestRecipe::parse(format!("{TEXT}instead: {{c: b}}\n").as_bytes());
        assert!(error.unwrap_err().to_string().contains("c is none"));
    }

    #[test]
    fn a_guest_has_packages_or_boot_files() {
        let both = format!("{TEXT}boot_files: {{/a: {{package: p, file: f}}}}\n");
        assert!(GuestRecipe::parse(both.as_bytes()).is_err());
        assert!(GuestRecipe::parse(TEXT.replace("[b]", "[]").as_bytes()).is_err());
        let files = both.replace("[b]", "[]");
        let recipe = GuestRecipe::parse(files.as_bytes()).unwrap();
        assert_eq!(recipe.boot_files["/a"].file, "f");
    }

    #[test]
    fn the_recipes_of_this_checkout_are_read() {
        let root = crate::context::Context::find(true).unwrap().root;
        let folder = root.join("image-recipes");
        let recipe = GuestRecipe::read(&folder, "debian", None).unwrap();
        assert_eq!(recipe.name, "debian");
        let netboot = GuestRecipe::read(&folder, "netboot", None).unwrap();
        assert_eq!(netboot.name, "netboot");
        let uefi = GuestRecipe::read(&folder, "debian-uefi", None).unwrap();
        assert_eq!(
            (uefi.name.as_str(), uefi.firmware),
            ("debian-uefi", Firmware::Uefi)
        );
        assert!(uefi.packages.len() > recipe.packages.len());
        assert!(uefi.machine_file().unwrap().contains("generation: 2\n"));
        let screen = GuestRecipe::read(&folder, "debian-screen", None).unwrap();
        assert_eq!(screen.packages.len(), uefi.packages.len());
        let has = |name: &str| screen.packages.iter().any(|package| package == name);
        assert!(has("linux-image-amd64") && !has("linux-image-cloud-amd64"));
        assert_eq!(screen.firmware, Firmware::Uefi);
        for release in ["bullseye", "bookworm"] {
            let older = GuestRecipe::read(&folder, "debian-uefi", Some(release)).unwrap();
            assert_eq!(older.of_release("bash"), format!("{release}/bash"));
            assert_eq!(older.name, uefi.name);
        }
    }
}
