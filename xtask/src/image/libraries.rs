//! The libraries that a distribution's program needs, by what the program and they themselves say
//! (ELF's DT_NEEDED and DT_RUNPATH, System V ABI, "Dynamic Linking").

use anyhow::{Context as _, Result};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_RUNPATH, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the distribution's dynamic loader looks when a program names no folder.
const FOLDER: &str = "usr/lib/x86_64-linux-gnu";

/// The dynamic loader and the libraries of the program at `path` below `root`: content by path.
///
/// What a program loads by itself later, such as plug-ins, is not among them.
pub fn of_program(root: &Path, path: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let read = |path: &str| crate::context::read(&root.join(path));
    let program = read(path)?;
    let mut found = BTreeMap::new();
    let mut open = vec![needs(&program).with_context(|| format!("{path} is no program"))?];
    while let Some(needs) = open.pop() {
        if let Some(loader) = needs.loader {
            let content = read(&format!("usr{loader}"))?;
            found.insert(loader.trim_start_matches('/').to_owned(), content);
        }
        for name in needs.libraries {
            let candidates = needs.folders.iter().map(String::as_str).chain([FOLDER]);
            let mut candidates = candidates.map(|folder| format!("{folder}/{name}"));
            let at = candidates
                .find(|at| root.join(at).is_file())
                .with_context(|| format!("{path} needs {name}, which no package brings"))?;
            // The loader is among libc's libraries, by its name alone.
            if found.contains_key(&at) || at.contains("/ld-linux") {
                continue;
            }
            let content = read(&at)?;
            open.push(self::needs(&content).with_context(|| format!("{at} is no library"))?);
            found.insert(at, content);
        }
    }
    Ok(found)
}

/// What one ELF file says that it needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    loader: Option<String>,
    libraries: Vec<String>,
    /// Folders that come first, from the root.
    folders: Vec<String>,
}

fn needs(file: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(file)?;
    let endian = header.endian()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, file)? {
        let loader = segment.interpreter(endian, file)?;
        needs.loader = needs.loader.or(loader.map(text));
    }
    let table = header.sections(endian, file)?.dynamic_table(endian, file)?;
    for entry in &table {
        match entry.tag {
            DT_NEEDED => needs.libraries.push(text(table.string(entry)?)),
            DT_RUNPATH => {
                let folders = text(table.string(entry)?);
                let folders = folders
                    .split(':')
                    .map(|f| f.trim_start_matches('/').to_owned());
                needs.folders.extend(folders);
            }
            _ => {}
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program under test is one that has a loader and needs libraries.
    #[test]
    fn a_program_says_what_it_needs() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&program).unwrap();
        assert_eq!(needs.loader.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"));
        assert!(super::needs(b"#!/bin/sh").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = std::env::temp_dir().join(format!("libraries-{}", std::process::id()));
        std::fs::create_dir_all(root.join("usr/lib64")).unwrap();
        std::fs::write(root.join("usr/lib64/ld-linux-x86-64.so.2"), "a loader").unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), root.join("program")).unwrap();
        let error = of_program(&root, "program").unwrap_err().to_string();
        std::fs::remove_dir_all(&root).unwrap();
        assert!(error.contains("program needs lib"), "{error}");
        assert!(error.contains("no package brings"), "{error}");
    }
}
