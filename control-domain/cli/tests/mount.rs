//! A disk as files of a folder. Skipped, saying so, where nothing can be mounted.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::{Folder, content};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

const SIZE: usize = 8 << 20;
/// First sectors and sectors of the three partitions; the last one is logical.
const PARTITIONS: [(u32, u32); 3] = [(63, 2048), (4096, 1000), (8192 + 16, 4000)];

/// A disk with an MBR: two primary partitions, and one in an extended one.
fn partitioned() -> Vec<u8> {
    let mut bytes = content(SIZE);
    let mut entry = |sector: usize, index: usize, kind: u8, first: u32, count: u32| {
        let table = &mut bytes[sector * 512..][..512];
        table[510..].copy_from_slice(&[0x55, 0xaa]);
        let entry = &mut table[446 + 16 * index..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
    };
    entry(0, 0, 7, PARTITIONS[0].0, PARTITIONS[0].1);
    entry(0, 1, 0x83, PARTITIONS[1].0, PARTITIONS[1].1);
    entry(0, 2, 5, 8192, 8000);
    // Outside of the disk: not shown.
    entry(0, 3, 7, 1 << 30, 8);
    entry(8192, 0, 0x83, 16, PARTITIONS[2].1);
    bytes
}

struct Mounted(Child);

impl Mounted {
    /// Starts the command and waits for what it says; nothing, saying so, if it can't mount here.
    fn start(folder: &Folder, line: &str) -> Option<(Self, Value)> {
        let mut command = folder.command(line);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        if said.is_empty() {
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("fusermount3"), "{error}");
            eprintln!("skipped: {error}");
            return None;
        }
        Some((Self(child), serde_json::from_str(&said).unwrap()))
    }

    /// Ends it as Ctrl-C does.
    fn stop(mut self) {
        let id = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed must not leave the folder mounted.
        if matches!(self.0.try_wait(), Ok(None)) {
            let id = self.0.id().to_string();
            let _ = Command::new("kill").arg(id).status();
        }
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_and_its_partitions_are_files_at_any_point_of_a_chain() {
    let folder = Folder::new();
    let bytes = partitioned();
    folder.put("start.raw", &bytes);
    folder.done("disk convert start.raw base.vhd");
    folder.done("disk create child.vhd --parent base.vhd");
    std::fs::create_dir(folder.path("at")).unwrap();
    for file in ["base.vhd", "child.vhd"] {
        let Some((mounted, said)) =
            Mounted::start(&folder, &format!("disk mount {file} at --json"))
        else {
            return;
        };
        let files = said["files"].as_array().unwrap();
        assert_eq!(files.len(), 4, "{said}");
        assert!(folder.get("at/disk.raw") == bytes);
        for (name, (first, count)) in ["1", "2", "5"].iter().zip(PARTITIONS) {
            let part = folder.get(&format!("at/partition-{name}.raw"));
            assert!(
                part == bytes[first as usize * 512..][..count as usize * 512],
                "{name}"
            );
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path("at"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "disk.raw",
                "partition-1.raw",
                "partition-2.raw",
                "partition-5.raw"
            ]
        );
        let disk = std::fs::File::open(folder.path("at/disk.raw")).unwrap();
        let mut piece = [0; 777];
        disk.read_exact_at(&mut piece, 3_000_001).unwrap();
        assert!(piece[..] == bytes[3_000_001..][..777]);
        assert!(
            std::fs::write(folder.path("at/disk.raw"), b"x").is_err(),
            "it is read-only"
        );
        assert!(std::fs::write(folder.path("at/new"), b"x").is_err());
        drop(disk);
        mounted.stop();
        assert_eq!(std::fs::read_dir(folder.path("at")).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    folder.put("a.raw", &content(8192));
    let error = folder.fails("disk mount a.raw absent");
    assert!(
        error.contains("absent: there is no such folder; make it first"),
        "{error}"
    );
}
