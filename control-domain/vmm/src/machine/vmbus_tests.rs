//! A guest that talks to VMBus: what its hypercalls lead to at the hypervisor.

use super::*;
use crate::sockets::Sockets;
use crate::vmbus_device::Services;
use crate::vmbus_host::Vmbus;
use ::vmbus::message::{InitiateContactBody, Message, kind, split};
use guest_memory::VMBUS_MESSAGE_SLOT;
use hypervisor_abi::{Call, Completion, ExitReason, SCRATCH_OFFSET};

const INPUT: u64 = 0x10_0000;

/// Fills in the input of a HvPostMessage at [`INPUT`].
fn input(memory: &BusMemory, connection: u32, message: &Message) {
    let words = [connection, 0, 1, message.bytes().len() as u32];
    let header = words.map(u32::to_le_bytes).concat();
    memory.0.write(INPUT, &header).unwrap();
    memory.0.write(INPUT + 16, message.bytes()).unwrap();
}

fn hypercall(page: &RunPage, control: u64, input: u64) -> ExitReason {
    for (n, word) in [control, input, 0].into_iter().enumerate() {
        page.data[n].store(word, Relaxed);
    }
    ExitReason::Hypercall
}

fn answered(page: &RunPage) -> u64 {
    assert_eq!(page.completion.load(Relaxed), Completion::Io as u32);
    page.data[0].load(Relaxed)
}

#[test]
fn a_guest_connects_and_is_offered_the_services() {
    let mut b = bench(2, None);
    b.machine.vmbus = Some(Vmbus::new(
        Services::default().devices(Vec::new()),
        Sockets::default(),
    ));
    let posted = |memory: &BusMemory| {
        let offset = (SCRATCH_OFFSET + VMBUS_MESSAGE_SLOT * 256) as u64;
        let mut message = [0; 256];
        memory.0.mapping().read(offset, &mut message);
        let (kind, rest) = split(&message[16..]).unwrap();
        (kind, rest.to_vec())
    };
    let memory = b.machine.memory.clone();
    b.step(0, move |page| {
        let contact = InitiateContactBody {
            version: (5 << 16 | 3).into(),
            target_processor: 1.into(),
            target: 2.into(),
            monitor_to_guest: 0.into(),
            monitor_to_host: 0.into(),
        };
        input(&memory, 4, &Message::new(kind::INITIATE_CONTACT, &contact));
        hypercall(page, 0x5c, INPUT)
    });
    let memory = b.machine.memory.clone();
    b.step(0, move |page| {
        assert_eq!(answered(page), 0);
        let (number, answer) = posted(&memory);
        assert_eq!((number, answer[0]), (kind::VERSION_RESPONSE, 1));
        input(&memory, 4, &Message::bare(kind::REQUEST_OFFERS));
        hypercall(page, 0x5c, INPUT)
    });
    // A signal of a channel that is not open, then a message where nobody listens.
    b.step(0, |page| {
        assert_eq!(answered(page), 0);
        hypercall(page, 1 << 16 | 0x5d, 0x2001)
    });
    let memory = b.machine.memory.clone();
    b.step(0, move |page| {
        assert_eq!(answered(page), 0x12, "no such connection");
        let (number, _) = posted(&memory);
        assert_eq!(number, kind::ALL_OFFERS_DELIVERED);
        input(&memory, 7, &Message::bare(kind::UNLOAD));
        hypercall(page, 0x5c, INPUT)
    });
    b.step(0, |page| {
        assert_eq!(answered(page), 0x12, "no such connection");
        ExitReason::Reset
    });
    assert_eq!(b.machine.run(), Outcome::Reset);
    // Version, six services, keyboard and mouse, the end of the offers: to processor 1, SINT 2.
    let posts = b.script.made(Call::PostMessage);
    assert_eq!(posts.len(), 10);
    assert!(posts.iter().all(|a| a[..2] == [1, 2]), "{posts:?}");
}
