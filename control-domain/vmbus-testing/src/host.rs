//! The machine as the bus sees it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use vmbus::{Host, Posted};

/// Processors of the model.
const PROCESSORS: u32 = 4;

/// Keeps messages, signals and reports.
#[derive(Debug)]
pub struct RecordingHost {
    messages: Mutex<VecDeque<(u32, u8, Vec<u8>)>>,
    signals: Mutex<Vec<(u32, u8, u16)>>,
    reports: Mutex<Vec<String>>,
    /// Messages for which there is room.
    message_room: AtomicUsize,
    /// Signals for which there is room.
    signal_room: AtomicUsize,
}

impl Default for RecordingHost {
    fn default() -> Self {
        Self {
            messages: Mutex::default(),
            signals: Mutex::default(),
            reports: Mutex::default(),
            message_room: AtomicUsize::new(usize::MAX),
            signal_room: AtomicUsize::new(usize::MAX),
        }
    }
}

impl RecordingHost {
    /// The oldest control message for the guest: processor, synthetic interrupt, payload.
    pub fn next_message(&self) -> Option<(u32, u8, Vec<u8>)> {
        self.messages.lock().unwrap().pop_front()
    }

    /// The signals since the last time: processor, synthetic interrupt, flag.
    pub fn take_signals(&self) -> Vec<(u32, u8, u16)> {
        std::mem::take(&mut *self.signals.lock().unwrap())
    }

    /// What was said since the last time.
    pub fn take_reports(&self) -> Vec<String> {
        std::mem::take(&mut *self.reports.lock().unwrap())
    }

    /// Lets only so many more messages and signals through.
    pub fn set_room(&self, messages: usize, signals: usize) {
        self.message_room.store(messages, Relaxed);
        self.signal_room.store(signals, Relaxed);
    }

    fn take_room(room: &AtomicUsize) -> bool {
        room.fetch_update(Relaxed, Relaxed, |room| match room {
            usize::MAX => Some(usize::MAX),
            _ => room.checked_sub(1),
        })
        .is_ok()
    }
}

impl Host for RecordingHost {
    fn post(&self, processor: u32, sint: u8, message: &[u8; 256]) -> Posted {
        if processor >= PROCESSORS {
            return Posted::Nowhere;
        }
        if !Self::take_room(&self.message_room) {
            return Posted::Full;
        }
        assert_eq!(message[..4], 1u32.to_le_bytes(), "type of the message");
        let payload = message[16..16 + usize::from(message[4])].to_vec();
        let mut messages = self.messages.lock().unwrap();
        messages.push_back((processor, sint, payload));
        Posted::Done
    }

    fn signal(&self, processor: u32, sint: u8, flag: u16) -> Posted {
        if processor >= PROCESSORS {
            return Posted::Nowhere;
        }
        if !Self::take_room(&self.signal_room) {
            return Posted::Full;
        }
        self.signals.lock().unwrap().push((processor, sint, flag));
        Posted::Done
    }

    fn report(&self, line: &str) {
        self.reports.lock().unwrap().push(line.into());
    }
}
