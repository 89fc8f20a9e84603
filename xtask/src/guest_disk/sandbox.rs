//! A folder tree that programs run in as if they were root of a machine of its own.
//!
//! It is a user namespace: whoever builds is root in it, and only in it. `unshare` is on every
//! Debian system; a container or a kernel setting may refuse it, and the error then says so.

use crate::context::{EPOCH_SECONDS, create_folder};
use crate::packages::{self, Package};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the working folder is seen inside.
pub const WORK: &str = "/build";

/// Run by the host's shell in the new namespace: $1 the tree, $2 the working folder, $3 the script.
const ENTER: &str = r#"
umask 022
cd "$1"
mkdir -p dev proc build
mount --rbind /dev dev
mount --rbind /proc proc
mount --bind "$2" build
exec chroot . /bin/sh -euc "$3"
"#;

/// What programs inside see; nothing of the host's environment.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
];

/// One tree.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    work: PathBuf,
}

impl Sandbox {
    /// Unpacks packages below `root`; `work` is the folder that inside is [`WORK`].
    pub fn unpack(packages: &[Package], root: &Path, work: &Path) -> Result<Self> {
        for package in packages {
            packages::unpack(&package.path, root)?;
        }
        create_folder(work)?;
        Ok(Self {
            root: root.to_path_buf(),
            work: work.to_path_buf(),
        })
    }

    /// The tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that inside is [`WORK`].
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Runs a shell script inside, which ends at its first failing command. `purpose` is what
    /// could not be done when it fails.
    pub fn run(&self, purpose: &str, script: &str) -> Result<()> {
        let output = Command::new("unshare")
            .args([
                "--map-root-user",
                "--mount",
                "--",
                "sh",
                "-euc",
                ENTER,
                "sh",
            ])
            .args([&self.root, &self.work])
            .arg(script)
            .env_clear()
            .envs(ENVIRONMENT)
            .env("SOURCE_DATE_EPOCH", EPOCH_SECONDS.to_string())
            .env("E2FSPROGS_FAKE_TIME", EPOCH_SECONDS.to_string())
            .stdin(Stdio::null())
            .output()
            .context("unshare can't be started; it belongs to util-linux")?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(
            !said.contains("unshare failed"),
            "{purpose} needs a user namespace, which this host refuses: {}; allow it by \
             kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0, \
             or give the container that right",
            said.trim()
        );
        ensure!(
            output.status.success(),
            "{purpose} failed:\n{}",
            last_lines(&said, 20)
        );
        Ok(())
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_end_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
