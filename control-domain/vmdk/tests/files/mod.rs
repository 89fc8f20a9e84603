//! Files for the tests: samples that others made, and a folder that goes away again.
#![allow(dead_code)]

use disk::{Disk, DiskError, FileStorage};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vmdk::Vmdk;

/// Opens a VMDK whose extents lie beside it.
pub fn open(path: &Path) -> Result<Vmdk<FileStorage>, DiskError> {
    let folder = path.parent().unwrap().to_owned();
    let storage = FileStorage::open(path, false).unwrap();
    Vmdk::open(storage, &mut |name| {
        FileStorage::open(&folder.join(name), false)
    })
}

/// The sample's bytes, unpacked; nothing, saying so, where the samples are absent.
pub fn sample(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/samples")
        .join(name);
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("skipped: no sample {name}");
        return None;
    };
    if !name.ends_with(".gz") {
        return Some(file);
    }
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&file[..])
        .read_to_end(&mut bytes)
        .unwrap();
    Some(bytes)
}

/// The stream inside VirtualBox's package: compressed grains, and the directory in the footer.
pub fn disk_of_package() -> Option<Vec<u8>> {
    let package = sample("virtualbox/t-ovf10.ova")?;
    let mut archive = tar::Archive::new(&package[..]);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let is_disk = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "vmdk")
    };
    let mut entry = entries
        .find(|entry| is_disk(&entry.path().unwrap()))
        .unwrap();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// Puts bytes into a file of a folder.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// SHA-256 of the whole disk, in hexadecimal digits: by the program of the system, because that is
/// optimized and these tests are not.
pub fn digest(disk: &mut dyn Disk) -> String {
    let mut program = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let mut data = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < disk.size() {
        let length = (disk.size() - offset).min(data.len() as u64);
        disk.read(offset, &mut data[..length as usize]).unwrap();
        input.write_all(&data[..length as usize]).unwrap();
        offset += length;
    }
    drop(input);
    let said = program.wait_with_output().unwrap().stdout;
    String::from_utf8_lossy(&said[..64]).into_owned()
}

/// SHA-256 of a file.
pub fn digest_of_file(path: &Path) -> String {
    let storage = FileStorage::open(path, false).unwrap();
    digest(&mut disk::Raw::open(storage, false).unwrap())
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Runs a program, which must succeed. False, saying so, where it is not installed.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            return false;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    true
}
