//! The device: the driver names a version, says where it maps the memory and which mode it is in, and
//! then what it draws.

use crate::pointer::{Parts, Pointer};
use crate::screen::{Area, Screen};
use crate::wire::{
    ACCEPTED, Acknowledgement, BiosInfo, Capabilities, Dirt, FeatureChange, Header, LATEST_MINOR,
    MAJOR, PointerPosition, PointerShape, Rectangle, ResolutionsRequest, ResolutionsResponse,
    SituationUpdate, VersionRequest, VersionResponse, VramLocation, kind,
};
use crate::{NO_MODE, SHORT, UNKNOWN, monitor};
use std::collections::VecDeque;
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, PipeHeader, Refused, RingError};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0xda0a7802_e377_4aac_8e77_0558eb1073f8);
const INSTANCE: Uuid = Uuid::from_u128(0x5620e0c7_8062_4dce_aeb7_520c7ef76171);

/// Size of the adapter's memory in MiB, as drivers are told; Hyper-V has as much.
pub const MEMORY_MIB: u16 = 8;

/// What the guest shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Where it begins in the adapter's memory, in bytes.
    pub offset: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub pitch: u32,
    /// Bits of a pixel: 16, 24 or 32.
    pub depth: u16,
}

impl Mode {
    /// The mode of a message, if it lies in the memory.
    fn checked(update: &SituationUpdate) -> Option<Self> {
        let mode = Self {
            offset: update.offset.get(),
            width: update.width.get(),
            height: update.height.get(),
            pitch: update.pitch.get(),
            depth: update.depth.into(),
        };
        let row = match mode.depth {
            16 | 24 | 32 => u64::from(mode.width) * u64::from(mode.depth / 8),
            _ => return None,
        };
        let rows_before = u64::from(mode.height.checked_sub(1)?);
        let end = rows_before * u64::from(mode.pitch) + u64::from(mode.offset) + row;
        let fits = end <= u64::from(MEMORY_MIB) << 20;
        (fits && row > 0 && row <= u64::from(mode.pitch)).then_some(mode)
    }
}

/// Who has the adapter's memory.
pub trait Display: Send {
    /// The guest wants the memory at this guest-physical address. Answers whether it is there now. It stays there
    /// when the channel is closed.
    fn place(&mut self, gpa: u64) -> bool;
    /// This is shown from now on; `None`: nothing.
    fn show(&mut self, mode: Option<Mode>);
}

/// The device.
pub struct Video {
    display: Box<dyn Display>,
    screen: Screen,
    negotiated: bool,
    /// The driver has named a mode.
    shows: bool,
    /// What the driver was told that it need tell.
    told_watched: Option<bool>,
    answers: VecDeque<Vec<u8>>,
    parts: Parts,
}

impl Video {
    /// The adapter of a machine at power-on.
    pub fn new(display: Box<dyn Display>, screen: Screen) -> Self {
        screen.change_pointer(|pointer| *pointer = Pointer::default());
        Self {
            display,
            screen,
            negotiated: false,
            shows: false,
            told_watched: None,
            answers: VecDeque::new(),
            parts: Parts::default(),
        }
    }

    fn reset(&mut self) {
        (self.negotiated, self.shows) = (false, false);
        self.told_watched = None;
        self.answers.clear();
        self.parts = Parts::default();
        self.screen
            .change_pointer(|pointer| *pointer = Pointer::default());
    }

    fn take(&mut self, packet: &[u8]) -> Result<(), RingError> {
        let message = PipeHeader::data_of(packet).ok_or(SHORT)?;
        let (header, body) = Header::read_from_prefix(message).map_err(|_| SHORT)?;
        match header.kind.get() {
            kind::VERSION_REQUEST => {
                let (request, _) = read::<VersionRequest>(body)?;
                self.negotiate(request);
            }
            _ if !self.negotiated => return Err(UNKNOWN),
            kind::VRAM_LOCATION => {
                let (location, _) = read::<VramLocation>(body)?;
                self.place(location);
            }
            kind::SITUATION_UPDATE => {
                let (update, _) = read::<SituationUpdate>(body)?;
                self.show(update)?;
            }
            kind::POINTER_POSITION => {
                let (position, _) = read::<PointerPosition>(body)?;
                self.screen.change_pointer(|pointer| {
                    pointer.visible = position.visible != 0;
                    (pointer.x, pointer.y) = (position.x.get(), position.y.get());
                });
            }
            kind::POINTER_SHAPE => {
                let (shape, pixels) = read::<PointerShape>(body)?;
                if let Some(image) = self.parts.add(shape, pixels)? {
                    self.screen
                        .change_pointer(|pointer| pointer.image = Some(image));
                }
            }
            kind::DIRT => self.mark(body)?,
            kind::BIOS_INFO_REQUEST => {
                let info = BiosInfo {
                    can_stop: 1.into(),
                    reserved: [0; 12],
                };
                self.answer(kind::BIOS_INFO_RESPONSE, &info, &[]);
            }
            kind::RESOLUTIONS_REQUEST => {
                let (request, _) = read::<ResolutionsRequest>(body)?;
                self.describe_monitor(request.most);
            }
            kind::CAPABILITY_REQUEST => {
                let none = Capabilities {
                    lock_on_disconnect: 0.into(),
                    reserved: [0; 60],
                };
                self.answer(kind::CAPABILITY_RESPONSE, &none, &[]);
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn negotiate(&mut self, request: VersionRequest) {
        let version = request.version.get();
        let (major, minor) = (version as u16, (version >> 16) as u16);
        self.reset();
        self.negotiated = major == MAJOR && minor <= LATEST_MINOR;
        let response = VersionResponse {
            version: request.version,
            accepted: if self.negotiated { ACCEPTED } else { 0 },
            outputs: 1,
        };
        self.answer(kind::VERSION_RESPONSE, &response, &[]);
    }

    /// A place that can't be had is answered with another context than the driver gave, which it takes for a no.
    fn place(&mut self, location: VramLocation) {
        let placed = location.is_given == 0 || self.display.place(location.gpa.get());
        let context = match placed {
            true => location.context,
            false => U64::new(!location.context.get()),
        };
        let answer = Acknowledgement { context };
        self.answer(kind::VRAM_LOCATION_ACK, &answer, &[]);
    }

    fn show(&mut self, update: SituationUpdate) -> Result<(), RingError> {
        let mode = match update.active {
            0 => None,
            _ => Some(Mode::checked(&update).ok_or(NO_MODE)?),
        };
        self.display.show(mode);
        self.shows = true;
        let context = update.context;
        let answer = Acknowledgement { context };
        self.answer(kind::SITUATION_UPDATE_ACK, &answer, &[]);
        Ok(())
    }

    fn mark(&mut self, body: &[u8]) -> Result<(), RingError> {
        let (dirt, mut rest) = read::<Dirt>(body)?;
        for _ in 0..dirt.count {
            let (rectangle, behind) = read::<Rectangle>(rest)?;
            rest = behind;
            self.screen.add_changed(Area {
                left: rectangle.left.get(),
                top: rectangle.top.get(),
                right: rectangle.right.get(),
                bottom: rectangle.bottom.get(),
            });
        }
        Ok(())
    }

    fn describe_monitor(&mut self, most: u8) {
        let resolutions = monitor::resolutions(most);
        let count = resolutions.len() as u8;
        let response = ResolutionsResponse {
            edid: monitor::edid(),
            count,
            default: monitor::DEFAULT.min(count.saturating_sub(1)),
            standard: 0,
        };
        let list = resolutions.as_bytes();
        self.answer(kind::RESOLUTIONS_RESPONSE, &response, list);
    }

    fn answer(&mut self, kind: u32, body: &(impl IntoBytes + Immutable), rest: &[u8]) {
        let header = Header {
            kind: kind.into(),
            length: ((body.as_bytes().len() + rest.len()) as u32).into(),
        };
        let message = [header.as_bytes(), body.as_bytes(), rest].concat();
        let pipe = PipeHeader::of(message.len());
        self.answers.push_back([pipe.as_bytes(), &message].concat());
    }

    /// Tells the driver what it need tell, once it shows something and whenever that changes.
    fn tell_watched(&mut self) {
        let watched = self.screen.is_watched();
        if self.shows && self.told_watched != Some(watched) {
            self.told_watched = Some(watched);
            let needed = FeatureChange {
                dirt: watched.into(),
                position: watched.into(),
                shape: watched.into(),
                situation: 1,
            };
            self.answer(kind::FEATURE_CHANGE, &needed, &[]);
        }
    }
}

impl Device for Video {
    fn offer(&self) -> Offer {
        let mut offer = Offer::message_pipe("video", INTERFACE, INSTANCE);
        offer.mmio_mib = MEMORY_MIB;
        offer
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.screen.set_doorbell(doorbell);
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        self.reset();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        // While there is no room for answers, requests wait in their ring.
        loop {
            self.tell_watched();
            while let Some(answer) = self.answers.front() {
                if !channel.send(&Outgoing::in_band(0, answer))? {
                    return Ok(());
                }
                self.answers.pop_front();
            }
            match channel.receive()? {
                Some(packet) => self.take(&packet.data)?,
                None => return Ok(()),
            }
        }
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<(T, &[u8]), RingError> {
    T::read_from_prefix(bytes).map_err(|_| SHORT)
}
