//! Turning the PC off, or starting it again, with nothing lost.

use crate::console::{self, report};
use crate::data_partition;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use rustix::system::{RebootCommand, reboot};
use std::time::{Duration, Instant};

/// How long programs may take to end after SIGTERM, and after SIGKILL.
const PATIENCE: [(Signal, Duration); 2] = [
    (Signal::TERM, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// How long the console may take to send what it holds: a serial line takes 0.4 s for 4 KiB.
const CONSOLE_PATIENCE: Duration = Duration::from_secs(3);

/// Makes Ctrl-Alt-Del a SIGINT to PID 1, in place of an immediate reset.
pub fn take_ctrl_alt_del() {
    if let Err(error) = reboot(RebootCommand::CadOff) {
        report!("Ctrl-Alt-Del still resets at once: {error}");
    }
}

/// Turns the PC off.
pub fn off() -> ! {
    down("power off", RebootCommand::PowerOff)
}

/// Starts the PC again.
pub fn restart() -> ! {
    down("restart", RebootCommand::Restart)
}

fn down(what: &str, command: RebootCommand) -> ! {
    end_programs();
    rustix::fs::sync();
    data_partition::unmount();
    report!("{what}");
    console::drain(CONSOLE_PATIENCE);
    if let Err(error) = reboot(command) {
        report!("{what}: {error}; it is safe to switch the PC off");
    }
    park()
}

/// Waits for ever: PID 1 must not end.
pub fn park() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn end_programs() {
    for (signal, patience) in PATIENCE {
        for pid in programs() {
            let _ = kill_process(pid, signal);
        }
        if all_reaped(Instant::now() + patience) {
            return;
        }
    }
    report!("some programs did not end");
}

/// All processes but init and the kernel's own threads, which have no command line.
fn programs() -> impl Iterator<Item = Pid> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let command_line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Pid::from_raw(number).filter(|pid| !pid.is_init() && !command_line.is_empty())
        })
}

/// `true` as soon as no child is left; orphans are children of PID 1 too.
fn all_reaped(end: Instant) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}
