//! A guest's recipe: `image-recipes/guest-NAME.yaml`.

use crate::digest;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRecipe {
    /// Its name; the disk's identifiers are derived from it.
    pub name: String,
    /// Debian's packages; what they depend on comes along. Without any, there is no userland on the disk.
    #[serde(default)]
    pub packages: Vec<String>,
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
    /// Modules in GRUB's core.
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
        let recipe: Self = serde_yaml::from_slice(text).context("the YAML is wrong")?;
        ensure!(
            (64..=65_536).contains(&recipe.disk_mib),
            "disk_mib is {}; 64 to 65536 are possible",
            recipe.disk_mib
        );
        ensure!(
            recipe.packages.is_empty() != recipe.boot_files.is_empty(),
            "a guest has either packages or boot_files"
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

    /// Path, without the leading slash, and content of each file.
    pub fn files(&self) -> impl Iterator<Item = (&str, String)> {
        let uuid = digest::uuid_text(self.id("root file system"));
        self.files
            .iter()
            .map(move |(path, text)| (path.trim_start_matches('/'), text.replace(ROOT_UUID, &uuid)))
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
    pub fn machine_file(&self, disk: &str) -> Result<String> {
        let fields = serde_yaml::to_string(&self.machine).context("machine.yaml can't be made")?;
        Ok(format!(
            "name: {}\n{fields}disks:\n  - {{controller: ide, location: 0, path: {disk}}}\n",
            self.name
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
            .machine_file("d.vhd")
            .unwrap();
        assert_eq!(
            text,
            "name: a\ngeneration: 1\nmemory_mib: 128\ndisks:\n  \
             - {controller: ide, location: 0, path: d.vhd}\n"
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
        for name in ["debian", "netboot"] {
            let path = root.join(format!("image-recipes/guest-{name}.yaml"));
            let recipe = GuestRecipe::parse(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(recipe.name, name);
        }
    }
}
