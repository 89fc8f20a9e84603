//! Any bytes as messages, rings and signals on the bus of a machine with the integration services, keyboard,
//! mouse, screen, dynamic memory, and a program behind every second socket.

use crate::{Records, memory};
use dynamic_memory::{Assigned, DynamicMemory};
use guest_memory::GuestMemory;
use hv_socket::{Connection, Service};
use integration_services::{backup, file_copy, heartbeat, key_value, shutdown, time_sync};
use std::os::unix::net::UnixStream;
use synthetic_input::keyboard::{Keyboard, Stroke, Strokes};
use synthetic_input::mouse::{Mouse, Movements, Pointer};
use synthetic_video::{Display, Mode, Screen, Video};
use vmbus::{Bus, Guest, Host, Posted};

/// A quarter of a second between two records.
const STEP_NS: u64 = 250_000_000;

struct Machine;

impl Host for Machine {
    fn post(&self, processor: u32, sint: u8, message: &[u8; 256]) -> Posted {
        assert!(sint < 16 && message[4] <= 240);
        if processor < 4 {
            Posted::Done
        } else {
            Posted::Nowhere
        }
    }

    fn signal(&self, _: u32, sint: u8, flag: u16) -> Posted {
        assert!(sint < 16 && flag < 2048);
        Posted::Done
    }

    fn report(&self, _: &str) {}
}

/// Has eight MiB that all modes must lie in.
struct Memory;

impl Display for Memory {
    fn place(&mut self, gpa: u64) -> bool {
        gpa.is_multiple_of(4096)
    }

    fn show(&mut self, mode: Option<Mode>) {
        if let Some(mode) = mode {
            let rows_before = u64::from(mode.height - 1) * u64::from(mode.pitch);
            let row = u64::from(mode.width) * u64::from(mode.depth / 8);
            assert!(u64::from(mode.offset) + rows_before + row <= 8 << 20);
        }
    }
}

/// Each record: the content is put where its first piece is, the payload is posted as a control
/// message, and the number in the first piece's length is signalled where a completion is wanted. Then all devices are served.
pub fn bus(input: &[u8]) {
    let Some(memory) = memory() else { return };
    let bus = Bus::default();
    bus.add(Box::new(heartbeat::Heartbeat::new(Default::default())));
    bus.add(Box::new(shutdown::Shutdown::new(Default::default())));
    bus.add(Box::new(time_sync::TimeSync::new(Box::new(|| STEP_NS))));
    bus.add(Box::new(key_value::KeyValue::new(
        Default::default(),
        Vec::new(),
    )));
    let (strokes, movements) = (Strokes::default(), Movements::default());
    bus.add(Box::new(Keyboard::new(strokes.clone())));
    bus.add(Box::new(Mouse::new(movements.clone())));
    bus.add(Box::new(backup::Backup::new(Default::default())));
    bus.add(Box::new(file_copy::FileCopy::new(&Default::default())));
    let assigned = Assigned::default();
    bus.add(Box::new(DynamicMemory::new(
        assigned.clone(),
        std::slice::from_ref(&(0..crate::MEMORY)),
        1024,
    )));
    let screen = Screen::default();
    bus.add(Box::new(Video::new(Box::new(Memory), screen.clone())));
    let mut programs = Vec::new();
    for (record, step) in Records(input).take(64).zip(1u64..) {
        let guest = at(&memory, step * STEP_NS);
        record.put(&memory);
        if !record.payload.is_empty() {
            // Connection 4 is there.
            let _ = bus.message(&guest, 4, record.payload);
        }
        if record.wants_completion {
            let connection = record.pieces.first().map_or(2, |piece| piece.1.into());
            // Most are not.
            let _ = bus.signal(&guest, connection);
        }
        strokes.put([Stroke {
            code: step as u8,
            extended: false,
            down: true,
        }]);
        movements.put([Pointer::default()]);
        screen.watch(step % 3 == 0);
        // Refused where no driver is, or while one is busy.
        let _ = assigned.begin(step % 512);
        while let Some(request) = bus.next_connect() {
            let Ok((ours, program)) = UnixStream::pair() else {
                break;
            };
            if step % 2 == 0 {
                bus.refuse_connect(&guest, &request);
                continue;
            }
            let service = Service(request.service);
            let connection = Connection::from_guest(ours, request.endpoint, service);
            let life = connection.life();
            programs.push((bus.add(Box::new(connection)), life, program));
        }
        programs.retain(|(endpoint, life, _)| {
            if life.has_ended() {
                bus.remove(&guest, endpoint);
            }
            !life.has_ended()
        });
        for endpoint in bus.endpoints() {
            bus.serve(&guest, &endpoint);
        }
    }
    bus.power_off();
    assert!(bus.endpoints().iter().all(|e| e.open_channels().is_empty()));
}

fn at(memory: &GuestMemory, now_ns: u64) -> Guest<'_> {
    Guest {
        memory,
        host: &Machine,
        now_ns,
    }
}
