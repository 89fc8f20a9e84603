//! A cpio archive in the "newc" format, as the kernel's initramfs wants it
//! (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use crate::context::EPOCH_SECONDS;
use std::collections::BTreeMap;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// What lies at one path.
struct Node {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

/// Files by path, owned by root, all of one date; written in the order of their paths.
#[derive(Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Adds an empty folder and those above it.
    pub fn folder(&mut self, path: &str) {
        self.add(path, FOLDER | 0o755, (0, 0), Vec::new());
    }

    /// Adds a file that anyone may read.
    pub fn file(&mut self, path: &str, content: Vec<u8>) {
        self.add(path, FILE | 0o644, (0, 0), content);
    }

    /// Adds a program.
    pub fn program(&mut self, path: &str, content: Vec<u8>) {
        self.add(path, FILE | 0o755, (0, 0), content);
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, CHARACTER_DEVICE | 0o600, (major, minor), Vec::new());
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let path = path.trim_matches('/');
        if let Some((above, _)) = path.rsplit_once('/')
            && !self.nodes.contains_key(above)
        {
            self.folder(above);
        }
        let node = Node {
            mode,
            device,
            content,
        };
        self.nodes.insert(path.to_owned(), node);
    }

    /// The archive's bytes, padded to 512.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, (path, node)) in self.nodes.iter().enumerate() {
            entry(&mut out, index + 1, path, node);
        }
        let trailer = Node {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        entry(&mut out, 0, "TRAILER!!!", &trailer);
        pad(&mut out, 512);
        out
    }
}

fn entry(out: &mut Vec<u8>, inode: usize, path: &str, node: &Node) {
    let links = if node.mode & FOLDER != 0 && node.mode & FILE == 0 {
        2
    } else {
        1
    };
    let date = if inode == 0 { 0 } else { EPOCH_SECONDS };
    out.extend(b"070701");
    for field in [
        inode as u64,
        node.mode.into(),
        0,
        0,
        links,
        date,
        node.content.len() as u64,
        0,
        0,
        node.device.0.into(),
        node.device.1.into(),
        path.len() as u64 + 1,
        0,
    ] {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(path.bytes());
    out.push(0);
    pad(out, 4);
    out.extend(&node.content);
    pad(out, 4);
}

fn pad(out: &mut Vec<u8>, unit: usize) {
    out.resize(out.len().next_multiple_of(unit), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.program("/bin/sh", b"#!".to_vec());
        archive.program("/init", Vec::new());
        archive.character_device("/dev/console", 5, 1);
        archive.file("/etc/os-release", b"ID=x\n".to_vec());
        archive
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let archive = sample();
        let paths: Vec<&str> = archive.nodes.keys().map(String::as_str).collect();
        let expected = [
            "bin",
            "bin/sh",
            "dev",
            "dev/console",
            "etc",
            "etc/os-release",
            "init",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn sizes_are_those_of_the_format() {
        let bytes = sample().to_bytes();
        assert!(bytes.starts_with(b"07070100000001000041ed"));
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn an_independent_reader_lists_it() {
        let mut reader = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("busybox is missing; `cargo xtask doctor` tells what brings it");
        let archive = sample().to_bytes();
        reader.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = reader.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "bin\nbin/sh\ndev\ndev/console\netc\netc/os-release\ninit\n"
        );
    }
}
