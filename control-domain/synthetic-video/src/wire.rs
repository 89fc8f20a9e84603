//! Layouts of the protocol, little-endian. Each message comes behind a pipe's header.
//! Source: Linux `drivers/gpu/drm/hyperv/hyperv_drm_proto.c`; OpenVMM
//! `vm/devices/uidevices/src/video/protocol.rs`.

use vmbus::layout;
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Types of messages, in [`Header`].
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const VERSION_REQUEST: u32 = 1;
    pub const VERSION_RESPONSE: u32 = 2;
    pub const VRAM_LOCATION: u32 = 3;
    pub const VRAM_LOCATION_ACK: u32 = 4;
    pub const SITUATION_UPDATE: u32 = 5;
    pub const SITUATION_UPDATE_ACK: u32 = 6;
    pub const POINTER_POSITION: u32 = 7;
    pub const POINTER_SHAPE: u32 = 8;
    pub const FEATURE_CHANGE: u32 = 9;
    pub const DIRT: u32 = 10;
    /// From 3.3 on.
    pub const BIOS_INFO_REQUEST: u32 = 11;
    pub const BIOS_INFO_RESPONSE: u32 = 12;
    /// From 3.4 on.
    pub const RESOLUTIONS_REQUEST: u32 = 13;
    pub const RESOLUTIONS_RESPONSE: u32 = 14;
    /// From 3.5 on.
    pub const CAPABILITY_REQUEST: u32 = 15;
    pub const CAPABILITY_RESPONSE: u32 = 16;
}

/// The version's first number, and the latest of its second ones: in the low and the high half.
pub const MAJOR: u16 = 3;
/// See [`MAJOR`].
pub const LATEST_MINOR: u16 = 5;

/// [`VersionResponse::accepted`], where the driver may name further versions.
pub const ACCEPTED: u8 = 2;

/// [`PointerShape::part`] of the last one.
pub const LAST_PART: u8 = 0xff;

layout! {
    /// What every message begins with.
    Header {
        /// A constant of [`kind`].
        kind: U32,
        /// Bytes of the message; Linux counts this header too, so nobody goes by it.
        length: U32,
    }
    /// The version that the driver wants.
    VersionRequest {
        /// [`MAJOR`] in the low half, the other number in the high one.
        version: U32,
    }
    /// The answer.
    VersionResponse {
        /// The version that was asked for.
        version: U32,
        /// 0, or [`ACCEPTED`].
        accepted: u8,
        /// Screens.
        outputs: u8,
    }
    /// Where the guest maps the adapter's memory.
    VramLocation {
        /// Comes back in the answer.
        context: U64,
        /// 0: nowhere.
        is_given: u8,
        /// Guest-physical address.
        gpa: U64,
    }
    /// The answer to a location or a situation.
    Acknowledgement {
        /// As it was given.
        context: U64,
    }
    /// The mode.
    SituationUpdate {
        /// Comes back in the answer.
        context: U64,
        /// Screens: 1.
        outputs: u8,
        /// 0: the screen is off.
        active: u8,
        /// Where the picture begins in the memory.
        offset: U32,
        /// Bits of a pixel.
        depth: u8,
        /// Pixels in a row.
        width: U32,
        /// Rows.
        height: U32,
        /// Bytes from one row to the next.
        pitch: U32,
    }
    /// Where the pointer is.
    PointerPosition {
        /// 0: it is hidden.
        visible: u8,
        /// 0.
        output: u8,
        /// Its image's left edge.
        x: I32,
        /// Its image's upper edge.
        y: I32,
    }
    /// What the pointer looks like; its pixels follow.
    PointerShape {
        /// Parts are numbered from 0; [`LAST_PART`] ends them.
        part: u8,
        /// 0: two planes of a bit for each pixel; else blue, green, red, opacity.
        argb: u8,
        /// Pixels in a row.
        width: U32,
        /// Rows.
        height: U32,
        /// The pixel that points.
        hot_x: U32,
        /// The pixel that points.
        hot_y: U32,
    }
    /// What the guest need tell.
    FeatureChange {
        /// What was drawn.
        dirt: u8,
        /// Where the pointer is.
        position: u8,
        /// What it looks like.
        shape: u8,
        /// The mode.
        situation: u8,
    }
    /// What was drawn; rectangles follow.
    Dirt {
        /// 0.
        output: u8,
        /// Rectangles.
        count: u8,
    }
    /// A part of the screen.
    Rectangle {
        /// First column.
        left: I32,
        /// First row.
        top: I32,
        /// Column behind the last one.
        right: I32,
        /// Row behind the last one.
        bottom: I32,
    }
    /// The machine, as far as the driver goes by it.
    BiosInfo {
        /// 1: the device can be stopped, Generation 2.
        can_stop: U32,
        /// 0.
        reserved: [u8; 12],
    }
    /// How many resolutions the driver wants to hear of.
    ResolutionsRequest {
        /// At most.
        most: u8,
    }
    /// The monitor; its resolutions follow.
    ResolutionsResponse {
        /// Its EDID.
        edid: [u8; 128],
        /// Resolutions.
        count: u8,
        /// Which of them is the usual one.
        default: u8,
        /// 0: the driver may use others.
        standard: u8,
    }
    /// Pixels of a screen.
    Resolution {
        /// In a row.
        width: U16,
        /// Rows.
        height: U16,
    }
    /// What else the host does.
    Capabilities {
        /// 1: the guest is locked when who looks at it goes.
        lock_on_disconnect: U32,
        /// 0.
        reserved: [u8; 60],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_drivers() {
        assert_eq!(size_of::<VersionResponse>(), 6);
        assert_eq!(size_of::<VramLocation>(), 17);
        assert_eq!(size_of::<SituationUpdate>(), 27);
        assert_eq!(size_of::<PointerPosition>(), 10);
        assert_eq!(size_of::<PointerShape>(), 18);
        assert_eq!(size_of::<ResolutionsResponse>(), 131);
        assert_eq!(size_of::<Capabilities>(), 64);
    }
}
