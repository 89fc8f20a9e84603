//! The machine as a tree of what is in it and how it is.

use crate::dynamic_memory;
use crate::running::Running;
use integration_services::heartbeat::Health;
use serde_json::{Map, Value, json};

/// The machine in a few words.
pub fn state(running: &Running) -> Value {
    let hardware = running.hardware();
    json!({
        "name": hardware.file.name,
        "state": if running.machine().is_some() { "running" } else { "starting" },
        "processors": hardware.file.processors,
        "memory_mib": hardware.file.memory_mib,
        "uptime_seconds": running.started().elapsed().as_secs(),
        "heartbeat": health(running),
    })
}

fn health(running: &Running) -> &'static str {
    match running.services().heartbeat.health() {
        Health::NoContact => "no contact",
        Health::Alive => "alive",
        Health::Lost => "lost",
    }
}

/// All of the machine.
pub fn tree(running: &Running) -> Value {
    let mut tree = state(running);
    tree["process"] = std::process::id().into();
    tree["key_value_pairs"] = json!(running.services().pairs.all());
    tree["dynamic_memory"] = dynamic_memory::state(running).unwrap_or_default();
    tree["file_systems_frozen"] = running.services().file_systems.are_frozen().into();
    {
        let hardware = running.hardware();
        tree["guid"] = hardware.file.guid().to_string().into();
        tree["generation"] = hardware.file.generation.into();
        tree["folder"] = running.folder().display().to_string().into();
        tree["drives"] = drives(&hardware.file);
        let scsi = hardware.scsi.iter().map(|controller| controller.inspect());
        tree["scsi_controllers"] = scsi.collect();
    }
    if let Some(machine) = running.machine() {
        let exits = machine.exits().into_iter().map(|exits| {
            json!({
                "exits": exits.all,
                "answered_in_vmm": exits.answered,
                "by_interrupts": exits.interrupted,
                "interrupts_injected": exits.injected,
            })
        });
        tree["processor_exits"] = exits.collect();
        tree["vmbus"] = machine.vmbus.as_ref().map(|v| vmbus(&v.bus)).into();
        let devices = machine.with_board(|board, _, _| board.inspect());
        let devices: Map<String, Value> = devices
            .into_iter()
            .map(|(name, state)| (name.into(), state.into()))
            .collect();
        tree["chipset"] = devices.into();
    }
    tree
}

fn drives(file: &crate::machine_file::MachineFile) -> Value {
    let mut drives = Map::new();
    for disk in &file.disks {
        let about = json!({"kind": "disk", "path": disk.path});
        drives.insert(disk.place().to_string(), about);
    }
    for dvd in &file.dvds {
        let about = json!({"kind": "DVD drive", "disc": dvd.path});
        drives.insert(dvd.place().to_string(), about);
    }
    drives.into()
}

fn vmbus(bus: &vmbus::Bus) -> Value {
    let state = bus.inspect();
    let devices = state.devices.into_iter().map(|device| {
        json!({
            "name": device.name,
            "interface": device.interface.to_string(),
            "instance": device.instance.to_string(),
            "open_channels": device.open_channels,
            "gpadls": device.gpadls,
        })
    });
    json!({
        "version": state.version.map(|version| version.to_string()),
        "gpadls": state.gpadls,
        "messages_waiting": state.messages_waiting,
        "devices": devices.collect::<Vec<_>>(),
    })
}
