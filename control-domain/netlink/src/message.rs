//! A netlink message: a header, a fixed part, attributes. Source: netlink(7), rtnetlink(7).

const HEADER_LENGTH: usize = 16;
/// NLA_F_NESTED.
const NESTED: u16 = 1 << 15;

/// NLM_F_REQUEST.
pub const REQUEST: u16 = 1;
/// NLM_F_ACK.
pub const ACK: u16 = 4;
/// NLM_F_REPLACE.
pub const REPLACE: u16 = 0x100;
/// NLM_F_EXCL.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE.
pub const CREATE: u16 = 0x400;
/// NLM_F_APPEND.
pub const APPEND: u16 = 0x800;

/// A message that is put together.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A request that is to be acknowledged, with its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        Self::unacknowledged(kind, flags | ACK, fixed)
    }

    /// A request that has no answer but a refusal.
    pub fn unacknowledged(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.resize(HEADER_LENGTH, 0);
        bytes.extend(fixed);
        Self(bytes)
    }

    /// An attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, |bytes| bytes.extend(value));
        self
    }

    /// A text with a zero behind it.
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Attributes in an attribute.
    pub fn nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        self.put(kind | NESTED, |bytes| {
            *bytes = inside(Self(std::mem::take(bytes))).0;
        });
        self
    }

    fn put(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let Self(bytes) = self;
        let start = bytes.len();
        bytes.extend([0; 4]);
        value(bytes);
        let length = (bytes.len() - start) as u16;
        bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    /// The message as it is sent.
    pub fn finish(self, sequence: u32) -> Vec<u8> {
        let Self(mut bytes) = self;
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }
}

/// What the kernel says of a request: its number, and the errno or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The request's number.
    pub sequence: u32,
    /// 0, or the number of an error.
    pub error: i32,
}

/// NLMSG_ERROR.
const ERROR: u16 = 2;

/// The verdicts of what the kernel sent; other messages are passed over.
pub fn verdicts(mut bytes: &[u8]) -> Vec<Verdict> {
    let mut found = Vec::new();
    let word =
        |bytes: &[u8], at: usize| -> Option<[u8; 4]> { bytes.get(at..)?.first_chunk().copied() };
    while let Some(length) = word(bytes, 0).map(u32::from_ne_bytes) {
        let length = length as usize;
        let Some(message) = bytes.get(..length).filter(|m| m.len() >= HEADER_LENGTH) else {
            break;
        };
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        if let (ERROR, Some(error), Some(sequence)) =
            (kind, word(message, HEADER_LENGTH), word(message, 8))
        {
            found.push(Verdict {
                sequence: u32::from_ne_bytes(sequence),
                error: i32::from_ne_bytes(error).wrapping_neg(),
            });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
