//! Accesses to ports by their width.

/// The offset of a port in `length` ports from `base` on.
pub fn within(port: u16, base: u16, length: u16) -> Option<u16> {
    let offset = port.checked_sub(base)?;
    (offset < length).then_some(offset)
}

/// What devices that are eight bits wide answer to a wider read: the bus splits it.
pub fn bytes(size: u8, mut read: impl FnMut(u16) -> u8) -> u32 {
    (0..size.into()).fold(0, |value, i| value | u32::from(read(i)) << (8 * i))
}

/// The bits of an access of `size` bytes.
pub fn mask(size: u8) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}
