//! `entente disk mount`: a disk as files of a folder, for reading.

mod file_system;
mod partitions;

use super::options::{ACCEPT_PARENT, AS, for_reading};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::{Report, aligned, say};
use crate::size;
use file_system::{Files, Window};
use fuser::{Config, MountOption, Session};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::Path;

/// `entente disk mount FILE FOLDER`
pub const MOUNT: Command = Command {
    name: "mount",
    summary: "show a disk and its partitions as raw files of a folder, for reading",
    operands: &["FILE", "FOLDER"],
    options: &[AS, ACCEPT_PARENT],
    notes: "FILE may be any file of a chain: what is shown is the disk as of that file.\n\
            It stays until `umount FOLDER`, or until this command is stopped (Ctrl-C).\n\
            The files of a guest are then had with `7z x FOLDER/partition-1.raw`, or as root with\n\
            `mount -o ro,loop,noload FOLDER/partition-1.raw /mnt` (noload: for ext3 and ext4, which would replay their journal).",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let (file, folder) = (given.path(0), given.path(1));
    let opened = disks::open(file, &for_reading(given)?)?;
    for warning in opened.warnings() {
        eprintln!("warning: {warning}");
    }
    let mut disk = opened.disk;
    let mut windows = vec![Window {
        name: "disk.raw".to_owned(),
        start: 0,
        length: disk.size(),
    }];
    let found = partitions::find(disk.as_mut());
    windows.extend(found.iter().map(|partition| Window {
        name: format!("partition-{}.raw", partition.number),
        start: partition.start,
        length: partition.length,
    }));
    let text = aligned(
        windows
            .iter()
            .map(|w| (w.name.as_str(), size::exact(w.length))),
    );
    let json = answer(folder, &windows);
    serve(Files::new(disk, windows), file, folder, || {
        let said = match given.wants_json() {
            true => json.to_string(),
            false => format!("{}at {} until it is unmounted", text, folder.display()),
        };
        // Nobody reads it: the files are there all the same.
        let _ = say(&said);
    })?;
    // All was said when the files were there.
    Ok(Report::new(String::new(), Value::Null))
}

fn answer(folder: &Path, windows: &[Window]) -> Value {
    let files = windows.iter().map(|window| {
        json!({
            "file": folder.join(&window.name).to_string_lossy(),
            "start": window.start,
            "length": window.length,
        })
    });
    json!({"mounted": folder.to_string_lossy(), "files": files.collect::<Vec<_>>()})
}

/// Answers the kernel until somebody unmounts the folder or stops the command.
fn serve(files: Files, file: &Path, folder: &Path, ready: impl FnOnce()) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::Failed(format!(
            "{}: {what}: {error}; mounting wants an empty folder, /dev/fuse, and root or the program fusermount3 (package fuse3)",
            folder.display()
        ))
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::FSName(file.display().to_string()),
        MountOption::Subtype("entente".into()),
    ];
    if !folder.is_dir() {
        return Err(Failure::Failed(format!(
            "{}: there is no such folder; make it first",
            folder.display()
        )));
    }
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|e| failed("signals", e))?;
    let mut session = Session::new(files, folder, &config).map_err(|e| failed("can't mount", e))?;
    let mut unmounter = session.unmount_callable();
    let stop = signals.handle();
    let watcher = std::thread::spawn(move || {
        for _ in signals.forever() {
            if let Err(error) = unmounter.unmount() {
                eprintln!(
                    "error: can't unmount yet: {error}; close what uses the files, and try again"
                );
            }
        }
    });
    ready();
    let ended = session.run();
    stop.close();
    // It only waits for signals, and was told to end.
    let _ = watcher.join();
    ended.map_err(|e| failed("the kernel's requests can't be read", e))
}
