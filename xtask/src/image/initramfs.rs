//! The control domain's initramfs: our programs, the kernel's modules, firmware for guests.

use super::cpio::Archive;
use super::kernel_modules::Modules;
use super::libraries;
use crate::context::{Context, read};
use crate::packages::{self, Store, Tree};
use crate::recipe::Recipe;
use crate::{progress, toolchain};
use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Folders that init mounts something on.
const FOLDERS: [&str; 8] = ["dev", "proc", "sys", "run", "tmp", "data", "etc", "root"];

/// The archive's bytes.
///
/// `modules` is the unpacked kernel package's folder of one `release`; `os_release` the text of
/// the file of that name.
pub fn build(
    context: &Context,
    store: &Store,
    recipe: &Recipe,
    modules: &Path,
    release: &str,
    os_release: &str,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    archive.file("etc/os-release", os_release.as_bytes().to_vec());
    archive.file(
        "etc/entente/modules",
        recipe
            .kernel
            .load
            .iter()
            .map(|name| format!("{name}\n"))
            .collect::<String>()
            .into_bytes(),
    );
    add_modules(&mut archive, recipe, modules, release)?;
    add_programs(&mut archive, context, recipe)?;
    add_package_files(&mut archive, context, store, recipe)?;
    add_packaged_programs(&mut archive, context, store, recipe)?;
    let bytes = archive.to_bytes();
    match recipe.compress_initramfs {
        true => compressed(&bytes),
        false => Ok(bytes),
    }
}

/// The same as gzip (RFC 1952), without a name and a date.
fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .context("the initramfs can't be compressed")
}

fn add_modules(archive: &mut Archive, recipe: &Recipe, folder: &Path, release: &str) -> Result<()> {
    let names = [
        recipe.kernel.modules.as_slice(),
        recipe.kernel.load.as_slice(),
    ]
    .concat();
    let modules = Modules::collect(folder, &names)?;
    let at = format!("lib/modules/{release}");
    for (path, content) in modules.files() {
        archive.file(&format!("{at}/{path}"), content.to_vec());
    }
    archive.file(
        &format!("{at}/modules.dep"),
        modules.dependency_table().into_bytes(),
    );
    archive.file(
        &format!("{at}/modules.alias"),
        modules.alias_table().into_bytes(),
    );
    for table in ["modules.builtin", "modules.builtin.modinfo"] {
        archive.file(&format!("{at}/{table}"), read(&folder.join(table))?);
    }
    Ok(())
}

fn add_programs(archive: &mut Archive, context: &Context, recipe: &Recipe) -> Result<()> {
    let bar = progress::bar("programs", recipe.programs.len() as u64);
    for program in &recipe.programs {
        bar.set_message(program.package.clone());
        let built = toolchain::build(context, &program.package, &program.target)?;
        archive.program(&program.path, read(&built)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn add_package_files(
    archive: &mut Archive,
    context: &Context,
    store: &Store,
    recipe: &Recipe,
) -> Result<()> {
    for file in &recipe.files {
        let folder = packages::unpacked(context, store, &file.package)?;
        let from = folder.join(&file.from);
        let content =
            read(&from).with_context(|| format!("the package {} lacks a file", file.package))?;
        let mode = std::fs::metadata(&from)
            .with_context(|| format!("{} can't be looked at", from.display()))?
            .permissions()
            .mode();
        match mode & 0o111 {
            0 => archive.file(&file.path, content),
            _ => archive.program(&file.path, content),
        }
    }
    Ok(())
}

fn add_packaged_programs(
    archive: &mut Archive,
    context: &Context,
    store: &Store,
    recipe: &Recipe,
) -> Result<()> {
    for program in &recipe.packaged_programs {
        let tree = Tree::unpack(context, store, &[&program.package])?;
        archive.program(&program.path, read(&tree.path(&program.from))?);
        for (path, content) in libraries::of_program(&tree.path(""), &program.from)? {
            archive.program(&path, content);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_compressed_archive_is_the_same_every_time() {
        let bytes = b"070701".repeat(1000);
        let once = compressed(&bytes).unwrap();
        assert!(once.len() < bytes.len() / 10);
        assert_eq!(once, compressed(&bytes).unwrap());
        let mut back = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(once.as_slice());
        decoder.read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
}
