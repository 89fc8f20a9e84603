//! How a guest connects: the version, and where messages go.

use super::{Effect, Server};
use crate::message::{self, InitiateContactBody, Message, kind};
use crate::version::Version;
use guest_memory::GuestMemory;

/// Connection for messages that a guest of 5.0 and later is told to use.
const MESSAGE_CONNECTION: u32 = 4;
/// Synthetic interrupt of guests that don't name one.
const USUAL_SINT: u8 = 2;
/// 5.0 on the wire, for versions that we don't know as well.
const NAMES_SINT: u32 = 5 << 16;
/// 3.0 on the wire: before, messages go to processor 0.
const NAMES_PROCESSOR: u32 = 3 << 16;

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTarget {
    /// The processor.
    pub processor: u32,
    /// The synthetic interrupt.
    pub sint: u8,
}

/// A guest's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// What both speak.
    pub version: Version,
    /// Where messages go.
    pub target: MessageTarget,
    /// Address of the page of flags that guests before 5.0 give: the lower half for interrupts to the
    /// guest, the upper half for those from it.
    pub interrupt_page: Option<u64>,
}

impl Connection {
    /// Sets a channel's flag in the interrupt page, for guests without event flags.
    pub fn flag_channel(&self, memory: &GuestMemory, channel: u32) {
        if let Some(page) = self.interrupt_page {
            let word = page + u64::from(channel / 64) * 8;
            // No memory there: the guest gets no interrupts, which is what it asked for.
            let _ = memory.set_bits(word, 1 << (channel % 64));
        }
    }
}

impl Server {
    /// INITIATE_CONTACT.
    pub(super) fn initiate_contact(&mut self, body: &InitiateContactBody) -> Vec<Effect> {
        let wanted = body.version.get();
        let sint = match body.target.get() as u8 {
            named @ 1..=15 if wanted >= NAMES_SINT => named,
            _ => USUAL_SINT,
        };
        let processor = match wanted {
            NAMES_PROCESSOR.. => body.target_processor.get(),
            _ => 0,
        };
        let target = MessageTarget { processor, sint };
        // A kernel that was started without an UNLOAD of the one before.
        let effects = self.disconnect();
        let version = Version::from_number(wanted);
        self.connection = version.map(|version| Connection {
            version,
            target,
            interrupt_page: (!version.names_message_target())
                .then(|| body.target.get())
                .filter(|page| page.is_multiple_of(4096)),
        });
        let answer = message::VersionResponseBody {
            supported: version.is_some().into(),
            state: 0,
            reserved: 0.into(),
            version_or_connection: match version {
                Some(version) if version.names_message_target() => MESSAGE_CONNECTION,
                _ => wanted,
            }
            .into(),
        };
        let mut answer = Message::new(kind::VERSION_RESPONSE, &answer);
        if version == Some(Version::V6_0) {
            answer = answer.followed_by(&0u32.to_le_bytes());
        }
        self.outbox.push_back((target, answer));
        effects
    }

    /// UNLOAD: all ends, and then the guest hears so, whether it was connected or not.
    pub(super) fn unload(&mut self) -> Vec<Effect> {
        let target = self.connection.as_ref().map_or(
            MessageTarget {
                processor: 0,
                sint: USUAL_SINT,
            },
            |connection| connection.target,
        );
        let effects = self.disconnect();
        self.outbox
            .push_back((target, Message::bare(kind::UNLOAD_RESPONSE)));
        effects
    }
}
