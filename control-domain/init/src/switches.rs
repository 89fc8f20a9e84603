//! The virtual switches: a program of their own makes them, and stays to serve them.

use crate::console::report;
use std::path::Path;
use std::process::Command;

/// Makes and serves virtual switches, if the image has it.
const SWITCHD: &str = "/bin/switchd";

/// Whether the image has switches.
pub fn present() -> bool {
    Path::new(SWITCHD).exists()
}

/// Makes the switches, so that machines can be plugged in, and leaves their server running.
pub fn start() {
    match Command::new(SWITCHD).arg("create").status() {
        Ok(status) if status.success() => {}
        Ok(status) => report!("switches: not all are there: {status}"),
        Err(error) => return report!("switches: {SWITCHD}: {error}"),
    }
    // It is reaped like any orphan.
    if let Err(error) = Command::new(SWITCHD).arg("serve").spawn() {
        report!("switches: {SWITCHD}: {error}");
    }
}
