//! Text as Windows writes it.

/// Writes text as UTF-16 with a 0 behind it, cut to what fits. Answers its bytes.
pub fn put(text: &str, bytes: &mut [u8]) -> u32 {
    let room = bytes.len() / 2 - 1;
    let units = text.encode_utf16().take(room).chain([0]);
    let text: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    bytes[..text.len()].copy_from_slice(&text);
    text.len() as u32
}
