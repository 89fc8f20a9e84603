//! Guest file copy: a file of the host is written into the guest, piece by piece.

use crate::question::{Questions, Unanswered};
use crate::session::Session;
use crate::utf16::put;
use crate::wire::{self, FILE_COPY_BYTES, Version, kind};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Refused, RingError};
use zerocopy::{FromZeros, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x34d14be3_dee4_41c8_9ae7_6b174977c192);
/// Linux's daemon looks for it by this.
const INSTANCE: Uuid = Uuid::from_u128(0xeb765408_105f_49b6_b4aa_c123b64d17d4);
const VERSIONS: [Version; 1] = [Version::new(1, 1)];
/// Operation: a file begins.
pub const START: u32 = 0;
/// Operation: a piece of it.
pub const WRITE: u32 = 1;
/// Operation: it is whole.
pub const COMPLETE: u32 = 2;
/// Operation: it stays incomplete.
pub const CANCEL: u32 = 3;
/// Flag: a file that is there is replaced.
pub const OVERWRITE: u32 = 1;
/// Flag: folders that are not there are made.
pub const CREATE_PATH: u32 = 2;
/// Most UTF-16 units of a file's name and of its folder's path, without the 0.
const MOST_UNITS: usize = 259;
const ALREADY_EXISTS: u32 = 0x8007_0050;
const DISK_FULL: u32 = 0x8007_0070;

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Path of the folder in the guest, which ends with its separator.
    pub folder: String,
    /// Name of the file.
    pub file: String,
    /// [`OVERWRITE`] and [`CREATE_PATH`].
    pub flags: u32,
}

impl Destination {
    /// The file at a path of the guest; where it ends with a separator, the file keeps its name.
    ///
    /// # Errors
    /// One sentence: the guest can't be told of such a path.
    pub fn new(path: &str, name: &str, flags: u32) -> Result<Self, String> {
        let end = path.rfind(['/', '\\']).map_or(0, |at| at + 1);
        let (folder, file) = path.split_at(end);
        let file = if file.is_empty() { name } else { file };
        let fits = |text: &str| text.encode_utf16().count() <= MOST_UNITS;
        if folder.is_empty() {
            return Err(format!(
                "{path}: a destination is a whole path, from the guest's root or drive on"
            ));
        }
        if file.is_empty() || path.contains('\0') || !fits(folder) || !fits(file) {
            return Err(format!(
                "{path}: folder and name are of 1 to {MOST_UNITS} characters each"
            ));
        }
        Ok(Self {
            folder: folder.into(),
            file: file.into(),
            flags,
        })
    }
}

/// The vmm's end: one copy at a time.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    questions: Questions<Vec<u8>>,
    turn: Arc<Mutex<()>>,
}

impl Copies {
    /// Copies `size` bytes of `source` into the guest; `patience` is how long the guest may take for each piece.
    ///
    /// # Errors
    /// One sentence: the source, or the guest, failed. What is there of the file stays.
    pub fn copy(
        &self,
        mut source: impl Read,
        size: u64,
        to: &Destination,
        patience: Duration,
    ) -> Result<(), String> {
        let _turn = self
            .turn
            .try_lock()
            .map_err(|_| "another file is being copied".to_owned())?;
        let ask = |message: Vec<u8>| answer(self.questions.ask(message, patience));
        ask(start(to, size))?;
        let copied = pieces(&mut source, size, |offset, piece| ask(data(offset, piece)));
        let end = if copied.is_ok() { COMPLETE } else { CANCEL };
        let ended = ask(header(end).as_bytes().to_vec());
        copied.and(ended)
    }
}

/// Cuts what there is to read into pieces.
fn pieces(
    source: &mut impl Read,
    size: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut piece = [0; FILE_COPY_BYTES];
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(FILE_COPY_BYTES as u64) as usize;
        let read = source.read_exact(&mut piece[..length]);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "the source has become shorter meanwhile".to_owned(),
            _ => format!("the source at {offset}: {error}"),
        })?;
        each(offset, &piece[..length])?;
        offset += length as u64;
    }
    Ok(())
}

fn answer(answer: Result<u32, Unanswered>) -> Result<(), String> {
    match answer {
        Ok(0) => Ok(()),
        Ok(ALREADY_EXISTS) => Err("the guest has such a file already; --force replaces it".into()),
        Ok(DISK_FULL) => Err("the guest's disk is full".into()),
        Ok(status) => Err(format!(
            "the guest refuses ({status:#x}); is the folder there? --create-path makes it"
        )),
        Err(Unanswered::NoDriver) => Err(
            "the guest has no driver for it: Linux needs hv_fcopy_uio_daemon (before 6.10 hv_fcopy_daemon)".into(),
        ),
        Err(why) => Err(why.to_string()),
    }
}

fn header(operation: u32) -> wire::FileCopy {
    let mut header = wire::FileCopy::new_zeroed();
    header.operation = operation.into();
    header
}

fn start(to: &Destination, size: u64) -> Vec<u8> {
    let mut message = wire::FileCopyStart::new_zeroed();
    message.header = header(START);
    put(&to.file, &mut message.file);
    put(&to.folder, &mut message.folder);
    message.flags = to.flags.into();
    message.size = size.into();
    message.as_bytes().to_vec()
}

fn data(offset: u64, piece: &[u8]) -> Vec<u8> {
    let mut message = wire::FileCopyData::new_zeroed();
    message.header = header(WRITE);
    message.offset = offset.into();
    message.size = (piece.len() as u32).into();
    message.data[..piece.len()].copy_from_slice(piece);
    message.as_bytes().to_vec()
}

/// The device.
#[derive(Debug)]
pub struct FileCopy {
    session: Session,
    questions: Questions<Vec<u8>>,
}

impl FileCopy {
    /// The device behind the handle.
    pub fn new(copies: &Copies) -> Self {
        let mut device = Self {
            session: Session::new(kind::FILE_COPY, &VERSIONS),
            questions: copies.questions.clone(),
        };
        device.reset();
        device
    }

    fn reset(&mut self) {
        self.session.reset();
        self.questions.set_ready(false);
    }
}

impl Device for FileCopy {
    fn offer(&self) -> Offer {
        Offer::message_pipe("file copy", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.questions.set_doorbell(doorbell);
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
            self.questions.answered(response.status);
        }
        if self.session.is_idle() {
            self.questions.set_ready(true);
        }
        let session = &mut self.session;
        self.questions
            .pass(|message| session.request(channel, message))
    }
}
