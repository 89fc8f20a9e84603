//! Where a parent may be: paths that Windows or macOS wrote, on this system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files that a path of the parent may mean, seen from the child in `folder`: existing ones only.
/// `\` separates like `/`, and letters match in either case where no file matches exactly.
pub(crate) fn existing(folder: &Path, recorded: &str, relative: bool) -> Option<PathBuf> {
    let parts = parts(recorded);
    if relative {
        return walk(folder, &parts);
    }
    // An absolute path of this system, or one of Windows: its drive is none of ours.
    let is_drive = |part: &str| part.len() == 2 && part.ends_with(':');
    match parts.first() {
        Some(first) if is_drive(first) => None,
        _ if recorded.starts_with('/') => walk(Path::new("/"), &parts),
        _ => None,
    }
}

/// The file of the same name beside the child.
pub(crate) fn beside(folder: &Path, recorded: &str) -> Option<PathBuf> {
    walk(folder, parts(recorded).last_chunk::<1>()?)
}

/// What would be looked for: for messages.
pub(crate) fn wanted(folder: &Path, recorded: &str, relative: bool) -> PathBuf {
    if !relative && recorded.starts_with('/') {
        return recorded.into();
    }
    let mut path = folder.to_path_buf();
    let parts = parts(recorded);
    let skipped = if relative {
        0
    } else {
        parts.len().saturating_sub(1)
    };
    path.extend(&parts[skipped..]);
    path
}

fn parts(recorded: &str) -> Vec<&str> {
    recorded
        .split(['\\', '/'])
        .filter(|part| !part.is_empty() && *part != ".")
        .collect()
}

fn walk(from: &Path, parts: &[&str]) -> Option<PathBuf> {
    let mut at = from.to_path_buf();
    for part in parts {
        let exact = at.join(part);
        at = if exact.exists() {
            exact
        } else {
            any_case(&at, part)?
        };
    }
    at.is_file().then_some(at)
}

/// The entry of a folder with this name in any case; the first in order, if there are several.
fn any_case(folder: &Path, name: &str) -> Option<PathBuf> {
    let lower = name.to_lowercase();
    let entries = std::fs::read_dir(folder).ok()?;
    let names: BTreeSet<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|entry| entry.to_string_lossy().to_lowercase() == lower)
        .collect();
    names.first().map(|name| folder.join(name))
}

/// The path to write into a child in `folder` for the parent at `target`, as Windows writes it:
/// relative with `\`, beginning with `.\` or `..\`. Both must be canonical.
pub(crate) fn relative(folder: &Path, target: &Path) -> String {
    let same = folder
        .components()
        .zip(target.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder.components().skip(same).map(|_| "..".to_string());
    let down = target
        .components()
        .skip(same)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    match parts.first().map(String::as_str) {
        Some("..") => parts.join("\\"),
        _ => format!(".\\{}", parts.join("\\")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn relative_paths_are_those_of_windows() {
        let relative = |a, b| relative(Path::new(a), Path::new(b));
        assert_eq!(relative("/m/a", "/m/a/p.vhd"), ".\\p.vhd");
        assert_eq!(relative("/m/a/b", "/m/base/p.vhd"), "..\\..\\base\\p.vhd");
        assert_eq!(relative("/m/a", "/m/a/b/p.vhd"), ".\\b\\p.vhd");
    }

    #[test]
    fn names_match_in_any_case_and_with_either_separator() {
        let folder = std::env::temp_dir().join(format!("parent-path-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("Base")).unwrap();
        std::fs::write(folder.join("Base/Parent.vhd"), "x").unwrap();
        let expected = Some(folder.join("Base/Parent.vhd"));
        assert_eq!(existing(&folder, ".\\base\\PARENT.VHD", true), expected);
        assert_eq!(existing(&folder, "Base/Parent.vhd", true), expected);
        assert_eq!(existing(&folder, "C:\\Base\\Parent.vhd", false), None);
        assert_eq!(beside(&folder.join("Base"), "C:\\x\\parent.VHD"), expected);
        assert_eq!(existing(&folder, "..\\nothing.vhd", true), None);
        assert_eq!(existing(&folder, "", true), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
