//! Virtual switches, in Hyper-V's words: what connects guests with each other, with the control domain and
//! with the world.
//!
//! - `switchd create`: makes the bridges that `/data/switches.yaml` names, and the Default Switch. It ends
//!   when guests can be plugged in.
//! - `switchd serve`: addresses and names for guests of the Default Switch (DHCP, DNS), and an address for
//!   the control domain on its physical adapters (DHCP).
//!
//! ```text
//! switch_file.rs  what an administrator wrote         dhcp/      the protocol, its server, its client
//! create.rs       bridges, addresses, translation     dns.rs     names, passed on to whoever knows them
//! serve.rs        the threads                         uplink.rs  the control domain's own address
//! ```
//!
//! What is absent: the frames themselves, which the kernel's bridges carry; state on a disk: addresses are
//! given by MAC, the same one again after a restart where it is free; unsafe code.
#![forbid(unsafe_code)]

mod create;
mod dhcp;
mod dns;
mod serve;
mod switch_file;
mod uplink;

use std::process::ExitCode;
use switch_file::SwitchFile;

/// Prints a line of the log.
macro_rules! report {
    ($($what:tt)*) => { eprintln!("entente-switchd: {}", format_args!($($what)*)) };
}
pub(crate) use report;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let file = SwitchFile::read().unwrap_or_else(|error| {
        report!("{error}; the Default Switch alone is there");
        SwitchFile::default()
    });
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["create"] => match create::all(&file) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        ["serve"] => serve::all(&file),
        _ => {
            report!("say `create` or `serve`");
            ExitCode::from(2)
        }
    }
}
