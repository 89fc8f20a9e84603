//! SHA-256 of bytes and files, and identifiers derived from it.

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::Path;

/// SHA-256 as 64 hexadecimal digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's content.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let length = file
            .read(&mut block)
            .with_context(|| format!("{} can't be read", path.display()))?;
        if length == 0 {
            break;
        }
        hasher.update(&block[..length]);
    }
    Ok(hex(&hasher.finalize()))
}

/// An identifier in the shape of a UUID of version 8 (RFC 9562 §5.8) for one role of one image.
///
/// The same seed and role give the same identifier, so no disk carries a random one.
pub fn derived_uuid(seed: &str, role: &str) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(seed.as_bytes());
    hasher.update([0]);
    hasher.update(role.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize()[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// The usual text form of an identifier: 8-4-4-4-12 hexadecimal digits.
pub fn uuid_text(id: [u8; 16]) -> String {
    let digits = hex(&id);
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn roles_get_different_identifiers_of_version_8() {
        let disk = uuid_text(derived_uuid("recipe", "disk"));
        assert_ne!(disk, uuid_text(derived_uuid("recipe", "esp")));
        assert_eq!(disk, uuid_text(derived_uuid("recipe", "disk")));
        assert_eq!(disk.as_bytes()[14], b'8');
    }
}
