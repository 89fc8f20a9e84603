//! What other processors and the vmm leave for a processor to find.
//!
//! Senders set bits and raise `pending`; the processor's owner takes everything before it enters
//! the guest. A sender then looks at the processor's [`Activity`]: because it stores first and looks
//! afterwards, and the owner announces first and looks into the inbox afterwards, one of the two
//! always sees the other.

use crate::apic::{DeliveryMode, Destination, Ipi};
use crate::processor::Message;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use spin::Mutex;

/// SynIC notices that can wait.
const NOTICES: usize = 16;

/// Where a processor's thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// With the vmm, which will call `Run` again.
    Vmm = 0,
    /// In a run.
    Running = 1,
    /// Blocked until woken.
    Blocked = 2,
}

/// For the SynIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to box a message in"
)]
pub enum Notice {
    /// Set an event flag.
    Event {
        /// Source, 0 to 15.
        sint: u8,
        /// Flag, 0 to 2047.
        flag: u16,
    },
    /// Post a message.
    Message {
        /// Source, 0 to 15.
        sint: u8,
        /// The message.
        message: Message,
    },
}

const NMI: u32 = 1 << 0;
const INIT: u32 = 1 << 1;
const STARTUP: u32 = 1 << 2;

/// The inbox of one processor. What every run looks at lies last, close together.
#[repr(C)]
pub struct Inbox {
    notices: Mutex<Queue>,
    vectors: [AtomicU64; 4],
    level: [AtomicU64; 4],
    signals: AtomicU32,
    startup_page: AtomicU32,
    whereabouts: AtomicU32,
    pending: AtomicBool,
}

struct Queue {
    entries: [Option<Notice>; NOTICES],
    first: usize,
    count: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            pending: AtomicBool::new(false),
            vectors: Default::default(),
            level: Default::default(),
            signals: AtomicU32::new(0),
            startup_page: AtomicU32::new(0),
            notices: Mutex::new(Queue {
                entries: [None; NOTICES],
                first: 0,
                count: 0,
            }),
            whereabouts: AtomicU32::new(Whereabouts::Vmm as u32),
        }
    }
}

/// What a sender must do for the processor it left something for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: it will look by itself.
    Nothing,
    /// Kick its thread.
    Signal,
    /// Wake its thread.
    Wake,
}

impl Inbox {
    /// Leaves an interrupt message.
    pub fn send(&self, ipi: &Ipi) -> Duty {
        let (word, bit) = (usize::from(ipi.vector / 64), 1u64 << (ipi.vector % 64));
        match ipi.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if ipi.level {
                    self.level[word].fetch_or(bit, Relaxed);
                }
                self.vectors[word].fetch_or(bit, SeqCst);
            }
            DeliveryMode::Nmi => {
                self.signals.fetch_or(NMI, SeqCst);
            }
            DeliveryMode::Init => {
                self.signals.fetch_or(INIT, SeqCst);
            }
            DeliveryMode::StartUp => {
                self.startup_page.store(u32::from(ipi.vector), Relaxed);
                self.signals.fetch_or(STARTUP, SeqCst);
            }
            DeliveryMode::Smi | DeliveryMode::ExtInt => return Duty::Nothing,
        }
        self.announce()
    }

    /// Leaves a notice; `None` when too many wait.
    pub fn notify(&self, notice: Notice) -> Option<Duty> {
        {
            let mut queue = self.notices.lock();
            if queue.count == NOTICES {
                return None;
            }
            let at = (queue.first + queue.count) % NOTICES;
            queue.entries[at] = Some(notice);
            queue.count += 1;
        }
        Some(self.announce())
    }

    /// Makes the owner look, although nothing was left (a memory map changed).
    pub fn nudge(&self) -> Duty {
        match self.whereabouts() {
            Whereabouts::Running => Duty::Signal,
            _ => Duty::Nothing,
        }
    }

    fn announce(&self) -> Duty {
        // One kick serves all that is left until the owner looks.
        if self.pending.swap(true, SeqCst) {
            return Duty::Nothing;
        }
        match self.whereabouts() {
            Whereabouts::Vmm => Duty::Nothing,
            Whereabouts::Running => Duty::Signal,
            Whereabouts::Blocked => Duty::Wake,
        }
    }

    /// Where the processor's thread is.
    pub fn whereabouts(&self) -> Whereabouts {
        match self.whereabouts.load(SeqCst) {
            0 => Whereabouts::Vmm,
            1 => Whereabouts::Running,
            _ => Whereabouts::Blocked,
        }
    }

    /// The owner says where it is; afterwards it looks at [`Inbox::is_pending`].
    pub fn set_whereabouts(&self, whereabouts: Whereabouts) {
        self.whereabouts.store(whereabouts as u32, SeqCst);
    }

    /// Was anything left?
    pub fn is_pending(&self) -> bool {
        self.pending.load(SeqCst)
    }

    /// Hands everything over, until `each` refuses a notice: that one and those behind it stay.
    /// `false`: something stayed, and will not be announced again.
    pub fn drain(&self, mut each: impl FnMut(Item) -> bool) -> bool {
        self.pending.store(false, SeqCst);
        let signals = self.signals.swap(0, SeqCst);
        let message = |mode, vector, level| {
            Item::Interrupt(Ipi {
                mode,
                vector,
                level,
                destination: Destination::Myself,
            })
        };
        if signals & INIT != 0 {
            each(message(DeliveryMode::Init, 0, false));
        }
        if signals & STARTUP != 0 {
            each(message(
                DeliveryMode::StartUp,
                self.startup_page.load(Relaxed) as u8,
                false,
            ));
        }
        if signals & NMI != 0 {
            each(message(DeliveryMode::Nmi, 0, false));
        }
        for (word, (vectors, levels)) in self.vectors.iter().zip(&self.level).enumerate() {
            if vectors.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = vectors.swap(0, SeqCst);
            let level = levels.fetch_and(!bits, Relaxed);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let vector = (word as u32 * 64 + bit) as u8;
                each(message(DeliveryMode::Fixed, vector, level >> bit & 1 != 0));
            }
        }
        let mut queue = self.notices.lock();
        while queue.count != 0 {
            let at = queue.first;
            if let Some(notice) = queue.entries[at]
                && !each(Item::Notice(notice))
            {
                return false;
            }
            queue.entries[at] = None;
            queue.first = (at + 1) % NOTICES;
            queue.count -= 1;
        }
        true
    }
}

/// What [`Inbox::drain`] hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to box a message in"
)]
pub enum Item {
    /// An interrupt message.
    Interrupt(Ipi),
    /// For the SynIC.
    Notice(Notice),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(vector: u8, level: bool) -> Ipi {
        Ipi {
            mode: DeliveryMode::Fixed,
            vector,
            level,
            destination: Destination::Myself,
        }
    }

    fn drained(inbox: &Inbox) -> Vec<Item> {
        let mut items = Vec::new();
        inbox.drain(|item| {
            items.push(item);
            true
        });
        items
    }

    #[test]
    fn what_is_sent_arrives_once_with_its_trigger_mode() {
        let inbox = Inbox::default();
        for vector in [0x20, 0xff, 0x41] {
            inbox.send(&fixed(vector, vector == 0x41));
        }
        assert_eq!(
            drained(&inbox),
            [0x20, 0x41, 0xff].map(|v| Item::Interrupt(fixed(v, v == 0x41)))
        );
        assert!(drained(&inbox).is_empty() && !inbox.is_pending());
        inbox.send(&fixed(0x41, false));
        assert_eq!(drained(&inbox), [Item::Interrupt(fixed(0x41, false))]);
    }

    #[test]
    fn one_kick_serves_many_and_depends_on_whereabouts() {
        let inbox = Inbox::default();
        assert_eq!(inbox.send(&fixed(0x30, false)), Duty::Nothing);
        drained(&inbox);
        inbox.set_whereabouts(Whereabouts::Running);
        assert_eq!(inbox.send(&fixed(0x30, false)), Duty::Signal);
        assert_eq!(inbox.send(&fixed(0x31, false)), Duty::Nothing);
        drained(&inbox);
        inbox.set_whereabouts(Whereabouts::Blocked);
        assert_eq!(
            inbox.notify(Notice::Event { sint: 2, flag: 9 }),
            Some(Duty::Wake)
        );
        assert_eq!(
            drained(&inbox),
            [Item::Notice(Notice::Event { sint: 2, flag: 9 })]
        );
    }

    #[test]
    fn init_comes_before_startup() {
        let inbox = Inbox::default();
        inbox.send(&Ipi {
            mode: DeliveryMode::StartUp,
            vector: 0x9f,
            level: false,
            destination: Destination::All,
        });
        inbox.send(&Ipi {
            mode: DeliveryMode::Init,
            vector: 0,
            level: false,
            destination: Destination::All,
        });
        let modes: Vec<_> = drained(&inbox)
            .iter()
            .map(|i| {
                if let Item::Interrupt(i) = i {
                    (i.mode, i.vector)
                } else {
                    panic!()
                }
            })
            .collect();
        assert_eq!(
            modes,
            [(DeliveryMode::Init, 0), (DeliveryMode::StartUp, 0x9f)]
        );
    }

    #[test]
    fn a_refused_notice_stays_in_its_place() {
        let inbox = Inbox::default();
        for flag in 0..3 {
            inbox.notify(Notice::Event { sint: 1, flag });
        }
        assert!(!inbox.drain(|item| item != Item::Notice(Notice::Event { sint: 1, flag: 1 })));
        let rest = [1, 2].map(|flag| Item::Notice(Notice::Event { sint: 1, flag }));
        assert_eq!(drained(&inbox), rest);
    }

    #[test]
    fn notices_keep_their_order_and_their_limit() {
        let inbox = Inbox::default();
        for flag in 0..NOTICES as u16 {
            assert!(inbox.notify(Notice::Event { sint: 1, flag }).is_some());
        }
        assert_eq!(inbox.notify(Notice::Event { sint: 1, flag: 99 }), None);
        let flags: Vec<_> = drained(&inbox)
            .iter()
            .map(|i| {
                if let Item::Notice(Notice::Event { flag, .. }) = i {
                    *flag
                } else {
                    panic!()
                }
            })
            .collect();
        assert_eq!(flags, (0..NOTICES as u16).collect::<Vec<_>>());
    }

    /// Two threads: whatever interleaving happens, the sender kicks or the owner sees.
    #[test]
    fn nothing_is_lost_between_sender_and_owner() {
        use std::sync::Arc;
        use std::sync::atomic::AtomicUsize;
        let inbox = Arc::new(Inbox::default());
        let kicked = Arc::new(AtomicUsize::new(0));
        let (i, k) = (inbox.clone(), kicked.clone());
        const ROUNDS: usize = 20_000;
        let owner = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < ROUNDS {
                i.set_whereabouts(Whereabouts::Running);
                while i.is_pending() {
                    i.drain(|_| {
                        seen += 1;
                        true
                    });
                }
                i.set_whereabouts(Whereabouts::Blocked);
                if i.is_pending() {
                    continue;
                }
                // Blocked: only a duty may let us go on, or we are done.
                while k.load(SeqCst) == 0 && seen < ROUNDS {
                    std::thread::yield_now();
                }
                k.store(0, SeqCst);
            }
        });
        for round in 0..ROUNDS {
            let flag = (round % 2048) as u16;
            loop {
                match inbox.notify(Notice::Event { sint: 0, flag }) {
                    None => std::thread::yield_now(),
                    Some(Duty::Nothing) => break,
                    Some(_) => {
                        kicked.store(1, SeqCst);
                        break;
                    }
                }
            }
        }
        owner.join().unwrap();
    }
}
