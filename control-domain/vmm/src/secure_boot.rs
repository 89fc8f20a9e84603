//! Whether the firmware starts only what is signed: a variable of its own, among those that are kept.
//!
//! The keys (Microsoft's, as in Hyper-V's template `MicrosoftUEFICertificateAuthority`) are variables too; they
//! come with the template and stay when Secure Boot is off.
//!
//! Source: EDK II `MdeModulePkg/Include/Guid/VariableFormat.h`,
//! `SecurityPkg/Include/Guid/AuthenticatedVariableFormat.h`; UEFI PI 1.7, volume 3, 3.2.1.

/// Firmware volume header: offset of its length.
const VOLUME_HEADER_LENGTH: usize = 48;
/// Bytes of the header of a store of variables.
const STORE_HEADER: usize = 28;
/// What the store's header begins with: its variables are authenticated ones.
const AUTHENTICATED: [u8; 16] =
    *b"\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92";
/// Bytes of the header of a variable.
const HEADER: usize = 60;
/// What it begins with.
const START: [u8; 2] = [0xaa, 0x55];
/// Its state: written wholly, and not deleted.
const ADDED: u8 = 0x3f;
/// The name, in UTF-16.
const NAME: &str = "SecureBootEnable";
/// The name's GUID, f0a30bc7-af08-4556-99c4-001009c93a44.
const VENDOR: [u8; 16] = *b"\xc7\x0b\xa3\xf0\x08\xaf\x56\x45\x99\xc4\x00\x10\x09\xc9\x3a\x44";

/// Offset of the byte that is 1 where Secure Boot is on. `None`: the variables hold no keys, or were being
/// written when the power went.
pub fn setting(variables: &[u8]) -> Option<u32> {
    let header = u16::from_le_bytes(array(variables, VOLUME_HEADER_LENGTH)?);
    let store = usize::from(header);
    if array(variables, store)? != AUTHENTICATED {
        return None;
    }
    let mut at = store.checked_add(STORE_HEADER)?;
    while array(variables, at)? == START {
        let field = |offset| array(variables, at + offset).map(u32::from_le_bytes);
        let name = at + HEADER;
        let data = name.checked_add(field(36)? as usize)?;
        let end = data.checked_add(field(40)? as usize)?;
        let is_live = variables.get(at + 2)? == &ADDED;
        let vendor: [u8; 16] = array(variables, at + 44)?;
        if is_live && vendor == VENDOR && is_named(variables.get(name..data)?) && end == data + 1 {
            return u32::try_from(data).ok();
        }
        at = end.checked_next_multiple_of(4)?;
    }
    None
}

fn is_named(name: &[u8]) -> bool {
    let wanted = NAME.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    name.iter().copied().eq(wanted)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Variables as a template has them: the volume's header, the store's, one other variable, and this one if its
/// byte is given. Answers where that byte lies, too.
#[cfg(test)]
pub fn example(on: Option<u8>) -> (Vec<u8>, u32) {
    let mut bytes = vec![0; 72];
    bytes[VOLUME_HEADER_LENGTH] = 72;
    bytes.extend(AUTHENTICATED);
    bytes.resize(72 + STORE_HEADER, 0);
    add(&mut bytes, 0x3c, NAME, &[9]);
    add(&mut bytes, ADDED, "Lang", b"eng");
    if let Some(on) = on {
        add(&mut bytes, ADDED, NAME, &[on]);
    }
    let offset = bytes.len() as u32 - 1;
    bytes.resize(4096, 0xff);
    (bytes, offset)
}

#[cfg(test)]
fn add(bytes: &mut Vec<u8>, state: u8, name: &str, data: &[u8]) {
    bytes.resize(bytes.len().next_multiple_of(4), 0xff);
    let at = bytes.len();
    bytes.extend(START);
    bytes.push(state);
    bytes.resize(at + HEADER, 0);
    let name: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    bytes[at + 36] = name.len() as u8;
    bytes[at + 40] = data.len() as u8;
    bytes[at + 44..at + HEADER].copy_from_slice(&VENDOR);
    bytes.extend(name);
    bytes.extend(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_found_where_it_is_live() {
        let (bytes, offset) = example(Some(1));
        assert_eq!(setting(&bytes), Some(offset));
        assert_eq!(setting(&example(None).0), None);
        assert_eq!(setting(&[0xff; 4096]), None);
        for length in 0..bytes.len() {
            let _ = setting(&bytes[..length]);
        }
        let mut endless = bytes.clone();
        endless[72 + STORE_HEADER + 36..][..8].fill(0xff);
        assert_eq!(setting(&endless), None);
    }
}
