//! The keyboard: the driver names a version, and hears of keys from then on.

use crate::events::Events;
use crate::wire::{self, KeyboardMessage, keyboard};
use crate::{SHORT, UNKNOWN};
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, Refused, RingError};
use zerocopy::{FromBytes, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0xf912ad6d_2b17_48ea_bd65_f927a61c7684);
const INSTANCE: Uuid = Uuid::from_u128(0xd34b2567_b9b6_42b9_8778_0a4ec0b955bf);

/// A key goes down or comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// Code of scan code set 1, without E0h and without the bit of a release.
    pub code: u8,
    /// E0h stands before the code.
    pub extended: bool,
    /// Down, not up.
    pub down: bool,
}

/// The vmm's end.
pub type Strokes = Events<Stroke>;

/// The device.
#[derive(Debug)]
pub struct Keyboard {
    strokes: Strokes,
    /// The answer to a version that was not sent yet: is it accepted?
    answer: Option<bool>,
}

impl Keyboard {
    /// The device, which tells the guest of these strokes.
    pub fn new(strokes: Strokes) -> Self {
        strokes.set_listening(false);
        Self {
            strokes,
            answer: None,
        }
    }

    fn reset(&mut self) {
        self.answer = None;
        self.strokes.set_listening(false);
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), RingError> {
        let (message, _) = KeyboardMessage::read_from_prefix(bytes).map_err(|_| SHORT)?;
        match message.kind.get() {
            keyboard::PROTOCOL_REQUEST => {
                self.reset();
                self.answer = Some(message.value.get() == keyboard::VERSION);
                Ok(())
            }
            keyboard::LED_INDICATORS => Ok(()),
            _ => Err(UNKNOWN),
        }
    }

    fn answer(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        let Some(accepted) = self.answer else {
            return Ok(());
        };
        let message = KeyboardMessage {
            kind: keyboard::PROTOCOL_RESPONSE.into(),
            value: u32::from(accepted).into(),
        };
        if channel.send(&Outgoing::in_band(0, message.as_bytes()))? {
            self.answer = None;
            self.strokes.set_listening(accepted);
        }
        Ok(())
    }
}

impl Device for Keyboard {
    fn offer(&self) -> Offer {
        Offer::new("keyboard", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.strokes.set_doorbell(doorbell);
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
        self.answer(channel)?;
        self.strokes.send(|stroke| {
            let message = keystroke(*stroke);
            channel.send(&Outgoing::in_band(0, message.as_bytes()))
        })
    }
}

fn keystroke(stroke: Stroke) -> wire::Keystroke {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    wire::Keystroke {
        kind: keyboard::EVENT.into(),
        code: u16::from(stroke.code).into(),
        reserved: 0.into(),
        flags: (flag(!stroke.down, keyboard::IS_BREAK) | flag(stroke.extended, keyboard::IS_E0))
            .into(),
    }
}
