//! The same files read, written and checked by others. qemu-img is trusted for disks without parent and
//! sectors of 512 bytes (it refuses all others), 7-Zip for reading all kinds, chains too, but no log that was
//! left behind. Skipped, saying so, where they are absent.
#![allow(clippy::unwrap_used)]

use disk::{Disk, FileStorage};
use disk_testing::Random;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use vhdx::{Info, New, ParentLink, Vhdx, check, create};

const MIB: u64 = 1 << 20;
/// The last block is not whole. 7-Zip wants a multiple of eight sectors, 4096 bytes each at most.
const SIZE: u64 = 40 * MIB + 8 * 4096;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vhdx-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn storage(&self, name: &str) -> FileStorage {
        FileStorage::open(&self.file(name), true).unwrap()
    }

    fn create(&self, name: &str, new: &New) {
        File::create(self.file(name)).unwrap();
        create(self.storage(name), new).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{program} {arguments:?}: {text}");
    }

    /// What 7-Zip makes of a disk whose parents lie beside it.
    fn seven_zip(&self, program: &str, name: &str) -> Vec<u8> {
        self.run(program, &["x", "-y", "-tvhdx", name, "-oout"]);
        let mut found = std::fs::read_dir(self.file("out")).unwrap();
        let bytes = std::fs::read(found.next().unwrap().unwrap().path()).unwrap();
        std::fs::remove_dir_all(self.file("out")).unwrap();
        bytes
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tool(names: &[&'static str]) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let there = |name: &&&str| folders.iter().any(|folder| folder.join(name).is_file());
    let found = names.iter().find(there).copied();
    if found.is_none() {
        eprintln!("skipped: {names:?} is not installed");
    }
    found
}

/// Writes here and there, the same into the disk and into an array.
fn fill(disk: &mut dyn Disk, model: &mut [u8], seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..40 {
        let longest = if random.below(8) == 0 { 3 * MIB } else { 9000 };
        let offset = random.below(model.len() as u64 - longest);
        let data = vec![random.below(256) as u8; random.below(longest) as usize];
        disk.write(offset, &data).unwrap();
        model[offset as usize..][..data.len()].copy_from_slice(&data);
    }
    disk.close().unwrap();
}

#[test]
fn others_read_what_we_made() {
    let (Some(_), Some(seven_zip)) = (tool(&["qemu-img"]), tool(&["7zz", "7z"])) else {
        return;
    };
    let folder = Folder::new("made");
    for (block_mib, sector, fixed) in [
        (1, 512, false),
        (2, 512, true),
        (32, 512, false),
        (256, 512, false),
        (1, 4096, false),
        (8, 4096, true),
    ] {
        let new = New {
            block_size: block_mib * MIB,
            logical_sector: sector,
            fixed,
            ..New::dynamic(SIZE)
        };
        folder.create("own.vhdx", &new);
        let mut model = vec![0; SIZE as usize];
        let mut disk = Vhdx::open(folder.storage("own.vhdx"), None, true).unwrap();
        fill(&mut disk, &mut model, block_mib);
        assert!(folder.seven_zip(seven_zip, "own.vhdx") == model, "{new:?}");
        if sector == 512 {
            folder.run("qemu-img", &["check", "-q", "-f", "vhdx", "own.vhdx"]);
            folder.run(
                "qemu-img",
                &["convert", "-f", "vhdx", "-O", "raw", "own.vhdx", "own.raw"],
            );
            assert!(
                std::fs::read(folder.file("own.raw")).unwrap() == model,
                "{new:?}"
            );
        }
    }
}

#[test]
fn seven_zip_reads_a_chain_of_ours() {
    let Some(seven_zip) = tool(&["7zz", "7z"]) else {
        return;
    };
    let folder = Folder::new("chain");
    let new = New {
        block_size: MIB,
        ..New::dynamic(SIZE)
    };
    folder.create("base.vhdx", &new);
    let mut model = vec![0; SIZE as usize];
    let mut parent = Vhdx::open(folder.storage("base.vhdx"), None, true).unwrap();
    fill(&mut parent, &mut model, 1);
    let mut below = "base.vhdx".to_owned();
    for generation in 1..4 {
        let info = Info::read(&mut folder.storage(&below)).unwrap();
        let path = format!(r".\{below}");
        let link = ParentLink::new(info.data_write_guid, Some(&path), None, None);
        let new = New {
            block_size: MIB << generation,
            ..New::differencing(&info, link)
        };
        let name = format!("child{generation}.avhdx");
        folder.create(&name, &new);
        // Chains are opened from the base up.
        let mut chain: Option<Box<dyn Disk>> = None;
        for number in 0..generation {
            let file = if number == 0 {
                "base.vhdx".into()
            } else {
                format!("child{number}.avhdx")
            };
            chain = Some(Box::new(
                Vhdx::open(folder.storage(&file), chain, false).unwrap(),
            ));
        }
        let mut disk = Vhdx::open(folder.storage(&name), chain, true).unwrap();
        fill(&mut disk, &mut model, 10 + generation);
        let mut data = vec![0; SIZE as usize];
        disk.read(0, &mut data).unwrap();
        assert!(data == model);
        // 7-Zip takes the name without the folder.
        std::fs::rename(
            folder.file(&name),
            folder.file(&format!("child{generation}.vhdx")),
        )
        .unwrap();
        let bytes = folder.seven_zip(seven_zip, &format!("child{generation}.vhdx"));
        assert!(bytes == model, "generation {generation}");
        std::fs::rename(
            folder.file(&format!("child{generation}.vhdx")),
            folder.file(&name),
        )
        .unwrap();
        assert_eq!(check(&mut folder.storage(&name)).unwrap().problems, []);
        below = name;
    }
}

#[test]
fn we_read_and_write_what_qemu_made_and_it_reads_it_again() {
    let Some(_) = tool(&["qemu-img"]) else { return };
    let folder = Folder::new("qemu");
    for subformat in ["dynamic", "fixed"] {
        let options = format!("subformat={subformat},block_size=8M");
        folder.run(
            "qemu-img",
            &[
                "create", "-q", "-f", "vhdx", "-o", &options, "q.vhdx", "48M",
            ],
        );
        assert_eq!(
            check(&mut folder.storage("q.vhdx")).unwrap().problems,
            [],
            "{subformat}"
        );
        let write = [
            "-f",
            "vhdx",
            "-c",
            "write -q -P 0x5a 6000128 3000000",
            "-c",
            "flush",
            "q.vhdx",
        ];
        folder.run("qemu-io", &write);
        let mut model = vec![0; 48 << 20];
        model[6_000_128..9_000_128].fill(0x5a);
        let mut disk = Vhdx::open(folder.storage("q.vhdx"), None, true).unwrap();
        let mut data = vec![1; 48 << 20];
        disk.read(0, &mut data).unwrap();
        assert!(data == model, "{subformat}");
        fill(&mut disk, &mut model, 3);
        disk.compact(&mut |_, _| ()).unwrap();
        folder.run("qemu-img", &["check", "-q", "-f", "vhdx", "q.vhdx"]);
        folder.run(
            "qemu-img",
            &["convert", "-f", "vhdx", "-O", "raw", "q.vhdx", "q.raw"],
        );
        assert!(
            std::fs::read(folder.file("q.raw")).unwrap() == model,
            "{subformat}"
        );
        std::fs::remove_file(folder.file("q.vhdx")).unwrap();
    }
}

#[test]
fn the_largest_disks_and_a_moved_table_are_fine_with_qemu() {
    let Some(_) = tool(&["qemu-img"]) else { return };
    let folder = Folder::new("large");
    let size = 64 << 40;
    folder.create("large.vhdx", &New::dynamic(size));
    let mut disk = Vhdx::open(folder.storage("large.vhdx"), None, true).unwrap();
    disk.write(size - 512, &[1; 512]).unwrap();
    disk.write(40 << 40, &[2; 512]).unwrap();
    disk.close().unwrap();
    folder.run("qemu-img", &["check", "-q", "-f", "vhdx", "large.vhdx"]);
    let read = [
        "-r",
        "-f",
        "vhdx",
        "-c",
        "read -q -P 2 43980465111040 512",
        "large.vhdx",
    ];
    folder.run("qemu-io", &read);
    let new = New {
        block_size: MIB,
        ..New::dynamic(120 << 30)
    };
    folder.create("grown.vhdx", &new);
    let mut disk = Vhdx::open(folder.storage("grown.vhdx"), None, true).unwrap();
    disk.write(1000 * MIB, &[3; 4096]).unwrap();
    disk.resize(1 << 40).unwrap();
    disk.write(900 << 30, &[4; 4096]).unwrap();
    disk.close().unwrap();
    folder.run("qemu-img", &["check", "-q", "-f", "vhdx", "grown.vhdx"]);
    for command in [
        "read -q -P 3 1048576000 4096",
        "read -q -P 4 966367641600 4096",
    ] {
        folder.run(
            "qemu-io",
            &["-r", "-f", "vhdx", "-c", command, "grown.vhdx"],
        );
    }
}
