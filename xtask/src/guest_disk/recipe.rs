//! A guest's recipe: `image-recipes/guest-NAME.yaml`.

use crate::digest;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRecipe {
    /// Its name; the disk's identifiers are derived from it.
    pub name: String,
    /// Debian's packages; what they depend on comes along.
    pub packages: Vec<String>,
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
        for path in recipe.exclude.iter().chain(recipe.files.keys()) {
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
    fn the_recipes_of_this_checkout_are_read() {
        let root = crate::context::Context::find(true).unwrap().root;
        let text = std::fs::read(root.join("image-recipes/guest-debian.yaml")).unwrap();
        let recipe = GuestRecipe::parse(&text).unwrap();
        assert_eq!(recipe.name, "debian");
    }
}
