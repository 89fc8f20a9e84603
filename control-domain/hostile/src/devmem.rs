//! Root reaches for the hypervisor's memory through `/dev/mem`.
//!
//! The map that the firmware and the hypervisor gave to Linux calls it reserved, as it calls much
//! else; which of the reserved ranges are hidden shows by the signal that a read brings.

use crate::survive::{ask_each_cpu, describe};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

const PAGE_BYTES: u64 = 4096;

/// Reads in all reserved ranges of RAM, and writes where reading was refused; each access is a
/// process of its own.
///
/// # Errors
/// If an access had another end than it should, or nothing is hidden.
pub fn devmem() -> Result<String, String> {
    let map = std::fs::read_to_string("/proc/iomem").map_err(|e| format!("/proc/iomem: {e}"))?;
    let (mut hidden, mut signals, mut read) = (0, 0, 0);
    for range in reserved(&map) {
        let samples = [range.0, range.0 + (range.1 - range.0) / 2, range.1 & !7];
        let reads: Vec<bool> = samples
            .iter()
            .map(|address| refused(*address, "read"))
            .collect::<Result<_, _>>()?;
        if reads.iter().all(|refused| !refused) {
            read += 1;
            continue;
        }
        println!("hostile: {:#x} to {:#x} is hidden", range.0, range.1);
        for (address, read) in samples.iter().zip(reads) {
            if !(read && refused(*address, "write")?) {
                return Err(format!("{address:#x} in a hidden range could be reached"));
            }
            signals += 2;
        }
        hidden += 1;
    }
    if hidden < 2 || read == 0 {
        return Err(format!(
            "{hidden} hidden ranges and {read} others: no test of anything"
        ));
    }
    let cpus = ask_each_cpu()?;
    Ok(format!(
        "{hidden} hidden ranges, {signals} processes got their signal; {cpus}"
    ))
}

/// First and last address of the reserved ranges below the end of RAM.
fn reserved(map: &str) -> Vec<(u64, u64)> {
    let ranges = |kind: &'static str| {
        map.lines().filter_map(move |line| {
            let (range, name) = line.split_once(" : ")?;
            let (start, last) = range.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            (name == kind).then_some((number(start)?, number(last)?))
        })
    };
    let end = ranges("System RAM")
        .map(|(_, last)| last)
        .max()
        .unwrap_or(0);
    ranges("Reserved")
        .filter(|(start, last)| *last < end && start < last)
        .collect()
}

/// Whether a process that does this gets its signal.
fn refused(address: u64, access: &str) -> Result<bool, String> {
    let itself = std::env::current_exe().map_err(|e| e.to_string())?;
    let status: ExitStatus = Command::new(itself)
        .args(["devmem-touch", &format!("{address:x}"), access])
        .status()
        .map_err(|e| format!("a process can't be started: {e}"))?;
    match (status.signal(), status.code()) {
        (Some(libc::SIGSEGV), _) => Ok(true),
        (_, Some(0)) => Ok(false),
        _ => Err(format!("{access} of {address:#x}: {}", describe(status))),
    }
}

/// The process: one access, 8 bytes.
///
/// # Errors
/// If Linux does not let it map the page.
pub fn touch(address: &str, access: &str) -> Result<String, String> {
    let address = u64::from_str_radix(address, 16).map_err(|e| e.to_string())?;
    let write = access == "write";
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .open("/dev/mem")
        .map_err(|e| format!("/dev/mem: {e}"))?;
    let rights = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
    // SAFETY: the signal's default action is put in the place of the Rust library's handler, which
    // would try the access a second time. A new shared mapping at an address of the kernel's choice
    // replaces nothing. The access is within the page, aligned, volatile, and hits memory that no
    // reference of this program leads to; that it may end this process is the point.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        let page = libc::mmap(
            core::ptr::null_mut(),
            PAGE_BYTES as usize,
            rights,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            (address & !(PAGE_BYTES - 1)) as libc::off_t,
        );
        if page == libc::MAP_FAILED {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        let word = page
            .byte_add((address % PAGE_BYTES & !7) as usize)
            .cast::<u64>();
        if write {
            word.write_volatile(0x5555_5555_5555_5555);
        } else {
            let _ = word.read_volatile();
        }
    }
    Ok(format!("{access} of {address:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ranges_of_memory_are_found() {
        let map = "00000000-00000fff : Reserved\n00100000-006fffff : System RAM\n  00200000-002fffff : Reserved\n\
                   00700000-0070ffff : Reserved\n00710000-7feebfff : System RAM\nb0000000-bfffffff : Reserved\n";
        assert_eq!(reserved(map), [(0, 0xfff), (0x70_0000, 0x70_ffff)]);
    }
}
