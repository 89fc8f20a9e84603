//! The handshake of a channel and the two buffers that it is about.

use crate::receive::ReceiveBuffer;
use crate::wire::Version;
use crate::wire::nvsp::{Init, NO_SECTION, NdisConfig, RndisPacket, Status};
use guest_buffer::{Buffer, Memory};

/// Bytes of a section of the send buffer.
pub(crate) const SECTION_LENGTH: u32 = 6144;
/// Bytes of a message that are looked at, wherever they lie.
const MOST_MESSAGE: u64 = 1 << 20;
/// The largest frame that a guest may ask for: 64 KiB.
const MOST_FRAME: u32 = 1 << 16;

/// What was agreed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub version: Option<Version>,
    /// Bytes of a frame with its header; 0: the guest did not say.
    pub frame_length: u32,
    pub receive: Option<ReceiveBuffer>,
    pub send: Option<Buffer>,
}

impl Session {
    /// Chooses the newest version that both take.
    pub fn init(&mut self, init: Init) -> Result<Version, Status> {
        let wanted = Version(init.oldest.get())..=Version(init.newest.get());
        if self.version.is_some() {
            return Err(Status::Fail);
        }
        let found = Version::ALL.into_iter().find(|v| wanted.contains(v));
        self.version = found;
        found.ok_or(match *wanted.start() > Version::V61 {
            true => Status::ProtocolTooNew,
            false => Status::ProtocolTooOld,
        })
    }

    pub fn configure(&mut self, config: NdisConfig) {
        // Once the buffer is divided, its pieces stay as they are.
        if self.receive.is_none() {
            self.frame_length = config.frame_length.get().min(MOST_FRAME);
        }
    }

    /// A message of the guest, wherever it lies, as our own copy; none if it does not hold together.
    pub fn message<M: Memory + ?Sized>(
        &self,
        packet: &RndisPacket,
        buffer: &Buffer,
        memory: &M,
    ) -> Option<Vec<u8>> {
        let in_section = match packet.section.get() {
            NO_SECTION => 0,
            _ => u64::from(packet.section_length.get()),
        };
        let length = in_section.checked_add(buffer.length())?;
        if in_section > SECTION_LENGTH.into() || length > MOST_MESSAGE {
            return None;
        }
        let mut bytes = vec![0; length as usize];
        let (first, second) = bytes.split_at_mut(in_section as usize);
        if in_section > 0 {
            let send = self.send.as_ref()?;
            let start = u64::from(packet.section.get()) * u64::from(SECTION_LENGTH);
            if start + in_section > send.length() {
                return None;
            }
            send.load(memory, start, first).ok()?;
        }
        buffer.load(memory, 0, second).ok()?;
        Some(bytes)
    }
}
