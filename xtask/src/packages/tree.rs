//! Programs of distribution packages, run from the cache.
//!
//! A tree holds packages with all that they depend on, unpacked over each other. A program of it is
//! started by the tree's own dynamic loader with the tree's own libraries: neither the host's C
//! library nor what is installed there matters, and nothing needs root.

use super::{Package, Store, unpack};
use crate::context::{Context, create_folder};
use crate::{digest, progress};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The dynamic loader, and where it finds libraries.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: [&str; 2] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
];

/// One tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The named packages and what they need, unpacked once for each set of versions.
    pub fn unpack(context: &Context, store: &Store, names: &[&str]) -> Result<Self> {
        let packages = store.fetch_with_dependencies(names)?;
        let first = names.first().context("a tree has packages")?;
        let key = key(&packages);
        let root = context.cache.join(format!("trees/{first}-{}", &key[..16]));
        if !root.exists() {
            let part = root.with_extension("part");
            if part.exists() {
                std::fs::remove_dir_all(&part)
                    .with_context(|| format!("{} can't be removed", part.display()))?;
            }
            create_folder(&part)?;
            let bar = progress::bar("unpacking", packages.len() as u64);
            for package in &packages {
                bar.set_message(package.name.clone());
                unpack(&package.path, &part)?;
                bar.inc(1);
            }
            bar.finish_and_clear();
            std::fs::rename(&part, &root)
                .with_context(|| format!("{} can't be written", root.display()))?;
        }
        Ok(Self { root })
    }

    /// A file of the tree, by its path from the root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The command line that starts a program of the tree; its arguments follow.
    pub fn program(&self, path: &str) -> Vec<OsString> {
        let libraries = LIBRARIES.map(|folder| self.path(folder).display().to_string());
        vec![
            self.path(LOADER).into(),
            "--library-path".into(),
            libraries.join(":").into(),
            self.path(path).into(),
        ]
    }

    /// The same as a command that can be given arguments.
    pub fn command(&self, path: &str) -> Command {
        let mut command = Command::new(self.path(LOADER));
        command.args(self.program(path).into_iter().skip(1));
        command
    }
}

/// SHA-256 over names and versions.
fn key(packages: &[Package]) -> String {
    let lines = packages
        .iter()
        .map(|package| format!("{} {}\n", package.name, package.version));
    digest::of_bytes(lines.collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_by_the_trees_own_loader() {
        let tree = Tree {
            root: "/trees/a".into(),
        };
        let line = tree.program("usr/bin/b");
        assert_eq!(line[0], "/trees/a/usr/lib64/ld-linux-x86-64.so.2");
        assert_eq!(line[3], "/trees/a/usr/bin/b");
    }

    #[test]
    fn another_version_is_another_tree() {
        let package = |version: &str| Package {
            name: "a".into(),
            version: version.into(),
            path: "/a.deb".into(),
        };
        assert_ne!(key(&[package("1")]), key(&[package("2")]));
    }
}
