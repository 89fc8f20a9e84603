//! The tables that depmod writes: which module answers to which alias, and what it needs.

use crate::alias_pattern;
use std::collections::BTreeMap;

/// `modules.dep` and `modules.alias` in memory.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    /// By name: the file and what must be loaded before it, paths below the modules folder.
    files: BTreeMap<String, ModuleFiles>,
    /// Pattern and module name.
    aliases: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct ModuleFiles {
    path: String,
    /// In the order of the file: what is needed last stands first.
    needs: Vec<String>,
}

impl ModuleIndex {
    /// Reads the text of `modules.dep` and of `modules.alias` (modules.dep(5)). Lines that don't
    /// have their form are passed over.
    pub fn parse(dependencies: &str, aliases: &str) -> Self {
        let files = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
                (
                    name_of(path),
                    ModuleFiles {
                        path: path.to_owned(),
                        needs,
                    },
                )
            })
            .collect();
        let aliases = aliases
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let (keyword, pattern, module) = (words.next()?, words.next()?, words.next()?);
                (keyword == "alias").then(|| (pattern.to_owned(), module.replace('-', "_")))
            })
            .collect();
        Self { files, aliases }
    }

    /// Names of the modules that answer to `alias`: a device's modalias or a module's own name.
    pub fn modules_for<'a>(&'a self, alias: &'a str) -> impl Iterator<Item = &'a str> {
        let own_name = self
            .files
            .get_key_value(&alias.replace('-', "_"))
            .map(|(name, _)| name);
        let by_pattern = self
            .aliases
            .iter()
            .filter(move |(pattern, _)| alias_pattern::matches(pattern, alias))
            .map(|(_, module)| module);
        own_name.into_iter().chain(by_pattern).map(String::as_str)
    }

    /// Files to load for `module`, in order, itself last; empty if there is no such module.
    pub fn load_order(&self, module: &str) -> Vec<&str> {
        let Some(files) = self.files.get(module) else {
            return Vec::new();
        };
        let needs = files.needs.iter().rev().map(String::as_str);
        needs.chain([files.path.as_str()]).collect()
    }

    /// Number of modules.
    pub fn len(&self) -> usize {
        self.files.len()
    }
}

/// Name of the module in the file `path`, as in /proc/modules: with underscores.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/dax/device_dax.ko:
kernel/drivers/ata/ata_piix.ko.xz: kernel/drivers/ata/libata.ko.xz kernel/drivers/scsi/scsi_mod.ko.xz kernel/drivers/scsi/scsi_common.ko.xz
kernel/drivers/net/virtio-net.ko:
broken line
";
    const ALIASES: &str = "\
# Aliases extracted from modules themselves.
alias dax:t0* device_dax
alias dax:t0* kmem
alias pci:v00008086d00007010sv*sd*bc*sc*i* ata_piix
alias virtio:d00000001v* virtio-net
alias short
";

    #[test]
    fn what_is_needed_comes_first() {
        let index = ModuleIndex::parse(DEPENDENCIES, ALIASES);
        assert_eq!(
            index.load_order("ata_piix"),
            [
                "kernel/drivers/scsi/scsi_common.ko.xz",
                "kernel/drivers/scsi/scsi_mod.ko.xz",
                "kernel/drivers/ata/libata.ko.xz",
                "kernel/drivers/ata/ata_piix.ko.xz"
            ]
        );
        assert_eq!(
            index.load_order("device_dax"),
            ["kernel/drivers/dax/device_dax.ko"]
        );
        assert!(index.load_order("none").is_empty());
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn devices_and_names_find_their_modules() {
        let index = ModuleIndex::parse(DEPENDENCIES, ALIASES);
        let found = |alias| {
            index
                .modules_for(alias)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("dax:t0"), ["device_dax", "kmem"]);
        assert_eq!(found("virtio:d00000001v00001AF4"), ["virtio_net"]);
        assert_eq!(found("virtio-net"), ["virtio_net"]);
        assert_eq!(found("ata_piix"), ["ata_piix"]);
        assert!(found("pci:v00001234").is_empty());
    }

    #[test]
    fn names_are_as_in_proc_modules() {
        assert_eq!(name_of("kernel/a-b.c/virtio-net.ko.xz"), "virtio_net");
        assert_eq!(name_of("dax_hmem.ko"), "dax_hmem");
        assert_eq!(name_of("plain"), "plain");
    }
}
