//! The adapter against a model of the guest's driver.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use std::sync::{Arc, Mutex};
use synthetic_video::wire::{
    Acknowledgement, FeatureChange, PointerShape, ResolutionsResponse, SituationUpdate,
    VersionResponse, VramLocation, kind,
};
use synthetic_video::{Area, Display, INTERFACE, Mode, RESOLUTIONS, Screen, Video};
use vmbus::{Endpoint, PipeHeader};
use vmbus_testing::{DriverChannel, ModelGuest};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the display was told.
#[derive(Debug, PartialEq)]
enum Told {
    Place(u64),
    Show(Option<Mode>),
}

struct Recorder(Arc<Mutex<Vec<Told>>>);

impl Display for Recorder {
    fn place(&mut self, gpa: u64) -> bool {
        self.0.lock().unwrap().push(Told::Place(gpa));
        gpa < 1 << 32
    }

    fn show(&mut self, mode: Option<Mode>) {
        self.0.lock().unwrap().push(Told::Show(mode));
    }
}

/// A driver, with rings as Linux has them.
struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
    channel: DriverChannel,
    screen: Screen,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Driver {
    fn load() -> Self {
        let (screen, told) = (Screen::default(), Arc::default());
        let display = Box::new(Recorder(Arc::clone(&told)));
        let device = Box::new(Video::new(display, screen.clone()));
        let (guest, endpoint) = ModelGuest::with_device(device);
        let offer = guest.offer_of(INTERFACE);
        let channel = guest.open(&offer, 64);
        Self {
            guest,
            endpoint,
            channel,
            screen,
            told,
        }
    }

    /// One that speaks a version.
    fn speaking(version: u32) -> Self {
        let driver = Self::load();
        driver.say(kind::VERSION_REQUEST, &version.to_le_bytes());
        let response: VersionResponse = driver.hear(kind::VERSION_RESPONSE).0;
        assert_eq!((response.version.get(), response.outputs), (version, 1));
        assert_ne!(response.accepted, 0);
        driver
    }

    fn serve(&self) {
        while self.guest.serve(&self.endpoint).is_some() {}
    }

    /// As Linux, whose length counts the header.
    fn say(&self, kind: u32, body: &[u8]) {
        let length = 8 + body.len() as u32;
        let message = [kind, length].map(u32::to_le_bytes).concat();
        self.say_bytes(
            &[1u32, length].map(u32::to_le_bytes).concat(),
            &[&message, body].concat(),
        );
    }

    fn say_bytes(&self, pipe: &[u8], message: &[u8]) {
        let data = [pipe, message].concat();
        let packet = DriverChannel::packet(6, 0, 0x77, &[], &data);
        assert!(self.guest.send(&self.channel, &packet));
        self.serve();
    }

    fn next(&self) -> Option<(u32, Vec<u8>)> {
        let (packet, _) = self.channel.receive(&self.guest.memory)?;
        let message = PipeHeader::data_of(&packet.data).unwrap();
        let (kind, rest) = u32::read_from_prefix(message).unwrap();
        let (length, body) = u32::read_from_prefix(rest).unwrap();
        assert_eq!(length as usize, body.len());
        Some((kind, body.to_vec()))
    }

    fn hear<T: FromBytes + KnownLayout + Immutable>(&self, wanted: u32) -> (T, Vec<u8>) {
        let (kind, body) = self.next().expect("a message");
        assert_eq!(kind, wanted);
        let (message, rest) = T::read_from_prefix(&body).unwrap();
        (message, rest.to_vec())
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    fn reports(&self) -> Vec<String> {
        self.guest.host.take_reports()
    }
}

fn location(gpa: u64) -> VramLocation {
    VramLocation {
        context: gpa.into(),
        is_given: 1,
        gpa: gpa.into(),
    }
}

fn situation(width: u32, height: u32, pitch: u32, depth: u8) -> SituationUpdate {
    SituationUpdate {
        context: 7.into(),
        outputs: 1,
        active: 1,
        offset: 0.into(),
        depth,
        width: width.into(),
        height: height.into(),
        pitch: pitch.into(),
    }
}

const LATEST: u32 = 5 << 16 | 3;

#[test]
fn linux_comes_up() {
    let driver = Driver::speaking(LATEST);
    driver.say(kind::RESOLUTIONS_REQUEST, &[64]);
    let (response, list): (ResolutionsResponse, _) = driver.hear(kind::RESOLUTIONS_RESPONSE);
    assert_eq!(usize::from(response.count), RESOLUTIONS.len());
    assert_eq!(list.len(), RESOLUTIONS.len() * 4);
    assert_eq!(list[4 * usize::from(response.default)..][..4], [0, 4, 0, 3]);
    driver.say(kind::VRAM_LOCATION, location(0xf800_0000).as_bytes());
    let (answer, _): (Acknowledgement, _) = driver.hear(kind::VRAM_LOCATION_ACK);
    assert_eq!(answer.context.get(), 0xf800_0000);
    driver.say(
        kind::SITUATION_UPDATE,
        situation(1024, 768, 4096, 32).as_bytes(),
    );
    let (answer, _): (Acknowledgement, _) = driver.hear(kind::SITUATION_UPDATE_ACK);
    assert_eq!(answer.context.get(), 7);
    let (needed, _): (FeatureChange, _) = driver.hear(kind::FEATURE_CHANGE);
    assert_eq!(needed.as_bytes(), [0, 0, 0, 1], "nobody looks");
    let mode = Mode {
        offset: 0,
        width: 1024,
        height: 768,
        pitch: 4096,
        depth: 32,
    };
    assert_eq!(
        driver.told(),
        [Told::Place(0xf800_0000), Told::Show(Some(mode))]
    );
    let mut off = situation(0, 0, 0, 0);
    off.active = 0;
    driver.say(kind::SITUATION_UPDATE, off.as_bytes());
    assert_eq!(driver.told(), [Told::Show(None)]);
    assert!(driver.reports().is_empty());
}

#[test]
fn whoever_looks_is_told_what_changed() {
    let driver = Driver::speaking(2 << 16 | 3);
    driver.say(
        kind::SITUATION_UPDATE,
        situation(640, 480, 1280, 16).as_bytes(),
    );
    driver.hear::<Acknowledgement>(kind::SITUATION_UPDATE_ACK);
    driver.hear::<FeatureChange>(kind::FEATURE_CHANGE);
    let two = [4i32, 5, 6, 7, -1, 9, 3, 20].map(i32::to_le_bytes).concat();
    let dirt = [&[0, 2][..], &two].concat();
    driver.say(kind::DIRT, &dirt);
    assert_eq!(driver.screen.take_changed(), None);
    driver.screen.watch(true);
    driver.serve();
    let (needed, _): (FeatureChange, _) = driver.hear(kind::FEATURE_CHANGE);
    assert_eq!(needed.as_bytes(), [1; 4]);
    driver.say(kind::DIRT, &dirt);
    let (left, top, right, bottom) = (-1, 5, 6, 20);
    let all = Area {
        left,
        top,
        right,
        bottom,
    };
    assert_eq!(driver.screen.take_changed(), Some(all));
    assert_eq!(driver.screen.take_changed(), None);
}

fn shape(part: u8, argb: u8, width: u32, height: u32) -> PointerShape {
    PointerShape {
        part,
        argb,
        width: width.into(),
        height: height.into(),
        hot_x: 1.into(),
        hot_y: 0.into(),
    }
}

#[test]
fn a_pointer_comes_whole_or_in_parts() {
    let driver = Driver::speaking(LATEST);
    let say = |shape: PointerShape, pixels: &[u8]| {
        driver.say(kind::POINTER_SHAPE, &[shape.as_bytes(), pixels].concat());
    };
    say(shape(0xff, 1, 1, 1), &[0, 1, 1, 1]);
    let position = [&[1, 0][..], &5i32.to_le_bytes(), &(-3i32).to_le_bytes()].concat();
    driver.say(kind::POINTER_POSITION, &position);
    let pointer = driver.screen.pointer();
    assert_eq!((pointer.visible, pointer.x, pointer.y), (true, 5, -3));
    assert_eq!(pointer.image.unwrap().pixels, [0, 1, 1, 1]);
    say(shape(0, 0, 9, 2), &[1, 2, 3]);
    say(shape(1, 0, 9, 2), &[4, 5, 6]);
    assert!(driver.screen.pointer().image.unwrap().argb, "not whole yet");
    say(shape(0xff, 0, 9, 2), &[7, 8, 9, 9]);
    let image = driver.screen.pointer().image.unwrap();
    assert_eq!((image.width, image.height, image.hot), (9, 2, (1, 0)));
    assert_eq!(image.pixels, [1, 2, 3, 4, 5, 6, 7, 8]);
    driver.guest.close(&driver.channel);
    assert_eq!(driver.screen.pointer(), Default::default());
}

#[test]
fn a_place_that_can_not_be_had_is_answered_with_another_context() {
    let driver = Driver::speaking(3);
    driver.say(kind::VRAM_LOCATION, location(1 << 32).as_bytes());
    let (answer, _): (Acknowledgement, _) = driver.hear(kind::VRAM_LOCATION_ACK);
    assert_ne!(answer.context.get(), 1 << 32);
    assert!(driver.reports().is_empty());
}

#[test]
fn other_versions_are_refused_and_another_may_follow() {
    let driver = Driver::load();
    for version in [2u32, 6 << 16 | 3, 4, u32::MAX] {
        driver.say(kind::VERSION_REQUEST, &version.to_le_bytes());
        let (response, _): (VersionResponse, _) = driver.hear(kind::VERSION_RESPONSE);
        assert_eq!((response.version.get(), response.accepted), (version, 0));
    }
    driver.say(kind::VERSION_REQUEST, &LATEST.to_le_bytes());
    let (response, _): (VersionResponse, _) = driver.hear(kind::VERSION_RESPONSE);
    assert_ne!(response.accepted, 0);
    driver.say(kind::BIOS_INFO_REQUEST, &[]);
    assert_eq!(driver.next().unwrap().1[..4], [1, 0, 0, 0]);
    driver.say(kind::CAPABILITY_REQUEST, &[]);
    assert_eq!(driver.next().unwrap().1, [0; 64]);
}

#[test]
fn a_driver_that_breaks_the_protocol_loses_its_channel() {
    let hostile: [(u32, Vec<u8>); 11] = [
        (kind::VRAM_LOCATION, vec![0; 16]),
        (kind::VERSION_REQUEST, vec![3]),
        (
            kind::SITUATION_UPDATE,
            situation(0, 1, 4, 32).as_bytes().into(),
        ),
        (
            kind::SITUATION_UPDATE,
            situation(1, 0, 4, 32).as_bytes().into(),
        ),
        (
            kind::SITUATION_UPDATE,
            situation(2, 2, 7, 32).as_bytes().into(),
        ),
        (
            kind::SITUATION_UPDATE,
            situation(2, 2, 8, 9).as_bytes().into(),
        ),
        (
            kind::SITUATION_UPDATE,
            situation(1920, u32::MAX, u32::MAX, 32).as_bytes().into(),
        ),
        (kind::POINTER_SHAPE, shape(0xff, 1, 97, 1).as_bytes().into()),
        (kind::POINTER_SHAPE, shape(0xff, 1, 1, 1).as_bytes().into()),
        (kind::POINTER_SHAPE, shape(3, 1, 1, 1).as_bytes().into()),
        (kind::DIRT, vec![0, 1, 0, 0]),
    ];
    for (kind, body) in hostile {
        let driver = Driver::speaking(LATEST);
        driver.say(kind, &body);
        let reports = driver.reports();
        assert!(reports[0].contains("video.0 is closed"), "{reports:?}");
        assert!(driver.told().is_empty());
    }
    let silent = Driver::load();
    silent.say(kind::VRAM_LOCATION, location(0).as_bytes());
    assert!(silent.reports()[0].contains("none of the protocol's"));
}

proptest::proptest! {
    #[test]
    fn nothing_that_a_driver_says_panics(
        messages in proptest::collection::vec(
            (1u32..17, proptest::collection::vec(0u8.., 0..200)), 1..40)
    ) {
        let driver = Driver::speaking(LATEST);
        for (kind, body) in messages {
            driver.say(kind, &body);
            while driver.next().is_some() {}
        }
    }
}
