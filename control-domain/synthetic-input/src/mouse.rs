//! The mouse: a HID device whose descriptors and reports travel in messages. The driver names a version,
//! is told what kind of mouse it is, and hears where the pointer is once it has said that it knows.

use crate::events::Events;
use crate::wire::{
    DeviceInfo, MouseHeader, MouseReport, MouseVersion, PIPE_DATA, PipeHeader, mouse,
};
use crate::{SHORT, UNKNOWN};
use std::collections::VecDeque;
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, Refused, RingError};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0xcfa8b69e_5b4a_4cc0_b98b_8ba1a1f3f95a);
const INSTANCE: Uuid = Uuid::from_u128(0x58f75a6d_d949_4320_99e1_a2a2576d581c);

/// [`Pointer::x`] and [`Pointer::y`] at the right and the lower edge.
pub const EDGE: u16 = 0x7fff;

/// HID 1.11, appendix E.10, but with positions: five buttons, X, Y, wheel.
const REPORT_DESCRIPTOR: [u8; 58] = [
    0x05, 0x01, // usage page: generic desktop
    0x09, 0x02, // usage: mouse
    0xa1, 0x01, // collection: application
    0x09, 0x01, //   usage: pointer
    0xa1, 0x00, //   collection: physical
    0x05, 0x09, //     usage page: buttons
    0x19, 0x01, 0x29, 0x05, //     usages 1 to 5
    0x15, 0x00, 0x25, 0x01, //     0 to 1
    0x75, 0x01, 0x95, 0x05, //     5 fields of 1 bit
    0x81, 0x02, //     input: data, variable, absolute
    0x75, 0x03, 0x95, 0x01, //     1 field of 3 bits
    0x81, 0x03, //     input: constant
    0x05, 0x01, //     usage page: generic desktop
    0x09, 0x30, 0x09, 0x31, //     usages: X, Y
    0x26, 0xff, 0x7f, //     0 to 32767
    0x75, 0x10, 0x95, 0x02, //     2 fields of 16 bits
    0x81, 0x02, //     input: data, variable, absolute
    0x09, 0x38, //     usage: wheel
    0x16, 0x01, 0x80, //     -32767 …
    0x95, 0x01, //     1 field
    0x81, 0x06, //     input: data, variable, relative
    0xc0, //   end
    0xc0, // end
];

/// Where the pointer is now, and what is held down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// Bit 0 left, 1 right, 2 middle.
    pub buttons: u8,
    /// From 0 to [`EDGE`].
    pub x: u16,
    /// From 0 to [`EDGE`].
    pub y: u16,
    /// Notches of the wheel since the last event, upwards.
    pub wheel: i16,
}

/// The vmm's end.
pub type Movements = Events<Pointer>;

/// The device.
#[derive(Debug)]
pub struct Mouse {
    movements: Movements,
    /// Answers that were not sent yet.
    answers: VecDeque<Vec<u8>>,
    /// The driver was told what kind of mouse it is.
    introduced: bool,
}

impl Mouse {
    /// The device, which tells the guest of these movements.
    pub fn new(movements: Movements) -> Self {
        movements.set_listening(false);
        Self {
            movements,
            answers: VecDeque::new(),
            introduced: false,
        }
    }

    fn reset(&mut self) {
        self.answers.clear();
        self.introduced = false;
        self.movements.set_listening(false);
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), RingError> {
        let (pipe, rest) = PipeHeader::read_from_prefix(bytes).map_err(|_| SHORT)?;
        let message = rest.get(..pipe.length.get() as usize).ok_or(SHORT)?;
        let (header, body) = MouseHeader::read_from_prefix(message).map_err(|_| SHORT)?;
        match header.kind.get() {
            mouse::PROTOCOL_REQUEST => {
                let (version, _) = U32::read_from_prefix(body).map_err(|_| SHORT)?;
                self.reset();
                self.introduce(version);
                Ok(())
            }
            mouse::DEVICE_INFO_ACK if self.introduced => {
                self.movements.set_listening(true);
                Ok(())
            }
            _ => Err(UNKNOWN),
        }
    }

    fn introduce(&mut self, version: U32) {
        self.introduced = version == mouse::VERSION;
        let answer = MouseVersion {
            version,
            accepted: self.introduced.into(),
        };
        self.answers
            .push_back(message(mouse::PROTOCOL_RESPONSE, &answer, &[]));
        if self.introduced {
            let info = message(mouse::DEVICE_INFO, &device_info(), &REPORT_DESCRIPTOR);
            self.answers.push_back(info);
        }
    }
}

impl Device for Mouse {
    fn offer(&self) -> Offer {
        Offer::message_pipe("mouse", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.movements.set_doorbell(doorbell);
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        self.reset();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(packet) = channel.receive()? {
            self.take(&packet.data)?;
        }
        while let Some(answer) = self.answers.front() {
            if !channel.send(&Outgoing::in_band(0, answer))? {
                return Ok(());
            }
            self.answers.pop_front();
        }
        self.movements.send(|pointer| {
            let report = MouseReport {
                buttons: pointer.buttons,
                x: pointer.x.min(EDGE).into(),
                y: pointer.y.min(EDGE).into(),
                wheel: pointer.wheel.cast_unsigned().into(),
            };
            let message = message(mouse::INPUT_REPORT, &report, &[]);
            channel.send(&Outgoing::in_band(0, &message))
        })
    }
}

/// Microsoft's numbers for its virtual mouse.
fn device_info() -> DeviceInfo {
    DeviceInfo {
        attributes_length: 32.into(),
        vendor: 0x045e.into(),
        product: 0x0621.into(),
        version: 1.into(),
        reserved: Default::default(),
        descriptor_length: 9,
        descriptor_kind: 0x21,
        hid_version: 0x101.into(),
        country: 0,
        descriptors: 1,
        report_kind: 0x22,
        report_length: (REPORT_DESCRIPTOR.len() as u16).into(),
    }
}

/// A message with its headers.
fn message(kind: u32, body: &(impl IntoBytes + Immutable), rest: &[u8]) -> Vec<u8> {
    let body = [body.as_bytes(), rest].concat();
    let header = MouseHeader {
        kind: kind.into(),
        length: (body.len() as u32).into(),
    };
    let pipe = PipeHeader {
        kind: PIPE_DATA.into(),
        length: ((size_of::<MouseHeader>() + body.len()) as u32).into(),
    };
    [pipe.as_bytes(), header.as_bytes(), &body].concat()
}
