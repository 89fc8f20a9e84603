//! Runs the binary in a folder that goes away again.
#![allow(dead_code)]

use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder to run commands in. Tests write the names of disks with `.vhd`; in a folder of another
/// format that is its extension.
pub struct Folder {
    folder: TempDir,
    extension: &'static str,
}

/// The formats that hold chains.
pub const CHAINED: [&str; 2] = [".vhd", ".vhdx"];

/// What a command said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub fn new() -> Self {
        Self::of(".vhd")
    }

    pub fn of(extension: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, extension }
    }

    /// A text with the extension of this folder's disks.
    pub fn named(&self, text: &str) -> String {
        text.replace(".vhd", self.extension)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(self.named(name))
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The command line, ready to be started.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
        command
            .args(self.named(line).split_whitespace())
            .current_dir(self.folder.path());
        command
    }

    /// Runs `entente` with the words of a line.
    pub fn run(&self, line: &str) -> Said {
        let output = self.command(line).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must work, and answers what it printed.
    pub fn done(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}: {said:?}");
        said.out
    }

    /// Runs a command with `--json` that must work.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} --json"))).unwrap()
    }

    /// Runs a command that must fail with exit code 1, and answers its error.
    pub fn fails(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{line}: {said:?}");
        assert!(said.err.starts_with("error: "), "{line}: {said:?}");
        said.err
    }

    /// Writes bytes into a disk file in place, as a guest would.
    pub fn write(&self, name: &str, offset: u64, data: &[u8]) {
        let options = disks::OpenOptions::writable();
        let mut disk = disks::open(&self.path(name), &options).unwrap().disk;
        disk.write(offset, data).unwrap();
        disk.close().unwrap();
    }

    /// What a disk file reads as.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let options = disks::OpenOptions::read_only();
        let mut disk = disks::open(&self.path(name), &options).unwrap().disk;
        let mut data = vec![0; disk.size() as usize];
        disk.read(0, &mut data).unwrap();
        data
    }

    /// Puts a sample into the folder, unpacked. False, saying so, where the samples are absent.
    pub fn sample(&self, from: &str, name: &str) -> bool {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/samples")
            .join(from);
        let Ok(packed) = std::fs::read(&path) else {
            eprintln!("skipped: no sample {from}");
            return false;
        };
        let mut bytes = Vec::new();
        match from.ends_with(".gz") {
            true => {
                let mut unpacked = flate2::read::GzDecoder::new(&packed[..]);
                unpacked.read_to_end(&mut bytes).unwrap();
            }
            false => bytes = packed,
        }
        self.put(name, &bytes);
        true
    }
}

/// Bytes of a disk: data here and there, zeros in between.
pub fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (start, length) in [(0, 700), (size / 3, size / 50), (size - 512, 512)] {
        for (n, byte) in bytes[start..start + length].iter_mut().enumerate() {
            *byte = (n % 251) as u8 + 1;
        }
    }
    bytes
}
