//! `cargo xtask repro`: the image once here and once in a copy elsewhere; the bytes must agree.

use crate::context::{Context, create_folder, read};
use crate::image::{self, Changes, Image};
use crate::recipe::Recipe;
use crate::{digest, progress};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds twice and compares; the error explains the first difference.
pub fn run(context: &Context, recipe: &Recipe) -> Result<()> {
    let spinner = progress::spinner("repro");
    let elsewhere = Elsewhere::create(context)?;
    let first = Context {
        out: elsewhere.folder.join("first"),
        ..context.clone()
    };
    let second = Context {
        root: elsewhere.folder.join("a copy/of the source"),
        out: elsewhere.folder.join("second"),
        target: elsewhere.folder.join("build"),
        cache: context.cache.clone(),
        locked: true,
        stale: false,
    };
    copy_source(&context.root, &second.root)?;
    let first = image::build(&first, recipe, &Changes::default())?;
    let second = image::build(&second, recipe, &Changes::default())
        .context("the copy of the source can't be built")?;
    compare(&first, &second)?;
    spinner.finish_and_clear();
    println!("{}  {}", digest::of_file(&first.disk)?, recipe.name);
    Ok(())
}

fn compare(first: &Image, second: &Image) -> Result<()> {
    // From the parts to the whole, so that the first difference is the one that explains most.
    for (one, other) in [
        (&first.kernel, &second.kernel),
        (&first.initramfs, &second.initramfs),
        (&first.unified, &second.unified),
        (&first.disk, &second.disk),
    ] {
        let (a, b) = (read(one)?, read(other)?);
        if a == b {
            continue;
        }
        let at = a
            .iter()
            .zip(&b)
            .position(|(x, y)| x != y)
            .unwrap_or(a.len().min(b.len()));
        let name = one.file_name().unwrap_or_default().to_string_lossy();
        bail!(
            "{name} differs from offset {at:#x} on: {} bytes {:02x?} here, {} bytes {:02x?} there",
            a.len(),
            excerpt(&a, at),
            b.len(),
            excerpt(&b, at)
        );
    }
    Ok(())
}

fn excerpt(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[at.min(bytes.len())..bytes.len().min(at.saturating_add(16))]
}

/// Copies what git knows or would add, and nothing else.
fn copy_source(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(from)
        .output()
        .context("git can't be started")?;
    ensure!(
        output.status.success(),
        "git can't list the files of {}",
        from.display()
    );
    for name in output.stdout.split(|byte| *byte == 0) {
        let name = PathBuf::from(String::from_utf8_lossy(name).into_owned());
        // A file can be deleted and not yet committed so.
        if !from.join(&name).is_file() {
            continue;
        }
        let target = to.join(&name);
        create_folder(target.parent().unwrap_or(to))?;
        std::fs::copy(from.join(&name), &target)
            .with_context(|| format!("{} can't be copied", name.display()))?;
    }
    Ok(())
}

/// A folder outside the checkout that is removed at the end.
struct Elsewhere {
    folder: PathBuf,
}

impl Elsewhere {
    fn create(context: &Context) -> Result<Self> {
        let key = digest::of_bytes(context.root.as_os_str().as_encoded_bytes());
        let name = format!("entente-repro-{}-{}", &key[..8], std::process::id());
        let folder = std::env::temp_dir().join(name);
        create_folder(&folder)?;
        Ok(Self { folder })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Nothing is lost when it stays.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
