//! The vmm: one process per machine. It brings the firmware, the chipset and the disks; the
//! hypervisor brings the processors.
//!
//! - `vmm run FOLDER`: the machine that `machine.yaml` in the folder describes.
//! - `vmm payload FILE`: a 64-bit ELF executable as the whole guest, entered in long mode.
//! - `vmm prove-cpus`: shows that every CPU of the control domain is under the hypervisor.
//!
//! The map: [`machine`] puts a machine together, [`processor`] is the loop of one virtual
//! processor, [`board`] is what answers at ports and unmapped memory, [`emulator`] executes the
//! instruction behind a memory access, [`layout`] keeps the guest's memory map.
//!
//! What is absent: unsafe code; a reference into guest memory; a lock held while a guest runs;
//! state that must be cleaned up when this process is killed.
#![forbid(unsafe_code)]

mod board;
mod bus;
mod clock;
mod command;
mod console;
mod control;
mod crash;
mod disk;
mod dynamic_memory;
mod emulator;
mod events;
mod firmware;
mod generation_1_board;
mod generation_2_board;
mod granule;
mod history;
mod hypercall_exit;
mod inspect;
mod keyboard;
mod layout;
mod legacy_adapter;
mod machine;
mod machine_file;
mod mainboard;
mod media;
mod memory;
mod network_adapter;
mod outcome;
mod payload;
mod processor;
mod processors;
mod prove;
mod queued_disk;
mod run;
mod running;
mod screen;
mod scsi_controller;
mod scsi_media;
mod secure_boot;
mod serial_port;
mod sockets;
mod storage;
mod terminal;
mod test_board;
mod tpm;
mod variable_store;
mod video;
mod vmbus_device;
mod vmbus_host;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::parse(std::env::args_os().skip(1)).and_then(command::execute) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("entente-vmm: {error}");
            ExitCode::FAILURE
        }
    }
}
