//! The devices that every machine has on its VMBus, and the handles by which the vmm uses them.

use dynamic_memory::Assigned;
use integration_services::{backup, file_copy, heartbeat, key_value, shutdown, time_sync};
use std::time::{SystemTime, UNIX_EPOCH};
use synthetic_input::keyboard::{Keyboard, Strokes};
use synthetic_input::mouse::{Mouse, Movements};
use synthetic_video::Screen;
use uuid::Uuid;
use vmbus::Device;

/// What the vmm can ask of a guest whose drivers are there.
#[derive(Clone, Default)]
pub struct Services {
    /// Asks for an orderly end.
    pub shutdown: shutdown::Request,
    /// Takes what is typed.
    pub keyboard: Strokes,
    mouse: Movements,
    /// What the guest says about its screen; Generation 2 alone.
    pub screen: Screen,
    /// How the guest is.
    pub heartbeat: heartbeat::Status,
    /// What it says about itself.
    pub pairs: key_value::Pairs,
    /// Freezes its file systems.
    pub file_systems: backup::FileSystems,
    /// Copies files into it.
    pub copies: file_copy::Copies,
    /// How much memory it has, where that may change.
    pub memory: Assigned,
}

impl Services {
    /// Services that tell when the guest's health changes.
    pub fn telling(listener: impl Fn(heartbeat::Health) + Send + Sync + 'static) -> Self {
        Self {
            heartbeat: heartbeat::Status::telling(listener),
            ..Self::default()
        }
    }

    /// The devices behind the handles, new for each start of the machine. `host` are the pairs that its guest
    /// is told.
    pub fn devices(&self, host: Vec<(String, String)>) -> Vec<Box<dyn Device>> {
        vec![
            Box::new(shutdown::Shutdown::new(self.shutdown.clone())),
            Box::new(time_sync::TimeSync::new(Box::new(utc_ns))),
            Box::new(heartbeat::Heartbeat::new(self.heartbeat.clone())),
            Box::new(key_value::KeyValue::new(self.pairs.clone(), host)),
            Box::new(backup::Backup::new(self.file_systems.clone())),
            Box::new(file_copy::FileCopy::new(&self.copies)),
            Box::new(Keyboard::new(self.keyboard.clone())),
            Box::new(Mouse::new(self.mouse.clone())),
        ]
    }
}

/// What guests of Hyper-V are told about where they run.
pub fn host_pairs(machine: &str, guid: Uuid) -> Vec<(String, String)> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let pairs = [
        ("HostName", host.trim().to_owned()),
        ("PhysicalHostName", host.trim().to_owned()),
        ("VirtualMachineId", guid.to_string().to_uppercase()),
        ("VirtualMachineName", machine.to_owned()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

fn utc_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}
