//! The file type identifier, section 2.2.1: the first 64 KiB of the file.

use disk::{Checked, DiskError, Storage, invalid};

/// "vhdxfile"; the only part of the identifier that matters.
pub const SIGNATURE: [u8; 8] = *b"vhdxfile";
/// Characters of the creator's name, UTF-16.
const CREATOR_LENGTH: usize = 256;

/// Checks the signature and answers who made the file.
///
/// # Errors
/// If this is no VHDX.
pub fn read<S: Storage>(storage: &mut Checked<S>) -> Result<String, DiskError> {
    let mut bytes = [0; 8 + 2 * CREATOR_LENGTH];
    if storage.length()? < bytes.len() as u64 {
        return Err(invalid(0, "too short for a VHDX"));
    }
    storage.read(0, &mut bytes)?;
    if !bytes.starts_with(&SIGNATURE) {
        return Err(invalid(0, "no VHDX (\"vhdxfile\" is missing)"));
    }
    let units: Vec<u16> = bytes[8..]
        .as_chunks()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    Ok(String::from_utf16_lossy(&units))
}

/// The identifier of a new file. A long creator is cut.
pub fn bytes(creator: &str) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    // One is left for the zero at the end.
    for unit in creator.encode_utf16().take(CREATOR_LENGTH - 1) {
        bytes.extend(unit.to_le_bytes());
    }
    bytes.resize(8 + 2 * CREATOR_LENGTH, 0);
    bytes
}
