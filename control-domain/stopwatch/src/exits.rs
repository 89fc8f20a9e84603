//! How often a guest's processors were left: KVM's own count, or our vmm's word.

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::CStr;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const DEBUG: &str = "/sys/kernel/debug";
/// How long the vmm has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever can be asked.
pub enum Exits {
    /// debugfs tells them of all machines; there is one.
    Kvm,
    /// The vmm says them on standard error when it gets SIGUSR1.
    Vmm(Pid, Receiver<u64>),
}

impl Exits {
    /// Of the process with this number, which writes `errors`.
    pub fn of(process: u32, errors: impl Read + Send + 'static) -> Option<Self> {
        let told = follow(errors);
        let no_data: Option<&CStr> = None;
        let debugfs = mount("debugfs", DEBUG, "debugfs", MountFlags::empty(), no_data);
        if debugfs.is_ok() && std::path::Path::new(DEBUG).join("kvm").exists() {
            return Some(Self::Kvm);
        }
        let pid = Pid::from_raw(i32::try_from(process).ok()?)?;
        Some(Self::Vmm(pid, told))
    }

    /// Exits until now; 0 where nobody answers.
    pub fn count(&self) -> u64 {
        match self {
            Self::Kvm => {
                let text = std::fs::read_to_string(format!("{DEBUG}/kvm/exits"));
                text.unwrap_or_default().trim().parse().unwrap_or(0)
            }
            Self::Vmm(pid, told) => {
                // What was told unasked.
                told.try_iter().for_each(drop);
                let asked = kill_process(*pid, Signal::USR1);
                let told = asked.ok().and_then(|()| told.recv_timeout(PATIENCE).ok());
                told.unwrap_or(0)
            }
        }
    }
}

/// Passes lines on and finds counts in them.
fn follow(errors: impl Read + Send + 'static) -> Receiver<u64> {
    let (counts, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            eprintln!("{line}");
            if let Some(count) = count_in(&line) {
                let _ = counts.send(count);
            }
        }
    });
    told
}

fn count_in(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["entente-vmm:", count, "exits", "of", _, "processors"] => count.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vmms_sum_is_found_among_its_lines() {
        let said = "entente-vmm: processor 0: 12 exits, 3 answered here\nentente-vmm: 15 exits of 2 processors\n";
        let told = follow(said.as_bytes());
        assert_eq!(told.recv(), Ok(15));
        assert!(told.recv().is_err());
    }
}
