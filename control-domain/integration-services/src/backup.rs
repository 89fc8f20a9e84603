//! Backup (VSS): the guest's file systems are brought to rest while its disks are copied, then go on.
//!
//! A guest is never left at rest: after a time it is told to go on, whether who asked comes back or not. Hyper-V
//! also tells Windows guests which disks are copied; that is left out, Linux does not look at it.

use crate::question::{Questions, Unanswered};
use crate::session::{Response, Session};
use crate::wire::{self, Version, kind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Refused, RingError};
use zerocopy::{FromZeros, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x35fa2e29_ea23_4236_96ae_3a6ebacba440);
const INSTANCE: Uuid = Uuid::from_u128(0x2450ee40_33bf_4fbd_892e_9fb06e9214cf);
const VERSIONS: [Version; 1] = [Version::new(5, 0)];
/// Can the guest's file systems be frozen while it runs?
pub const HOT_BACKUP: u8 = 2;
/// Operation: file systems come to rest.
pub const FREEZE: u8 = 5;
/// Operation: they go on.
pub const THAW: u8 = 6;
/// The longest rest; Linux gives up by itself after 15 minutes.
pub const MOST: Duration = Duration::from_secs(600);

/// Who is told when the guest comes to rest (`true`) and goes on.
type Listener = Arc<dyn Fn(bool) + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum Question {
    HotBackup,
    Freeze { most_ns: u64 },
    Thaw,
}

impl Question {
    fn operation(self) -> u8 {
        match self {
            Self::HotBackup => HOT_BACKUP,
            Self::Freeze { .. } => FREEZE,
            Self::Thaw => THAW,
        }
    }
}

/// The vmm's end.
#[derive(Clone, Default)]
pub struct FileSystems {
    questions: Questions<Question>,
    frozen: Arc<AtomicBool>,
    listener: Arc<RwLock<Option<Listener>>>,
}

impl FileSystems {
    /// Has `listener` told when the guest comes to rest, and when it goes on.
    pub fn set_listener(&self, listener: impl Fn(bool) + Send + Sync + 'static) {
        let mut place = self
            .listener
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::new(listener));
    }

    /// Are they at rest?
    pub fn are_frozen(&self) -> bool {
        self.frozen.load(SeqCst)
    }

    /// Brings them to rest, for at most `most`. Waits for the guest no longer than `patience`; a guest that
    /// comes to rest later is told to go on.
    ///
    /// # Errors
    /// One sentence: the guest can't, or does not answer.
    pub fn freeze(&self, most: Duration, patience: Duration) -> Result<(), String> {
        if self.are_frozen() {
            return Err("the guest's file systems are frozen already".into());
        }
        let most_ns = most.min(MOST).as_nanos() as u64;
        let steps = [Question::HotBackup, Question::Freeze { most_ns }];
        steps.into_iter().try_for_each(|step| {
            let answer = self.questions.ask(step, patience);
            settled("freezes its file systems", answer)
        })
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// One sentence: the guest can't, or does not answer.
    pub fn thaw(&self, patience: Duration) -> Result<(), String> {
        if !self.are_frozen() {
            return Err("the guest's file systems are not frozen".into());
        }
        let answer = self.questions.ask(Question::Thaw, patience);
        settled("lets its file systems go on", answer)
    }

    fn set_frozen(&self, frozen: bool) {
        if self.frozen.swap(frozen, SeqCst) != frozen {
            let listener = self.listener.read();
            let listener = listener.unwrap_or_else(PoisonError::into_inner).clone();
            listener.iter().for_each(|listener| listener(frozen));
        }
    }
}

fn settled(what: &str, answer: Result<u32, Unanswered>) -> Result<(), String> {
    match answer {
        Ok(0) => Ok(()),
        Ok(status) => Err(format!(
            "the guest refuses ({status:#x}): a Linux guest {what} with hv_vss_daemon, of its package hyperv-daemons"
        )),
        Err(why) => Err(why.to_string()),
    }
}

/// The device.
pub struct Backup {
    session: Session,
    file_systems: FileSystems,
    /// What the guest was asked last.
    asked: Option<Question>,
    /// When a guest at rest is told to go on.
    thaw_ns: Option<u64>,
}

impl Backup {
    /// The device behind the handle.
    pub fn new(file_systems: FileSystems) -> Self {
        let mut device = Self {
            session: Session::new(kind::BACKUP, &VERSIONS),
            file_systems,
            asked: None,
            thaw_ns: None,
        };
        device.reset();
        device
    }

    /// A driver that goes lets its file systems go on by itself.
    fn reset(&mut self) {
        self.session.reset();
        self.asked = None;
        self.thaw_ns = None;
        self.file_systems.questions.set_ready(false);
        self.file_systems.set_frozen(false);
    }

    fn answered(&mut self, response: &Response, channel: &Channel<'_>) {
        let done = response.status == 0;
        match self.asked.take() {
            Some(Question::Freeze { most_ns }) => {
                if done {
                    self.thaw_ns = Some(channel.now_ns().saturating_add(most_ns));
                    self.file_systems.set_frozen(true);
                }
                if !self.file_systems.questions.answered(response.status) && done {
                    channel.report("backup: nobody waits any more for the guest to come to rest");
                    self.thaw_ns = Some(channel.now_ns());
                }
            }
            Some(question) => {
                if done && matches!(question, Question::Thaw) {
                    self.thaw_ns = None;
                    self.file_systems.set_frozen(false);
                }
                self.file_systems.questions.answered(response.status);
            }
            // Our own order to go on.
            None if done => self.file_systems.set_frozen(false),
            None => channel.report(&format!(
                "backup: the guest does not let its file systems go on, {:#x}",
                response.status
            )),
        }
    }
}

/// The message of an operation.
fn message(operation: u8) -> wire::Backup {
    let mut message = wire::Backup::new_zeroed();
    message.operation = operation;
    message
}

impl Device for Backup {
    fn offer(&self) -> Offer {
        Offer::message_pipe("backup", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.file_systems.questions.set_doorbell(doorbell);
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        self.reset();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(response) = self.session.receive(channel)? {
            self.answered(&response, channel);
        }
        if !self.session.is_idle() {
            return Ok(());
        }
        let questions = self.file_systems.questions.clone();
        questions.set_ready(true);
        if self.thaw_ns.is_some_and(|ns| channel.now_ns() >= ns) {
            if self.session.request(channel, message(THAW).as_bytes())? {
                self.thaw_ns = None;
                channel.report("backup: the time is over, the guest goes on");
            }
            return Ok(());
        }
        questions.pass(|question| {
            let message = message(question.operation());
            let sent = self.session.request(channel, message.as_bytes())?;
            self.asked = sent.then_some(*question);
            Ok(sent)
        })
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.thaw_ns.filter(|_| self.session.is_idle())
    }
}
