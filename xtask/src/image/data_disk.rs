//! The disk that holds the machines: one ext4 partition, filled without root.
//!
//! Files keep nothing of the host: owner, dates and identifiers are set afterwards.

use super::partition_table::{self, Part};
use crate::context::{Context, EPOCH_SECONDS};
use crate::recipe::Recipe;
use crate::{digest, host};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the file system can do; named one by one, since the defaults differ between hosts.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,\
    flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Makes `out/NAME-data.img` from a folder that becomes the root of the file system.
pub fn build(context: &Context, recipe: &Recipe, folder: &Path) -> Result<PathBuf> {
    host::require(&["mke2fs", "debugfs"])?;
    let path = super::data_disk_path(context, recipe);
    let seed = format!("{} data", recipe.name);
    let size = recipe.data.size_mib << 20;
    let part = Part {
        label: recipe.data.label.clone(),
        kind: gpt::partition_types::LINUX_FS,
        size,
    };
    let (_, offsets) = partition_table::create(&path, &seed, &[part])?;
    let offset = offsets.first().context("the table has no partition")?;
    format_ext4(&path, *offset, size, &seed, folder)?;
    settle(&path, *offset, folder)?;
    Ok(path)
}

/// Makes an ext4 file system in a file, from `offset` on, with what is in `folder`.
pub fn format_ext4(path: &Path, offset: u64, size: u64, seed: &str, folder: &Path) -> Result<()> {
    let uuid = |role| digest::uuid_text(digest::derived_uuid(seed, role));
    let extended = format!(
        "offset={offset},hash_seed={},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,\
         nodiscard",
        uuid("directory hash")
    );
    let output = command("mke2fs")?
        .args([
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0",
        ])
        .args(["-O", FEATURES, "-E", &extended, "-U", &uuid("file system")])
        .arg("-d")
        .arg(folder)
        .arg(path)
        .arg(format!("{}k", size >> 10))
        .output()
        .context("mke2fs can't be started")?;
    ensure!(
        output.status.success(),
        "the data partition can't be made:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Gives everything in the file system to root, and the one date.
fn settle(path: &Path, offset: u64, folder: &Path) -> Result<()> {
    let mut script = String::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.context("the machines' folder can't be read")?;
        let inside = entry
            .path()
            .strip_prefix(folder)
            .unwrap_or(entry.path())
            .display()
            .to_string();
        ensure!(
            !inside.contains(['"', '\n']),
            "{inside:?} can't be named to debugfs"
        );
        let mode = if entry.file_type().is_dir() {
            "040755"
        } else {
            "0100644"
        };
        let fields = [("mode", mode), ("uid", "0"), ("gid", "0")];
        for (field, value) in fields {
            let _ = writeln!(script, "set_inode_field \"/{inside}\" {field} {value}");
        }
        for field in ["atime", "mtime", "ctime", "crtime"] {
            let _ = writeln!(
                script,
                "set_inode_field \"/{inside}\" {field} @{EPOCH_SECONDS}"
            );
            // The part below a second lies in a field of its own.
            let _ = writeln!(script, "set_inode_field \"/{inside}\" {field}_extra 0");
        }
    }
    let mut child = command("debugfs")?
        .args(["-w", "-f", "-"])
        .arg(format!("{}?offset={offset}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("debugfs can't be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(script.as_bytes())
            .context("debugfs can't be written to")?;
    }
    let output = child
        .wait_with_output()
        .context("debugfs can't be waited for")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said
        .lines()
        .find(|line| !line.starts_with("debugfs ") && !line.is_empty());
    ensure!(
        output.status.success() && complaint.is_none(),
        "the data partition's files can't be settled: {}",
        complaint.unwrap_or("debugfs failed")
    );
    Ok(())
}

/// One of e2fsprogs' programs, with the clock and the configuration taken away.
fn command(program: &str) -> Result<Command> {
    let path = host::find(program).with_context(|| format!("{program} is missing"))?;
    let mut command = Command::new(path);
    command
        .env("E2FSPROGS_FAKE_TIME", EPOCH_SECONDS.to_string())
        .env("SOURCE_DATE_EPOCH", EPOCH_SECONDS.to_string())
        .env("MKE2FS_CONFIG", "/dev/null");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_of_other_dates_give_the_same_bytes() {
        let base = std::env::temp_dir().join(format!("data-disk-{}", std::process::id()));
        let recipe = Recipe::read(&Context::find(true).unwrap().root, "first-light").unwrap();
        let mut images = Vec::new();
        for build_number in ["1", "2"] {
            let context = Context::at(base.join(build_number), true);
            let folder = context.root.join("tree");
            let machine = folder.join("machines/a");
            std::fs::create_dir_all(&machine).unwrap();
            std::fs::write(machine.join("disk.vhd"), vec![9; 3_000_000]).unwrap();
            std::fs::write(machine.join("machine.yaml"), "x: 1\n").unwrap();
            let mut recipe = recipe.clone();
            recipe.data.size_mib = 64;
            images.push(build(&context, &recipe, &folder).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        assert_eq!(
            digest::of_file(&images[0]).unwrap(),
            digest::of_file(&images[1]).unwrap()
        );
        let check = command("e2fsck")
            .unwrap()
            .args(["-f", "-n"])
            .arg(format!("{}?offset=1048576", images[0].display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.success(), "{said}");
        std::fs::remove_dir_all(base).unwrap();
    }
}
