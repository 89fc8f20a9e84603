//! The synthetic interrupt controller (TLFS, Inter-Partition Communication): 16 sources, each with
//! a message slot and 2048 event flags in pages that the guest lays over its memory.
//!
//! Nothing that was posted is lost: a message whose slot is busy, or whose way is not open yet
//! (SynIC, message page or source disabled), waits, and is tried again whenever the guest does
//! something that can open the way.

use super::message::{MESSAGE_PENDING, Message, MessageQueue, PostError, is_legal_message};
use super::partition::{Overlay, OverlayKind};
use crate::apic::{LocalApic, VectorSet};
use crate::effect::Effect;
use crate::fault::GeneralProtection;
use core::sync::atomic::{AtomicU64, Ordering};

/// A 4 KiB page that the guest may touch at the same time.
pub type Page = [AtomicU64; 512];

/// Synthetic interrupt sources of a processor.
pub const SOURCES: u8 = 16;

const SINT_MASKED: u64 = 1 << 16;
const SINT_AUTO_EOI: u64 = 1 << 17;
const SINT_POLLING: u64 = 1 << 18;
const ENABLE: u64 = 1;

const MSR_SCONTROL: u32 = 0x4000_0080;
const MSR_SVERSION: u32 = 0x4000_0081;
const MSR_SIEFP: u32 = 0x4000_0082;
const MSR_SIMP: u32 = 0x4000_0083;
const MSR_EOM: u32 = 0x4000_0084;
const MSR_SINT0: u32 = 0x4000_0090;
const MSR_SINT15: u32 = 0x4000_009f;

/// The SynIC of one processor.
#[derive(Debug)]
#[repr(C)]
pub struct Synic {
    control: u64,
    events_page: u64,
    messages_page: u64,
    sources: [u64; SOURCES as usize],
    messages: &'static Page,
    events: &'static Page,
    queue: MessageQueue,
}

impl Synic {
    /// At power-on, over zeroed pages.
    pub fn new(messages: &'static Page, events: &'static Page) -> Self {
        Self {
            control: 0,
            events_page: 0,
            messages_page: 0,
            sources: [SINT_MASKED; SOURCES as usize],
            messages,
            events,
            queue: MessageQueue::new(),
        }
    }

    /// Can messages reach the guest: SynIC and message page enabled?
    #[inline]
    pub fn takes_messages(&self) -> bool {
        self.control & self.messages_page & ENABLE != 0
    }

    /// Posts a message; the interrupt it may raise is pending in `apic` afterwards.
    pub fn post(
        &mut self,
        source: u8,
        message: &Message,
        apic: &mut LocalApic,
    ) -> Result<(), PostError> {
        if source >= SOURCES || !is_legal_message(message) {
            return Err(PostError::Invalid);
        }
        self.queue.push(source, message)?;
        self.deliver_queued(source, false, apic);
        Ok(())
    }

    /// Would [`Synic::post`] find room?
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Sets an event flag, 0 to 2047. `false`, and nothing done: there is no such flag, the way is
    /// not open, or the source is masked.
    pub fn signal(&mut self, source: u8, flag: u16, apic: &mut LocalApic) -> bool {
        if source >= SOURCES || flag >= 2048 || self.control & self.events_page & ENABLE == 0 {
            return false;
        }
        let Some(vector) = self.open(source) else {
            return false;
        };
        let word = &self.events[usize::from(source) * 32 + usize::from(flag >> 6)];
        let bit = 1u64 << (flag & 63);
        let before = word.fetch_or(bit, Ordering::SeqCst);
        if before & bit == 0 {
            raise(vector, apic);
        }
        true
    }

    /// Is nothing waiting in the queue?
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Tries all waiting messages. `drain`: masked sources as well, without their interrupt.
    pub fn redeliver(&mut self, drain: bool, apic: &mut LocalApic) {
        if !self.queue.is_empty() {
            for source in 0..SOURCES {
                self.deliver_queued(source, drain, apic);
            }
        }
    }

    /// Writes a message straight to its slot, for senders that keep their own buffer. `false`: try
    /// again after the next end of message, end of interrupt or change of the SynIC.
    pub fn try_deliver(&mut self, source: u8, message: &Message, apic: &mut LocalApic) -> bool {
        self.takes_messages()
            && self.queue.first(source).is_none()
            && self
                .open(source)
                .is_some_and(|vector| self.fill_slot(source, message, vector, apic))
    }

    fn deliver_queued(&mut self, source: u8, drain: bool, apic: &mut LocalApic) {
        if !self.takes_messages() {
            return;
        }
        let vector = match self.open(source) {
            Some(vector) => vector,
            None if drain => None,
            None => return,
        };
        while let Some(message) = self.queue.first(source) {
            if !self.fill_slot(source, message, vector, apic) {
                return;
            }
            self.queue.pop(source);
        }
    }

    /// Puts a message into the slot if that is empty. If not, the guest is told that more waits.
    fn fill_slot(
        &self,
        source: u8,
        message: &Message,
        vector: Option<u8>,
        apic: &mut LocalApic,
    ) -> bool {
        let Some(slot) = self
            .messages
            .get(usize::from(source & 15) * 32..)
            .and_then(|rest| rest.first_chunk::<32>())
        else {
            return false;
        };
        if slot[0].load(Ordering::Acquire) as u32 != 0 {
            // The guest empties the slot first and looks for the flag then. If it emptied the slot
            // before this, it may not have seen the flag, so the slot is ours now.
            let before = slot[0].fetch_or(MESSAGE_PENDING, Ordering::SeqCst);
            if before as u32 != 0 {
                return false;
            }
        }
        for (word, value) in slot.iter().zip(message).skip(1) {
            word.store(*value, Ordering::Relaxed);
        }
        slot[0].store(message[0] & 0xff_ffff_ffff, Ordering::Release);
        raise(vector, apic);
        true
    }

    /// `None`: the source is masked. `Some(None)`: open, but the guest polls.
    fn open(&self, source: u8) -> Option<Option<u8>> {
        let sint = *self.sources.get(usize::from(source))?;
        match (sint & SINT_POLLING != 0, sint & SINT_MASKED != 0) {
            (true, _) => Some(None),
            (false, true) => None,
            (false, false) => Some(Some(sint as u8)),
        }
    }

    /// RDMSR of 0x40000080 to 0x4000009f.
    pub fn read_msr(&self, msr: u32) -> Result<u64, GeneralProtection> {
        Ok(match msr {
            MSR_SCONTROL => self.control,
            MSR_SVERSION => 1,
            MSR_SIEFP => self.events_page,
            MSR_SIMP => self.messages_page,
            MSR_EOM => 0,
            MSR_SINT0..=MSR_SINT15 => self.sources[(msr - MSR_SINT0) as usize & 15],
            _ => return Err(GeneralProtection),
        })
    }

    /// WRMSR of 0x40000080 to 0x4000009f.
    pub fn write_msr(
        &mut self,
        msr: u32,
        value: u64,
        apic: &mut LocalApic,
    ) -> Result<Effect, GeneralProtection> {
        let mut effect = Effect::None;
        match msr {
            MSR_SCONTROL => self.control = value,
            MSR_SIEFP => effect = overlay(OverlayKind::Events, &mut self.events_page, value),
            MSR_SIMP => effect = overlay(OverlayKind::Messages, &mut self.messages_page, value),
            MSR_EOM => {
                self.redeliver(true, apic);
                return Ok(Effect::None);
            }
            MSR_SINT0..=MSR_SINT15 => {
                if value & SINT_MASKED == 0 && (value as u8) < 16 {
                    return Err(GeneralProtection);
                }
                self.sources[(msr - MSR_SINT0) as usize & 15] = value;
                apic.set_auto_eoi(self.auto_eoi());
            }
            _ => return Err(GeneralProtection),
        }
        self.redeliver(false, apic);
        Ok(effect)
    }

    fn auto_eoi(&self) -> VectorSet {
        let mut vectors = VectorSet::default();
        for sint in self
            .sources
            .iter()
            .filter(|&sint| sint & (SINT_AUTO_EOI | SINT_MASKED) == SINT_AUTO_EOI)
        {
            vectors.insert(*sint as u8);
        }
        vectors
    }
}

fn raise(vector: Option<u8>, apic: &mut LocalApic) {
    if let Some(vector) = vector {
        apic.accept(vector, false);
    }
}

/// Changes a register that places an overlay: address in 63:12, enable in bit 0.
pub(super) fn overlay(kind: OverlayKind, register: &mut u64, value: u64) -> Effect {
    let place = |value: u64| (value & ENABLE != 0).then_some(value & !0xfff);
    let before = place(*register);
    *register = value;
    if place(value) == before {
        Effect::None
    } else {
        Effect::Overlay(Overlay {
            kind,
            gpa: place(value),
        })
    }
}

#[cfg(test)]
mod tests;
