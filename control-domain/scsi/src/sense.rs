//! What went wrong: sense data in the fixed format. Source: SPC-4 §4.5.

use core::fmt;

/// Bytes of the fixed format (§4.5.3).
pub const FIXED_SENSE_LENGTH: usize = 18;

/// The general kind (§4.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the standard's.
pub enum SenseKey {
    NoSense = 0,
    NotReady = 2,
    MediumError = 3,
    HardwareError = 4,
    IllegalRequest = 5,
    UnitAttention = 6,
    DataProtect = 7,
    Miscompare = 0xe,
}

/// Which field of what the initiator sent was wrong (§4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldPointer {
    in_command: bool,
    byte: u16,
    bit: Option<u8>,
}

/// Sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// The kind.
    pub key: SenseKey,
    /// Additional sense code and its qualifier.
    pub code: (u8, u8),
    /// Logical block that it is about.
    pub information: Option<u64>,
    field: Option<FieldPointer>,
}

impl Sense {
    pub(crate) const NONE: Sense = Sense::new(SenseKey::NoSense, 0, 0);
    pub(crate) const INVALID_OPCODE: Sense = Sense {
        field: Some(FieldPointer {
            in_command: true,
            byte: 0,
            bit: None,
        }),
        ..Sense::new(SenseKey::IllegalRequest, 0x20, 0)
    };
    pub(crate) const INVALID_FIELD: Sense = Sense::new(SenseKey::IllegalRequest, 0x24, 0);
    pub(crate) const OUT_OF_RANGE: Sense = Sense::new(SenseKey::IllegalRequest, 0x21, 0);
    pub(crate) const NO_UNIT: Sense = Sense::new(SenseKey::IllegalRequest, 0x25, 0);
    pub(crate) const PARAMETER_LIST_LENGTH: Sense = Sense::new(SenseKey::IllegalRequest, 0x1a, 0);
    pub(crate) const SAVING_NOT_SUPPORTED: Sense = Sense::new(SenseKey::IllegalRequest, 0x39, 0);
    pub(crate) const REMOVAL_PREVENTED: Sense = Sense::new(SenseKey::IllegalRequest, 0x53, 2);
    pub(crate) const NO_MEDIUM_TRAY_CLOSED: Sense = Sense::new(SenseKey::NotReady, 0x3a, 1);
    pub(crate) const NO_MEDIUM_TRAY_OPEN: Sense = Sense::new(SenseKey::NotReady, 0x3a, 2);
    pub(crate) const WRITE_PROTECTED: Sense = Sense::new(SenseKey::DataProtect, 0x27, 0);

    pub(crate) const fn new(key: SenseKey, code: u8, qualifier: u8) -> Sense {
        Sense {
            key,
            code: (code, qualifier),
            information: None,
            field: None,
        }
    }

    /// A field of the command that is not supported, from this byte on.
    pub(crate) const fn invalid_field(byte: usize) -> Sense {
        Sense::pointing(0x24, true, byte, None)
    }

    /// A bit of the command that is not supported, or the highest bit of such a field.
    pub(crate) const fn invalid_bit(byte: usize, bit: u8) -> Sense {
        Sense::pointing(0x24, true, byte, Some(bit))
    }

    /// A field of the parameter list that is not supported.
    pub(crate) const fn invalid_parameter(byte: usize) -> Sense {
        Sense::pointing(0x26, false, byte, None)
    }

    const fn pointing(code: u8, in_command: bool, byte: usize, bit: Option<u8>) -> Sense {
        Sense {
            field: Some(FieldPointer {
                in_command,
                byte: byte as u16,
                bit,
            }),
            ..Sense::new(SenseKey::IllegalRequest, code, 0)
        }
    }

    pub(crate) const fn about(self, block: u64) -> Sense {
        Sense {
            information: Some(block),
            ..self
        }
    }

    /// Current errors in the fixed format.
    pub fn to_bytes(&self) -> [u8; FIXED_SENSE_LENGTH] {
        let mut bytes = [0; FIXED_SENSE_LENGTH];
        bytes[0] = 0x70;
        // A block that needs more than 32 bits can't be said in this format (§4.5.3).
        if let Some(block) = self.information.and_then(|block| u32::try_from(block).ok()) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&block.to_be_bytes());
        }
        bytes[2] = self.key as u8;
        bytes[7] = (FIXED_SENSE_LENGTH - 8) as u8;
        (bytes[12], bytes[13]) = self.code;
        if let Some(field) = self.field {
            bytes[15] =
                0x80 | u8::from(field.in_command) << 6 | field.bit.map_or(0, |bit| 0x08 | bit & 7);
            bytes[16..].copy_from_slice(&field.byte.to_be_bytes());
        }
        bytes
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, qualifier) = self.code;
        write!(f, "{:?} {code:02x}/{qualifier:02x}", self.key)?;
        match self.field {
            Some(field) => write!(f, " at byte {}", field.byte),
            None => Ok(()),
        }
    }
}
