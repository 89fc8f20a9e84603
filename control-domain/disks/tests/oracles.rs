//! The same files, read and written by qemu-img, 7-Zip and libvhdi. Skipped, saying so, where they are absent.
//!
//! Trusted: qemu-img for fixed and dynamic VHDs, and for VHDXs without parents (it checks them too);
//! 7-Zip for all VHDs, and for chains of either; libvhdi (by its vhdimount) for what each file of a chain
//! reads as, in either format. Not trusted: qemu-img ignores the parent of a differencing VHD without a word;
//! libvhdi replays no VHDX log, so it gets files that were closed.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{NewDisk, NewKind, OpenOptions, create, open};
use folder::Folder;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use vhd::create_dynamic;

const SIZE: u64 = 40 << 20;

fn tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A few writes that touch, cross and end blocks; the same into the disk and into an array.
fn fill(path: &Path) -> Vec<u8> {
    let mut disk = open(path, &OpenOptions::writable()).unwrap().disk;
    let mut model = vec![0; disk.size() as usize];
    disk.read(0, &mut model).unwrap();
    let block = 2 << 20;
    for (offset, length, value) in [
        (0, 512, 1u8),
        (block - 700, 1400, 2),
        (9 * block + 512, block, 3),
        (SIZE as usize - 512, 512, 4),
        (5 * block, 3 * block, 5),
    ] {
        let data: Vec<u8> = (0..length)
            .map(|n| value.wrapping_mul(31).wrapping_add((n / 512) as u8))
            .collect();
        disk.write(offset as u64, &data).unwrap();
        model[offset..offset + length].copy_from_slice(&data);
    }
    disk.close().unwrap();
    model
}

#[test]
fn qemu_reads_what_we_wrote_into_its_dynamic_disk() {
    if !tool("qemu-img") {
        return;
    }
    let folder = Folder::new("qemu-dynamic");
    let size = SIZE.to_string();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "vpc",
            "-o",
            "subformat=dynamic,force_size=on",
            "d.vhd",
            &size,
        ],
        &folder.0,
    );
    let model = fill(&folder.0.join("d.vhd"));
    run(
        "qemu-img",
        &["convert", "-f", "vpc", "-O", "raw", "d.vhd", "d.raw"],
        &folder.0,
    );
    assert!(std::fs::read(folder.0.join("d.raw")).unwrap() == model);
    // And the other way round: qemu-io writes, we read.
    run(
        "qemu-io",
        &[
            "-f",
            "vpc",
            "-c",
            "write -P 0x5a 6000000 3000000",
            "-c",
            "flush",
            "d.vhd",
        ],
        &folder.0,
    );
    let mut disk = open(&folder.0.join("d.vhd"), &OpenOptions::read_only())
        .unwrap()
        .disk;
    let mut model = model;
    model[6_000_000..9_000_000].fill(0x5a);
    let mut data = vec![0; SIZE as usize];
    disk.read(0, &mut data).unwrap();
    assert!(data == model);
}

/// What 7-Zip reads a disk as, parents and all.
fn seven_zip(folder: &Folder, name: &str) -> Vec<u8> {
    let program = if tool("7zz") { "7zz" } else { "7z" };
    let out = folder.file("out");
    let _ = std::fs::remove_dir_all(&out);
    let kind = format!("-t{}", name.rsplit('.').next().unwrap());
    run(program, &["x", "-y", &kind, name, "-oout"], &folder.0);
    let mut files = std::fs::read_dir(out).unwrap();
    std::fs::read(files.next().unwrap().unwrap().path()).unwrap()
}

#[test]
fn qemu_and_7_zip_read_what_we_made() {
    if !tool("qemu-img") || !tool("7zz") && !tool("7z") {
        return;
    }
    let folder = Folder::new("own-dynamic");
    let path = folder.0.join("own.vhd");
    File::create(&path).unwrap();
    let storage = disk::FileStorage::open(&path, true).unwrap();
    create_dynamic(storage, SIZE, 2 << 20, [9; 16], 1).unwrap();
    let model = fill(&path);
    assert!(seven_zip(&folder, "own.vhd") == model);
    run(
        "qemu-img",
        &["convert", "-f", "vpc", "-O", "raw", "own.vhd", "own.raw"],
        &folder.0,
    );
    assert!(std::fs::read(folder.0.join("own.raw")).unwrap() == model);
}

#[test]
fn fixed_disks_of_qemu_are_read_and_written_in_place() {
    if !tool("qemu-img") {
        return;
    }
    let folder = Folder::new("qemu-fixed");
    let size = SIZE.to_string();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "vpc",
            "-o",
            "subformat=fixed,force_size=on",
            "f.vhd",
            &size,
        ],
        &folder.0,
    );
    let model = fill(&folder.0.join("f.vhd"));
    assert_eq!(
        std::fs::metadata(folder.0.join("f.vhd")).unwrap().len(),
        SIZE + 512
    );
    run(
        "qemu-img",
        &["convert", "-f", "vpc", "-O", "raw", "f.vhd", "f.raw"],
        &folder.0,
    );
    assert!(std::fs::read(folder.0.join("f.raw")).unwrap() == model);
}

#[test]
fn seven_zip_reads_our_chains() {
    if !tool("7zz") && !tool("7z") {
        return;
    }
    let folder = Folder::new("own-chain");
    for (extension, is_vhdx) in [("vhd", false), ("vhdx", true)] {
        let [base, child, top] =
            ["base", "child", "top"].map(|name| folder.file(&format!("{name}.{extension}")));
        let kind = match is_vhdx {
            true => NewKind::VhdxDynamic,
            false => NewKind::VhdDynamic,
        };
        create(&base, &NewDisk::new(kind, SIZE)).unwrap();
        fill(&base);
        for (path, parent, offset) in [(&child, &base, 3000), (&top, &child, 4000)] {
            let parent = parent.clone();
            let kind = match is_vhdx {
                true => NewKind::VhdxDifferencing { parent },
                false => NewKind::VhdDifferencing { parent },
            };
            create(path, &NewDisk::new(kind, 0)).unwrap();
            let mut disk = open(path, &OpenOptions::writable()).unwrap().disk;
            disk.write(offset, &[0x77 ^ offset as u8; 5000]).unwrap();
            disk.write(SIZE - 1024, &[0; 512]).unwrap();
            disk.close().unwrap();
        }
        let mut model = vec![0; SIZE as usize];
        let mut disk = open(&top, &OpenOptions::read_only()).unwrap().disk;
        disk.read(0, &mut model).unwrap();
        let name = format!("top.{extension}");
        assert!(seven_zip(&folder, &name) == model, "{name}");
    }
}

#[test]
fn qemu_checks_and_reads_our_vhdxs_and_converted_disks() {
    if !tool("qemu-img") {
        return;
    }
    let folder = Folder::new("own-vhdx");
    let source = folder.file("source.vhdx");
    create(&source, &NewDisk::new(NewKind::VhdxDynamic, SIZE)).unwrap();
    let model = fill(&source);
    for (name, kind, format) in [
        ("fixed.vhdx", NewKind::VhdxFixed, "vhdx"),
        ("dynamic.vhdx", NewKind::VhdxDynamic, "vhdx"),
        ("fixed.vhd", NewKind::VhdFixed, "vpc"),
        ("dynamic.vhd", NewKind::VhdDynamic, "vpc"),
    ] {
        let target = folder.file(name);
        let options = OpenOptions::read_only();
        let new = NewDisk::new(kind, 0);
        disks::convert(&source, &options, &target, &new, &mut |_, _| ()).unwrap();
        if format == "vhdx" {
            run("qemu-img", &["check", "-q", "-f", format, name], &folder.0);
        }
        let arguments = ["convert", "-f", format, "-O", "raw", name, "out.raw"];
        run("qemu-img", &arguments, &folder.0);
        assert!(
            std::fs::read(folder.file("out.raw")).unwrap() == model,
            "{name}"
        );
    }
}

/// What libvhdi reads the files of a chain as, the base first.
fn libvhdi(folder: &Folder, name: &str) -> Option<Vec<Vec<u8>>> {
    let at = folder.file("mounted");
    std::fs::create_dir_all(&at).unwrap();
    let output = Command::new("vhdimount")
        .args([name, "mounted"])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    if !output.status.success() && !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: vhdimount needs /dev/fuse");
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "vhdimount {name}: {said}");
    let mut files = Vec::new();
    while let Ok(bytes) = std::fs::read(at.join(format!("vhdi{}", files.len() + 1))) {
        files.push(bytes);
    }
    let ended = ["umount", "fusermount", "fusermount3"]
        .iter()
        .any(|program| {
            let arguments: &[&str] = if *program == "umount" { &[] } else { &["-u"] };
            let status = Command::new(program).args(arguments).arg(&at).status();
            status.is_ok_and(|status| status.success())
        });
    assert!(ended, "{} can't be unmounted", at.display());
    Some(files)
}

#[test]
fn libvhdi_reads_our_disks_and_chains() {
    if !tool("vhdimount") {
        return;
    }
    let folder = Folder::new("libvhdi");
    for (extension, kinds) in [
        ("vhd", [NewKind::VhdFixed, NewKind::VhdDynamic]),
        ("vhdx", [NewKind::VhdxFixed, NewKind::VhdxDynamic]),
    ] {
        let mut models = Vec::new();
        for (kind, name) in kinds.into_iter().zip(["fixed", "base"]) {
            let name = format!("{name}.{extension}");
            create(&folder.file(&name), &NewDisk::new(kind, SIZE)).unwrap();
            let model = fill(&folder.file(&name));
            let Some(read) = libvhdi(&folder, &name) else {
                return;
            };
            assert!(read.len() == 1 && read[0] == model, "{name}");
            models = vec![model];
        }
        let mut parent = format!("base.{extension}");
        for (number, name) in ["child", "top"].into_iter().enumerate() {
            let name = format!("{name}.{extension}");
            let path = folder.file(&parent);
            let kind = match extension {
                "vhd" => NewKind::VhdDifferencing { parent: path },
                _ => NewKind::VhdxDifferencing { parent: path },
            };
            create(&folder.file(&name), &NewDisk::new(kind, SIZE)).unwrap();
            let mut disk = open(&folder.file(&name), &OpenOptions::writable())
                .unwrap()
                .disk;
            let mut model = models[number].clone();
            // Within a block of the parent's, across one's end, and where nothing is.
            for offset in [700, (2 << 20) - 1000, 30 << 20] {
                let data = [0x70 + number as u8; 3000];
                let offset = offset + number * 1000;
                disk.write(offset as u64, &data).unwrap();
                model[offset..offset + data.len()].copy_from_slice(&data);
            }
            disk.close().unwrap();
            models.push(model);
            parent = name;
        }
        let read = libvhdi(&folder, &parent).unwrap();
        let order: Vec<_> = read
            .iter()
            .map(|bytes| models.iter().position(|m| m == bytes))
            .collect();
        assert_eq!(order, [Some(0), Some(1), Some(2)], "{parent}");
    }
}
