//! Layouts of both protocols, little-endian.
//! Source: Linux `drivers/input/serio/hyperv-keyboard.c`, `drivers/hid/hid-hyperv.c`.

use vmbus::layout;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Types of the keyboard's messages, which begin with them.
pub mod keyboard {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const PROTOCOL_REQUEST: u32 = 1;
    pub const PROTOCOL_RESPONSE: u32 = 2;
    pub const EVENT: u32 = 3;
    pub const LED_INDICATORS: u32 = 4;
    /// 1.0, the only one.
    pub const VERSION: u32 = 1 << 16;
    /// [`super::Keystroke::flags`]: the key was released.
    pub const IS_BREAK: u32 = 1 << 1;
    /// [`super::Keystroke::flags`]: E0h stands before the code.
    pub const IS_E0: u32 = 1 << 2;
}

/// Types of the mouse's messages, in [`MouseHeader`].
pub mod mouse {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const PROTOCOL_REQUEST: u32 = 0;
    pub const PROTOCOL_RESPONSE: u32 = 1;
    pub const DEVICE_INFO: u32 = 2;
    pub const DEVICE_INFO_ACK: u32 = 3;
    pub const INPUT_REPORT: u32 = 4;
    /// 2.0, the only one since 2008.
    pub const VERSION: u32 = 2 << 16;
}

pub use vmbus::{PIPE_DATA, PipeHeader};

layout! {
    /// A request or its answer: the version that the driver wants, or 1 if it is accepted.
    KeyboardMessage {
        /// A constant of [`keyboard`].
        kind: U32,
        /// Version or answer.
        value: U32,
    }
    /// A key was pressed or released.
    Keystroke {
        /// [`keyboard::EVENT`].
        kind: U32,
        /// Code of scan code set 1, without the bit of a release.
        code: U16,
        /// 0.
        reserved: U16,
        /// Flags of [`keyboard`].
        flags: U32,
    }
    /// What every message of the mouse begins with.
    MouseHeader {
        /// A constant of [`mouse`].
        kind: U32,
        /// Bytes that follow.
        length: U32,
    }
    /// The answer to a version.
    MouseVersion {
        /// The version that was asked for.
        version: U32,
        /// 1: accepted.
        accepted: u8,
    }
    /// What kind of mouse it is; the report descriptor follows.
    DeviceInfo {
        /// Bytes of the first five fields.
        attributes_length: U32,
        /// Of USB.
        vendor: U16,
        /// Of the vendor.
        product: U16,
        /// Of the product.
        version: U16,
        /// 0.
        reserved: [U16; 11],
        /// HID 1.11, 6.2.1: bytes of the fields from here on.
        descriptor_length: u8,
        /// 0x21: HID.
        descriptor_kind: u8,
        /// Version of HID.
        hid_version: U16,
        /// 0: none.
        country: u8,
        /// Descriptors that follow.
        descriptors: u8,
        /// 0x22: a report descriptor.
        report_kind: u8,
        /// Its bytes.
        report_length: U16,
    }
    /// Where the mouse is now, as its report descriptor says.
    MouseReport {
        /// Bit 0 left, 1 right, 2 middle.
        buttons: u8,
        /// 0 is the left edge of the screen, 32767 the right one.
        x: U16,
        /// 0 is the upper edge of the screen, 32767 the lower one.
        y: U16,
        /// Notches of the wheel since the last report, upwards: two's complement.
        wheel: U16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_drivers() {
        assert_eq!(size_of::<KeyboardMessage>(), 8);
        assert_eq!(size_of::<Keystroke>(), 12);
        assert_eq!(size_of::<MouseVersion>(), 5);
        assert_eq!(size_of::<DeviceInfo>(), 32 + 9);
        assert_eq!(size_of::<MouseReport>(), 7);
    }
}
