//! Key-value pairs: the guest's daemon is told what the host says about itself, and then asked what it says
//! about its system, one pair at a time.

use crate::session::{Response, Session};
use crate::utf16::put;
use crate::wire::{self, Version, kind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;
use vmbus::{Channel, Device, Offer, Refused, RingError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0xa9a0f4e7_5a45_4d96_b827_8a841e8c03e6);
const INSTANCE: Uuid = Uuid::from_u128(0x242ff919_07db_4180_9c2e_b86cb68c8c55);
const VERSIONS: [Version; 3] = [Version::new(1, 0), Version::new(3, 0), Version::new(4, 0)];
const SET: u8 = 1;
const ENUMERATE: u8 = 3;
const TEXT: u32 = 1;
/// The pool in which the guest describes itself.
const POOL_AUTO: u8 = 2;
/// The pool in which the host describes itself.
const POOL_AUTO_EXTERNAL: u8 = 3;
/// HRESULT: there is no further key.
const NO_MORE: u32 = 0x8007_0103;
/// More keys than any guest has.
const MOST_KEYS: u32 = 256;
/// All keys are asked for again after this time.
const INTERVAL_NS: u64 = 60_000_000_000;

/// What the guest says about itself, by key.
#[derive(Clone, Debug, Default)]
pub struct Pairs(Arc<Mutex<BTreeMap<String, String>>>);

impl Pairs {
    /// All pairs that are known now.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device.
#[derive(Debug)]
pub struct KeyValue {
    session: Session,
    pairs: Pairs,
    host: Vec<(String, String)>,
    /// How many of those the guest knows.
    told: usize,
    index: u32,
    next_ns: u64,
}

impl KeyValue {
    /// The device, which keeps the pairs up to date and tells the guest the host's.
    pub fn new(pairs: Pairs, host: Vec<(String, String)>) -> Self {
        pairs.lock().clear();
        Self {
            session: Session::new(kind::KEY_VALUE, &VERSIONS),
            pairs,
            host,
            told: 0,
            index: 0,
            next_ns: 0,
        }
    }

    fn answered(&mut self, response: &Response, channel: &Channel<'_>) {
        let end = |this: &mut Self| {
            this.index = 0;
            this.next_ns = channel.now_ns() + INTERVAL_NS;
        };
        let pair = wire::Enumerate::read_from_prefix(&response.body);
        match (response.status, pair) {
            (0, _) if self.told < self.host.len() => self.told += 1,
            (0, Ok((pair, _))) if self.index + 1 < MOST_KEYS => {
                let key = text(&pair.key, pair.key_bytes.get());
                let value = text(&pair.value, pair.value_bytes.get());
                let mut pairs = self.pairs.lock();
                if pairs.insert(key.clone(), value.clone()).is_none() {
                    channel.report(&format!("guest: {key:?} is {value:?}"));
                }
                drop(pairs);
                self.index += 1;
            }
            (NO_MORE, _) => end(self),
            // No daemon, or one with other troubles: asked again later.
            _ => end(self),
        }
    }
}

/// The message that tells a pair.
fn set((key, value): &(String, String)) -> wire::Set {
    let mut message = wire::Set::new_zeroed();
    message.operation = SET;
    message.pool = POOL_AUTO_EXTERNAL;
    message.value_type = TEXT.into();
    message.key_bytes = put(key, &mut message.key).into();
    message.value_bytes = put(value, &mut message.value).into();
    message
}

/// UTF-16 of a guest, up to the first 0.
fn text(bytes: &[u8], length: u32) -> String {
    let bytes = &bytes[..bytes.len().min(length as usize)];
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

impl Device for KeyValue {
    fn offer(&self) -> Offer {
        Offer::message_pipe("key-value pairs", INTERFACE, INSTANCE)
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        self.session.reset();
        self.pairs.lock().clear();
        self.told = 0;
        self.index = 0;
        self.next_ns = channel.now_ns();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.session.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(response) = self.session.receive(channel)? {
            self.answered(&response, channel);
        }
        let now = channel.now_ns();
        if self.session.is_idle() && (self.index > 0 || now >= self.next_ns) {
            let mut question = wire::Enumerate::new_zeroed();
            question.operation = ENUMERATE;
            question.pool = POOL_AUTO;
            question.index = self.index.into();
            let pair = self.host.get(self.told).map(set);
            let message = match &pair {
                Some(pair) => pair.as_bytes(),
                None => question.as_bytes(),
            };
            self.session.request(channel, message)?;
        }
        Ok(())
    }

    fn deadline_ns(&self) -> Option<u64> {
        // While an answer is awaited, it is the answer that wakes us.
        self.session.is_idle().then_some(self.next_ns)
    }
}
