//! Vmms are killed with SIGKILL while their guests write, flush and read their disks, and their
//! memory and their disk are used again at once: by the next vmm, or by a machine of this program,
//! which counts what the hypervisor got back, and looks at the disk.

use crate::disk_firmware::{self, PLACE_SECTORS, PLACES, stamp};
use crate::random::Random;
use crate::spinner::Spinner;
use crate::survive::{ask_each_cpu, describe};
use disk::{Disk, FileStorage, SECTOR_SIZE};
use disks::OpenOptions;
use hypervisor_abi::{Call, Status};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The machine's folder, on the data disk.
const FOLDER: &str = "/data/kill-loop";
const DISK: &str = "/data/kill-loop/disk.vhd";
const MACHINE: &str = "name: kill-loop\ngeneration: 1\nprocessors: 1\nmemory_mib: 16\nfirmware: firmware.bin\n\
    disks:\n  - {controller: ide, location: 0, path: disk.vhd}\n";
const PAYLOAD: &str = "/usr/share/entente/payload";
const DISK_BYTES: u64 = PLACES * PLACE_SECTORS * SECTOR_SIZE;
const BLOCK_BYTES: u32 = 2 << 20;
/// What a vmm reads and writes before its guest does is less.
const OWN_BYTES: u64 = 1 << 20;
/// A start, until the guest's first disk I/O, takes no longer.
const LONGEST_START: Duration = Duration::from_secs(30);

/// Kills `rounds` vmms that use `granule`, one after the other, and then runs the payload's tests to
/// their end. A machine in the granule `other` counts meanwhile.
///
/// # Errors
/// If a vmm ends by itself, something does not come back, the disk has lost something that it had
/// before, or the payload fails.
pub fn kill_loop(
    granule: &str,
    other: &str,
    rounds: &str,
    words: &[&str],
) -> Result<String, String> {
    let rounds: usize = rounds.parse().map_err(|e| format!("{rounds}: {e}"))?;
    let mut random = Random::from_words(words);
    make_machine().map_err(|e| format!("{FOLDER}: {e}"))?;
    let counter = Counter::new(other)?;
    let mut written = vec![false; PLACES as usize];
    let (mut under_load, mut moved, mut counted) = (0, 0, 0);
    for round in 0..rounds {
        let in_round = |why| format!("round {round}: {why}");
        // One of four is killed at any time of its start; the others amid the guest's I/O.
        let bytes = kill_one(granule, round % 4 != 0, &mut random).map_err(in_round)?;
        under_load += usize::from(bytes > OWN_BYTES);
        moved += bytes;
        // The others' memory and disk go to the next vmm as they were left.
        if round % 2 == 1 || round + 1 == rounds {
            counter.take_back(granule).map_err(in_round)?;
            look_for_stamps(&mut written).map_err(in_round)?;
            counted += 1;
        }
    }
    // Whoever opens the disk next puts right what the last kill left; others shall read it then.
    let mut disk = open_disk(&OpenOptions::writable())?;
    disk.close().map_err(|e| format!("the disk: {e}"))?;
    if under_load < rounds / 2 {
        return Err(format!("only {under_load} of {rounds} were under load"));
    }
    let arguments = ["--granule", granule, "--processors", "2"];
    let status = Command::new("/bin/vmm")
        .args(["payload", PAYLOAD])
        .args(arguments)
        .status()
        .map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("the payload ended with {}", describe(status)));
    }
    let cpus = ask_each_cpu()?;
    let (mib, places) = (moved >> 20, written.iter().filter(|w| **w).count());
    Ok(format!(
        "{rounds} vmms killed, {under_load} of them under load, {mib} MiB moved; {counted} times all \
         {} pages were back and the disk whole, with {places} places written at last; {cpus}",
        counter.free_pages
    ))
}

fn make_machine() -> Result<(), String> {
    let folder = Path::new(FOLDER);
    let text = |e: std::io::Error| e.to_string();
    std::fs::create_dir_all(folder).map_err(text)?;
    std::fs::write(folder.join("machine.yaml"), MACHINE).map_err(text)?;
    std::fs::write(folder.join("firmware.bin"), disk_firmware::image()).map_err(text)?;
    File::create(DISK).map_err(text)?;
    let storage = FileStorage::open(Path::new(DISK), true).map_err(text)?;
    vhd::create_dynamic(storage, DISK_BYTES, BLOCK_BYTES, *b"killed vmms' VHD", 0)
        .map(drop)
        .map_err(|e| e.to_string())
}

/// Starts a vmm and kills it. Answers how many bytes it had moved.
fn kill_one(granule: &str, under_load: bool, random: &mut Random) -> Result<u64, String> {
    let mut vmm = Command::new("/bin/vmm")
        .args(["run", FOLDER, "--granule", granule, "--serial", "none"])
        .spawn()
        .map_err(|e| format!("the vmm can't be started: {e}"))?;
    if under_load {
        wait_for_load(&mut vmm)?;
    }
    std::thread::sleep(Duration::from_millis(random.below(80)));
    let bytes = moved_by(&vmm);
    vmm.kill().map_err(|e| e.to_string())?;
    let status = vmm.wait().map_err(|e| e.to_string())?;
    match status.signal() {
        Some(libc::SIGKILL) => Ok(bytes),
        _ => Err(format!("the vmm had ended by itself: {}", describe(status))),
    }
}

/// A machine of this program, which may ask how much is free.
struct Counter {
    machine: Spinner,
    /// Of the hypervisor's pages, while there is no other machine.
    free_pages: u64,
}

impl Counter {
    fn new(granule: &str) -> Result<Self, String> {
        let machine = create(granule)?;
        let mut this = Self {
            machine,
            free_pages: 0,
        };
        this.free_pages = this.ask()?;
        Ok(this)
    }

    fn ask(&self) -> Result<u64, String> {
        let answer = self.machine.call(Call::FreePages, [0; 4]);
        match answer.named() {
            Some(Status::Ok) => Ok(answer.outputs[0]),
            _ => Err(format!("the free pages: {answer:x?}")),
        }
    }

    /// Makes a machine over the memory of one that was killed, ends it, and counts.
    fn take_back(&self, granule: &str) -> Result<(), String> {
        let held = self.ask()?;
        let next = create(granule)?;
        let ended = next.call(Call::DestroyMachine, [0; 4]);
        if ended.named() != Some(Status::Ok) {
            return Err(format!("the end of the machine: {ended:x?}"));
        }
        match self.ask()? {
            free if free != self.free_pages => Err(format!(
                "{free} pages of the hypervisor are free, {held} before, {} at first",
                self.free_pages
            )),
            _ => Ok(()),
        }
    }
}

fn create(granule: &str) -> Result<Spinner, String> {
    let mut machine = Spinner::open(granule)?;
    machine
        .create()
        .map_err(|(call, answer)| format!("{call:?}: {answer:x?}"))?;
    Ok(machine)
}

fn open_disk(options: &OpenOptions) -> Result<Box<dyn Disk>, String> {
    let opened = disks::open(Path::new(DISK), options).map_err(|e| e.to_string())?;
    Ok(opened.disk)
}

/// Opens the disk and reads the stamp of each half place. `written` says where both
/// were found before, and learns where they are now.
fn look_for_stamps(written: &mut [bool]) -> Result<(), String> {
    let mut disk = open_disk(&OpenOptions::read_only())?;
    for (lba, written) in (0..).step_by(PLACE_SECTORS as usize).zip(written) {
        let mut halves = 0;
        for half in [lba, lba + PLACE_SECTORS / 2] {
            match read_stamp(&mut *disk, half)? {
                0 => {}
                found if found == stamp(lba) => halves += 1,
                found => return Err(format!("sector {half} of the disk begins with {found:#x}")),
            }
        }
        if *written && halves != 2 {
            return Err(format!(
                "the disk has lost what was written at sector {lba}"
            ));
        }
        *written = halves == 2;
    }
    Ok(())
}

fn read_stamp(disk: &mut dyn Disk, lba: u64) -> Result<u32, String> {
    let mut sector = [0; SECTOR_SIZE as usize];
    disk.read(lba * SECTOR_SIZE, &mut sector)
        .map_err(|e| format!("sector {lba} of the disk: {e}"))?;
    let [a, b, c, d, ..] = sector;
    Ok(u32::from_le_bytes([a, b, c, d]))
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
