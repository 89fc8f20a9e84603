//! The lock file: which version of each package, and what a name stood for.

use crate::context::{read, write};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const HEADER: &str = "\
# Written by `cargo xtask`; the packages that the images are made of.
# Delete an entry to have it resolved again.
";

/// One package, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Debian's version.
    pub version: String,
    /// SHA-256 of the `.deb`, as signed by the distribution's index.
    pub sha256: String,
}

/// The whole lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// By package name.
    #[serde(default)]
    pub packages: BTreeMap<String, Pin>,
    /// What a list of names led to when it was resolved.
    #[serde(default)]
    pub sets: BTreeMap<String, Vec<String>>,
}

impl Lock {
    /// Reads the file; none is an empty lock.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        serde_yaml::from_slice(&read(path)?)
            .with_context(|| format!("{} is no lock file of this version", path.display()))
    }

    /// Writes the file, sorted.
    pub fn write(&self, path: &Path) -> Result<()> {
        let body = serde_yaml::to_string(self).context("the lock file can't be written")?;
        write(path, format!("{HEADER}{body}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let mut lock = Lock::default();
        let pin = Pin {
            version: "1:2.3-4".into(),
            sha256: "00".into(),
        };
        lock.packages.insert("a".into(), pin);
        lock.sets.insert("a b".into(), vec!["a".into(), "c".into()]);
        let path = std::env::temp_dir().join(format!("lock-{}", std::process::id()));
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        std::fs::remove_file(path).unwrap();
    }
}
