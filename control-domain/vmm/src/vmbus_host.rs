//! VMBus in a machine: the threads that serve its devices, and the way to the guest's processors.

use crate::machine::Machine;
use crate::sockets::Sockets;
use guest_memory::VMBUS_MESSAGE_SLOT;
use hypercall::{CallError, Calls, Pending};
use hypervisor_abi::Status;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Duration;
use vmbus::{Bus, Device, Doorbell, Endpoint, Guest, Host, NoConnection, Posted};

/// Time between two tries to deliver a message to a processor that has no room for it.
const RETRY: Duration = Duration::from_millis(1);

/// A machine's bus.
pub struct Vmbus {
    /// Offers, channels, devices.
    pub bus: Bus,
    /// Sockets between guest and programs.
    pub sockets: Sockets,
    /// Rings when messages wait for room.
    waiting: Doorbell,
}

impl Vmbus {
    /// A bus with these devices.
    pub fn new(devices: Vec<Box<dyn Device>>, sockets: Sockets) -> Self {
        let bus = Bus::default();
        for device in devices {
            bus.add(device);
        }
        Self {
            bus,
            sockets,
            waiting: Doorbell::default(),
        }
    }

    /// Lets all threads look whether the machine is to end.
    pub fn wake_all(&self) {
        self.waiting.ring();
        self.bus.connect_bell().ring();
        for endpoint in self.bus.endpoints() {
            endpoint.doorbell().ring();
        }
    }
}

impl<C: Calls + Sync> Machine<C> {
    /// The guest as its devices see it now.
    pub fn vmbus_guest(&self) -> Guest<'_> {
        Guest {
            memory: &self.memory.0,
            host: self,
            now_ns: self.clock.now_ns(),
        }
    }

    /// The guest posts a message to the bus.
    pub fn vmbus_message(
        &self,
        vmbus: &Vmbus,
        connection: u32,
        payload: &[u8],
    ) -> Result<(), NoConnection> {
        let guest = self.vmbus_guest();
        vmbus.bus.message(&guest, connection, payload)?;
        if vmbus.bus.has_waiting() {
            vmbus.waiting.ring();
        }
        Ok(())
    }

    /// Delivers what waits, now or by the thread that tries again.
    pub(crate) fn flush_vmbus(&self, vmbus: &Vmbus) {
        if vmbus.bus.flush(&self.vmbus_guest()) {
            vmbus.waiting.ring();
        }
    }

    /// Starts a thread for each device, one for messages that wait, and one for sockets.
    pub fn serve_vmbus<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let Some(vmbus) = &self.vmbus else { return };
        for endpoint in vmbus.bus.endpoints() {
            scope.spawn(move || self.serve_device(&vmbus.bus, &endpoint));
        }
        scope.spawn(move || self.deliver_waiting(vmbus));
        scope.spawn(move || self.serve_sockets(scope, vmbus));
    }

    fn serve_device(&self, bus: &Bus, endpoint: &Arc<Endpoint>) {
        while !self.stopping() {
            let served = bus.serve(&self.vmbus_guest(), endpoint);
            let timeout = served.next_ns.map(|ns| self.clock.until_ns(ns));
            endpoint.doorbell().wait(timeout);
        }
    }

    fn deliver_waiting(&self, vmbus: &Vmbus) {
        while !self.stopping() {
            let waits = vmbus.bus.flush(&self.vmbus_guest());
            vmbus.waiting.wait(waits.then_some(RETRY));
        }
    }

    fn posted(&self, result: Result<Pending, CallError>) -> Posted {
        match result {
            Ok(pending) => {
                self.deliver(pending);
                Posted::Done
            }
            Err(error) if error.status() == Some(Status::Busy) => Posted::Full,
            Err(_) => Posted::Nowhere,
        }
    }
}

impl<C: Calls + Sync> Host for Machine<C> {
    /// The bus posts one message at a time, so the slot in the control frame is free.
    fn post(&self, processor: u32, sint: u8, message: &[u8; 256]) -> Posted {
        let frame = self.memory.0.mapping().control_frame();
        let offset = frame.write_message(VMBUS_MESSAGE_SLOT, message);
        self.posted(self.calls.post_message(processor, sint.into(), offset))
    }

    fn signal(&self, processor: u32, sint: u8, flag: u16) -> Posted {
        self.posted(self.calls.signal_event(processor, sint.into(), flag.into()))
    }

    fn report(&self, line: &str) {
        eprintln!("entente-vmm: {line}");
    }
}
