//! The control domain sends NMIs to a CPU while a guest has it. Each must reach its kernel's handler, at
//! once and once: while the guest runs, or while the hypervisor answers the guest's exits.
//!
//! The kernel sends them itself when it is asked for a backtrace of all CPUs (SysRq `l`), and logs
//! whom it interrupted.

use crate::survive::ask_each_cpu;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PAYLOAD: &str = "/usr/share/entente/payload";
/// The guest's CPU; this process has the other one.
const TARGET: usize = 1;
/// The guest gets so long to come up.
const START: Duration = Duration::from_millis(1500);
/// The kernel itself gives an NMI ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends `count` NMIs to the CPU of a payload that does `mode` for ever.
///
/// # Errors
/// Which NMI did not arrive, or arrived twice.
pub fn nmi(granule: &str, mode: &str, count: &str) -> Result<String, String> {
    let count: u64 = count.parse().map_err(|e| format!("{count}: {e}"))?;
    // In a thread of its own, as it leaves one CPU to the guest.
    let hits = std::thread::scope(|scope| {
        let sender = scope.spawn(|| beside_a_guest(granule, mode, count));
        sender
            .join()
            .unwrap_or_else(|_| Err("the sender panicked".to_owned()))
    })?;
    // They came while the guest had the CPU, but for its own moments in the vmm.
    if hits * 2 <= count {
        return Err(format!(
            "only {hits} of {count} NMIs found the guest's thread"
        ));
    }
    let cpus = ask_each_cpu()?;
    Ok(format!(
        "{count} NMIs while the guest did {mode}, {hits} of them in its run; {cpus}"
    ))
}

/// Starts the guest, sends the NMIs and ends it; answers as [`send_all`].
fn beside_a_guest(granule: &str, mode: &str, count: u64) -> Result<u64, String> {
    let pin = |cpu| hypercall::pin_to_cpu(cpu).map_err(|e| format!("there is no CPU {cpu}: {e}"));
    // A child is born where its parent is.
    pin(TARGET)?;
    let mut vmm = Command::new("/bin/vmm")
        .args(["payload", PAYLOAD, "--granule", granule, "--command", mode])
        .spawn()
        .map_err(|e| e.to_string())?;
    let outcome = pin(0).and_then(|()| {
        std::thread::sleep(START);
        send_all(&mut vmm, count)
    });
    let ended = vmm.kill().and_then(|()| vmm.wait());
    ended.map_err(|e| format!("the vmm can't be ended: {e}"))?;
    outcome
}

/// Answers how many of them the kernel says it took in one of the vmm's threads.
fn send_all(vmm: &mut Child, count: u64) -> Result<u64, String> {
    let mut log = Log::open()?;
    let mut hits = 0;
    for sent in 0..count {
        let before = received()?;
        std::fs::write("/proc/sysrq-trigger", "l").map_err(|e| format!("SysRq: {e}"))?;
        let end = Instant::now() + PATIENCE;
        while received()? == before && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let arrived = received()? - before;
        if arrived != 1 {
            return Err(format!("NMI {sent} arrived {arrived} times"));
        }
        let task = log.interrupted()?.unwrap_or_default();
        hits += u64::from(Path::new(&format!("/proc/{}/task/{task}", vmm.id())).exists());
        if let Some(status) = vmm.try_wait().map_err(|e| e.to_string())? {
            return Err(format!("the vmm ended with {status} at NMI {sent}"));
        }
    }
    Ok(hits)
}

/// How many NMIs the CPU's handler has seen, as the kernel counts them.
fn received() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/interrupts").map_err(|e| e.to_string())?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("NMI:"));
    line.and_then(|counts| counts.split_whitespace().nth(TARGET)?.parse().ok())
        .ok_or_else(|| format!("the kernel does not count the NMIs of CPU {TARGET}"))
}

/// The kernel's log from now on.
struct Log(File);

impl Log {
    fn open() -> Result<Self, String> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open("/dev/kmsg").map_err(|e| e.to_string())?;
        file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
        Ok(Self(file))
    }

    /// Which thread the last NMI interrupted: `CPU: 1 UID: 0 PID: 83 Comm: …`.
    fn interrupted(&mut self) -> Result<Option<u32>, String> {
        let mark = format!("CPU: {TARGET} ");
        let mut found = None;
        // Each read gives one record; none is longer.
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let behind = text.split_once(&mark).and_then(|(_, rest)| {
                        let (_, number) = rest.split_once("PID: ")?;
                        number.split_whitespace().next()?.parse().ok()
                    });
                    found = behind.or(found);
                }
                Err(error) => match error.kind() {
                    std::io::ErrorKind::WouldBlock => return Ok(found),
                    // The oldest records were overwritten meanwhile.
                    std::io::ErrorKind::BrokenPipe => {}
                    _ => return Err(format!("/dev/kmsg: {error}")),
                },
            }
        }
    }
}
