//! 802.1Q tags, which lie in a frame on a wire and beside it on a synthetic card.

use netvsp::Vlan;

/// Where a tag is: behind both addresses.
const AT: usize = 12;
const TYPE: [u8; 2] = [0x81, 0x00];
/// Bytes of a tag.
pub const LENGTH: usize = 4;

/// Puts a tag into a frame.
pub fn put(frame: &mut Vec<u8>, vlan: Vlan) {
    let value = u16::from(vlan.priority & 7) << 13 | u16::from(vlan.cfi) << 12 | vlan.id & 0xfff;
    let [high, low] = value.to_be_bytes();
    frame.splice(AT..AT, [TYPE[0], TYPE[1], high, low]);
}

/// The tag of a frame, if it has one.
pub fn of(frame: &[u8]) -> Option<Vlan> {
    let tag = frame.get(AT..AT + LENGTH)?;
    let value = u16::from_be_bytes([tag[2], tag[3]]);
    (tag[..2] == TYPE).then_some(Vlan {
        priority: (value >> 13) as u8,
        cfi: value & 0x1000 != 0,
        id: value & 0xfff,
    })
}

/// Takes the tag out of a frame.
pub fn take(frame: &mut Vec<u8>) -> Option<Vlan> {
    let vlan = of(frame)?;
    frame.drain(AT..AT + LENGTH);
    Some(vlan)
}
