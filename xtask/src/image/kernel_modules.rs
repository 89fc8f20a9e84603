//! The kernel's modules: which are needed, and the tables that depmod would write.

use crate::context::read;
use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A module that goes into the image.
struct Module {
    /// Path below the release's folder, uncompressed.
    path: String,
    content: Vec<u8>,
    needs: Vec<String>,
    aliases: Vec<String>,
}

/// Modules by name, closed under dependency.
pub struct Modules {
    modules: BTreeMap<String, Module>,
}

impl Modules {
    /// Takes the named modules, and all that they depend on, from an unpacked kernel package's
    /// folder of one release (`…/lib/modules/RELEASE`).
    ///
    /// A name that the kernel has built in is passed over.
    pub fn collect(folder: &Path, names: &[String]) -> Result<Self> {
        let files = files(folder)?;
        let built_in = String::from_utf8_lossy(&read(&folder.join("modules.builtin"))?)
            .lines()
            .map(|line| name_of(Path::new(line)))
            .collect::<Vec<_>>();
        let mut modules = BTreeMap::new();
        let mut wanted: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
        while let Some(name) = wanted.pop() {
            if modules.contains_key(&name) || built_in.contains(&name) {
                continue;
            }
            let file = files
                .get(&name)
                .with_context(|| format!("the kernel has no module {name}"))?;
            let module = Module::read(folder, file)?;
            wanted.extend(module.needs.iter().cloned());
            modules.insert(name, module);
        }
        Ok(Self { modules })
    }

    /// Path below the release's folder and content of each.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let modules = self.modules.values();
        modules.map(|module| (module.path.as_str(), module.content.as_slice()))
    }

    /// The text of `modules.dep`: what must be loaded first stands last (modules.dep(5)).
    pub fn dependency_table(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            let mut order = Vec::new();
            self.load_order(name, &mut order);
            let needs = order.iter().rev().filter(|needed| *needed != name);
            let paths: Vec<&str> = needs
                .filter_map(|needed| self.modules.get(needed))
                .map(|needed| needed.path.as_str())
                .collect();
            text.push_str(&format!("{}: {}\n", module.path, paths.join(" ")));
        }
        text
    }

    /// The text of `modules.alias`.
    pub fn alias_table(&self) -> String {
        let aliases = self.modules.iter().flat_map(|(name, module)| {
            let aliases = module.aliases.iter();
            aliases.map(move |alias| format!("alias {alias} {name}\n"))
        });
        aliases.collect()
    }

    fn load_order(&self, name: &str, order: &mut Vec<String>) {
        if order.iter().any(|known| known == name) {
            return;
        }
        if let Some(module) = self.modules.get(name) {
            for needed in &module.needs {
                self.load_order(needed, order);
            }
            order.push(name.to_owned());
        }
    }
}

impl Module {
    fn read(folder: &Path, file: &Path) -> Result<Self> {
        let content = match file.extension() {
            Some(extension) if extension == "xz" => decompress(file)?,
            _ => read(file)?,
        };
        let information = information(&content)
            .with_context(|| format!("{} is no kernel module", file.display()))?;
        let values = |key: &str| {
            let pairs = information.iter().filter(|(k, _)| k == key);
            pairs.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let path = file.strip_prefix(folder).unwrap_or(file).with_extension("");
        let path = match file.extension() {
            Some(extension) if extension == "ko" => path.with_extension("ko"),
            _ => path,
        };
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            needs: values("depends")
                .iter()
                .flat_map(|list| list.split(','))
                .filter(|name| !name.is_empty())
                .map(|name| name.replace('-', "_"))
                .collect(),
            aliases: values("alias"),
            content,
        })
    }
}

/// `key=value` strings of the section `.modinfo`.
fn information(module: &[u8]) -> Result<Vec<(String, String)>> {
    let file = object::File::parse(module)?;
    let section = file
        .section_by_name(".modinfo")
        .context("there is no .modinfo section")?;
    Ok(section
        .data()?
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .filter_map(|entry| {
            let (key, value) = entry.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect())
}

fn decompress(file: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .context("xz can't be started; run: apt-get install xz-utils")?;
    ensure!(
        output.status.success(),
        "{} can't be decompressed",
        file.display()
    );
    Ok(output.stdout)
}

/// All modules of a release, by name.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let path = entry?.into_path();
        if path.is_file() && path.to_string_lossy().contains(".ko") {
            files.insert(name_of(&path), path);
        }
    }
    Ok(files)
}

/// The module's name as in /proc/modules: with underscores.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split(".ko").next().unwrap_or(&file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(entries: &[(&str, &[&str], &[&str])]) -> Modules {
        let modules = entries.iter().map(|(name, needs, aliases)| {
            let module = Module {
                path: format!("kernel/{name}.ko"),
                content: Vec::new(),
                needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            };
            ((*name).to_owned(), module)
        });
        Modules {
            modules: modules.collect(),
        }
    }

    #[test]
    fn what_is_needed_first_stands_last() {
        let table = modules(&[
            ("ahci", &["libahci", "libata"], &["pci:v1*"]),
            ("libahci", &["libata"], &[]),
            ("libata", &[], &[]),
        ]);
        assert_eq!(
            table.dependency_table(),
            "kernel/ahci.ko: kernel/libahci.ko kernel/libata.ko\n\
             kernel/libahci.ko: kernel/libata.ko\nkernel/libata.ko: \n"
        );
        assert_eq!(table.alias_table(), "alias pci:v1* ahci\n");
    }

    #[test]
    fn names_are_as_in_proc_modules() {
        assert_eq!(
            name_of(Path::new("kernel/a/nls_iso8859-1.ko.xz")),
            "nls_iso8859_1"
        );
    }
}
