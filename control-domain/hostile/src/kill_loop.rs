//! Vmms are killed with SIGKILL while their guests write, flush and read their disks, and the next
//! one is started on the same memory and the same disk at once.

use crate::disk_firmware;
use crate::random::Random;
use crate::survive::{ask_each_cpu, describe};
use disk::FileStorage;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The machine's folder, on the data disk.
const FOLDER: &str = "/data/kill-loop";
const MACHINE: &str = "name: kill-loop\ngeneration: 1\nprocessors: 1\nmemory_mib: 16\nfirmware: firmware.bin\n\
    disks:\n  - {controller: ide, location: 0, path: disk.vhd}\n";
const PAYLOAD: &str = "/usr/share/entente/payload";
const DISK_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: u32 = 2 << 20;
/// What a vmm reads and writes before its guest does is less.
const OWN_BYTES: u64 = 1 << 20;
/// A start, until the guest's first disk I/O, takes no longer.
const LONGEST_START: Duration = Duration::from_secs(30);

/// Kills `rounds` vmms, one after the other, and then runs the payload's tests to their end.
///
/// # Errors
/// If a vmm ends by itself, or the payload fails.
pub fn kill_loop(granule: &str, rounds: &str, words: &[&str]) -> Result<String, String> {
    let rounds: usize = rounds.parse().map_err(|e| format!("{rounds}: {e}"))?;
    let mut random = Random::from_words(words);
    make_machine().map_err(|e| format!("{FOLDER}: {e}"))?;
    let (mut under_load, mut moved) = (0, 0);
    for round in 0..rounds {
        let mut vmm = Command::new("/bin/vmm")
            .args(["run", FOLDER, "--granule", granule, "--serial", "none"])
            .spawn()
            .map_err(|e| format!("round {round}: the vmm can't be started: {e}"))?;
        // One of four is killed at any time of its start; the others amid the guest's I/O.
        if round % 4 != 0 {
            wait_for_load(&mut vmm).map_err(|why| format!("round {round}: {why}"))?;
        }
        std::thread::sleep(Duration::from_millis(random.below(80)));
        let bytes = moved_by(&vmm);
        under_load += usize::from(bytes > OWN_BYTES);
        moved += bytes;
        vmm.kill().map_err(|e| e.to_string())?;
        let status = vmm.wait().map_err(|e| e.to_string())?;
        if status.signal() != Some(libc::SIGKILL) {
            return Err(format!(
                "round {round}: the vmm had ended by itself: {}",
                describe(status)
            ));
        }
    }
    if under_load < rounds / 2 {
        return Err(format!("only {under_load} of {rounds} were under load"));
    }
    let status = Command::new("/bin/vmm")
        .args([
            "payload",
            PAYLOAD,
            "--granule",
            granule,
            "--processors",
            "2",
        ])
        .status()
        .map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("the payload ended with {}", describe(status)));
    }
    let cpus = ask_each_cpu()?;
    let mib = moved >> 20;
    Ok(format!(
        "{rounds} vmms killed, {under_load} of them under load, {mib} MiB moved; {cpus}"
    ))
}

fn make_machine() -> Result<(), String> {
    let folder = Path::new(FOLDER);
    let text = |e: std::io::Error| e.to_string();
    std::fs::create_dir_all(folder).map_err(text)?;
    std::fs::write(folder.join("machine.yaml"), MACHINE).map_err(text)?;
    std::fs::write(folder.join("firmware.bin"), disk_firmware::image()).map_err(text)?;
    let disk = folder.join("disk.vhd");
    File::create(&disk).map_err(text)?;
    let storage = FileStorage::open(&disk, true).map_err(text)?;
    vhd::create_dynamic(storage, DISK_BYTES, BLOCK_BYTES, *b"killed vmms' VHD", 0)
        .map(drop)
        .map_err(|e| e.to_string())
}

fn wait_for_load(vmm: &mut Child) -> Result<(), String> {
    let start = Instant::now();
    while moved_by(vmm) <= OWN_BYTES {
        if let Some(status) = vmm.try_wait().map_err(|e| e.to_string())? {
            return Err(format!("the vmm ended by itself: {}", describe(status)));
        }
        if start.elapsed() > LONGEST_START {
            let moved = moved_by(vmm);
            return Err(format!("the guest does not use its disk: {moved} bytes"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Bytes that the process has moved by read and write calls (proc(5), `/proc/PID/io`).
fn moved_by(process: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", process.id())).unwrap_or_default();
    sum_of_io(&text)
}

fn sum_of_io(text: &str) -> u64 {
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    number("rchar:").unwrap_or(0) + number("wchar:").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_bytes_are_added() {
        assert_eq!(sum_of_io("rchar: 10\nwchar: 5\nread_bytes: 99\n"), 15);
        assert_eq!(sum_of_io(""), 0);
    }
}
