//! Receive side scaling: the channel, and with it the guest's processor, that a frame goes to. Source: Windows
//! driver documentation, NDIS_RECEIVE_SCALE_PARAMETERS and the hashing functions of RSS.

use crate::wire::ndis::{
    SCALING_OFF, SCALING_UNCHANGED_KEY, SCALING_UNCHANGED_TABLE, ScaleParameters,
};
use crate::wire::{self, rndis::Status};

/// Bytes of a key: room for the longest input and a word.
const KEY_LENGTH: usize = 40;
/// Entries of a table at most.
pub(crate) const MOST_ENTRIES: usize = 128;
/// The one hash function.
const TOEPLITZ: u32 = 1;
/// Bits of what is hashed with its ports; without them addresses alone are.
const TCP_IPV4: u32 = 0x200;
const TCP_IPV6: u32 = 0x1000;
/// Number of TCP in IP's header.
const TCP: u8 = 6;
const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;

/// What the guest has set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scaling {
    hashes: u32,
    key: Option<[u8; KEY_LENGTH]>,
    table: Vec<u32>,
}

impl Scaling {
    /// Takes the guest's parameters; nothing changes if they do not hold together.
    pub fn set(&mut self, value: &[u8]) -> Status {
        let Some(given) = wire::at::<ScaleParameters>(value, 0) else {
            return Status::INVALID_LENGTH;
        };
        let flags = given.flags.get();
        if flags & SCALING_OFF != 0 {
            *self = Self::default();
            return Status::SUCCESS;
        }
        let part = |offset: u32, length: u16| {
            let start = usize::try_from(offset).ok()?;
            value.get(start..start.checked_add(usize::from(length))?)
        };
        let mut new = self.clone();
        new.hashes = given.hashes.get();
        if flags & SCALING_UNCHANGED_TABLE == 0 {
            let table = part(given.table_offset.get(), given.table_length.get());
            let Some((entries, [])) = table.map(<[u8]>::as_chunks::<4>) else {
                return Status::INVALID_LENGTH;
            };
            if entries.is_empty() || entries.len() > MOST_ENTRIES {
                return Status::INVALID_LENGTH;
            }
            new.table = entries.iter().map(|e| u32::from_le_bytes(*e)).collect();
        }
        if flags & SCALING_UNCHANGED_KEY == 0 {
            let key = part(given.key_offset.get(), given.key_length.get());
            let Some(key) = key.and_then(|key| key.try_into().ok()) else {
                return Status::INVALID_LENGTH;
            };
            new.key = Some(key);
        }
        if new.hashes & 0xff != TOEPLITZ {
            return Status::INVALID_DATA;
        }
        *self = new;
        Status::SUCCESS
    }

    /// The entry of the table for a frame; 0 for what is not hashed.
    pub fn entry(&self, frame: &[u8]) -> u32 {
        let Some(key) = &self.key else { return 0 };
        let hash = self.input(frame).map_or(0, |input| toeplitz(key, &input));
        // Tables have a power of two of entries; a guest with another has its reasons.
        let at = hash as usize % self.table.len().max(1);
        self.table.get(at).copied().unwrap_or(0)
    }

    /// Addresses, and the ports of TCP where the guest wants them: source first.
    fn input(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (addresses, protocol, transport, with_ports) = match frame.get(12..ETHERNET)? {
            [0x08, 0x00] => {
                let header = usize::from(frame.get(ETHERNET)? & 0xf) * 4;
                // A fragment's ports are in the first one alone.
                let fragment = u16::from_be_bytes(*frame.get(20..)?.first_chunk()?) & 0x3fff != 0;
                let protocol = *frame.get(23).filter(|_| !fragment).unwrap_or(&0);
                (frame.get(26..34)?, protocol, ETHERNET + header, TCP_IPV4)
            }
            [0x86, 0xdd] => {
                let addresses = frame.get(22..ETHERNET + IPV6_HEADER)?;
                (addresses, *frame.get(20)?, ETHERNET + IPV6_HEADER, TCP_IPV6)
            }
            _ => return None,
        };
        let mut input = addresses.to_vec();
        if protocol == TCP && self.hashes & with_ports != 0 {
            input.extend(frame.get(transport..transport + 4)?);
        }
        Some(input)
    }
}

/// For each bit of the input the 32 bits of the key from there on.
fn toeplitz(key: &[u8; KEY_LENGTH], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (byte, window) in input.iter().zip(key.windows(5)) {
        let window = window
            .iter()
            .fold(0, |all, &byte| all << 8 | u64::from(byte));
        for bit in 0..8 {
            if byte & 0x80 >> bit != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the results of Microsoft's page on verifying the computation.
    const KEY: [u8; KEY_LENGTH] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// From 66.9.149.187:2794 to 161.142.100.80:1766.
    fn frame(protocol: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([66, 9, 149, 187, 161, 142, 100, 80]);
        frame.extend([2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat());
        frame
    }

    fn scaling(hashes: u32) -> Scaling {
        Scaling {
            hashes,
            key: Some(KEY),
            table: (0..128).collect(),
        }
    }

    #[test]
    fn hashes_are_those_of_the_documentation() {
        let hash = |hashes, frame: &[u8]| toeplitz(&KEY, &scaling(hashes).input(frame).unwrap());
        assert_eq!(hash(0x201, &frame(TCP)), 0x51cc_c178);
        assert_eq!(hash(0x101, &frame(TCP)), 0x323e_8fc2);
        assert_eq!(hash(0x201, &frame(17)), 0x323e_8fc2);
        assert_eq!(scaling(0x201).entry(&frame(TCP)), 0x78);
    }

    #[test]
    fn nothing_is_hashed_that_is_cut_off_or_not_ip() {
        let whole = frame(TCP);
        for length in 0..whole.len() {
            assert_eq!(scaling(0x201).entry(&whole[..length]), 0, "{length}");
        }
        let mut other = whole;
        other[13] = 6;
        assert_eq!(scaling(0x201).entry(&other), 0);
        assert_eq!(Scaling::default().entry(&frame(TCP)), 0);
    }

    fn parameters(flags: u16, hashes: u32, entries: u16, key: u16) -> Vec<u8> {
        let mut value = vec![0x89, 1, 40, 0];
        value.extend(flags.to_le_bytes());
        value.extend([0, 0]);
        value.extend(hashes.to_le_bytes());
        value.extend(u32::from(4 * entries).to_le_bytes());
        value.extend(40u32.to_le_bytes());
        value.extend(u32::from(key).to_le_bytes());
        value.extend((40 + 4 * u32::from(entries)).to_le_bytes());
        value.extend([0; 12]);
        value.extend((0..u32::from(entries)).flat_map(|entry| (entry % 2).to_le_bytes()));
        value.extend(&KEY[..usize::from(key).min(KEY_LENGTH)]);
        value
    }

    #[test]
    fn parameters_count_if_they_hold_together() {
        let mut scaling = Scaling::default();
        assert_eq!(scaling.set(&parameters(0, 0x201, 128, 40)), Status::SUCCESS);
        assert_eq!(scaling.entry(&frame(TCP)), 0x78 % 2);
        // Ports are left out, table and key stay.
        let unchanged = SCALING_UNCHANGED_KEY | SCALING_UNCHANGED_TABLE;
        assert_eq!(
            scaling.set(&parameters(unchanged, 0x101, 0, 0)),
            Status::SUCCESS
        );
        assert_eq!(scaling.table.len(), 128);
        for (wrong, status) in [
            (parameters(0, 0x201, 129, 40), Status::INVALID_LENGTH),
            (parameters(0, 0x201, 0, 40), Status::INVALID_LENGTH),
            (parameters(0, 0x201, 128, 39), Status::INVALID_LENGTH),
            (parameters(0, 0x202, 128, 40), Status::INVALID_DATA),
            (
                parameters(0, 0x201, 128, 40)[..500].to_vec(),
                Status::INVALID_LENGTH,
            ),
            (vec![0; 39], Status::INVALID_LENGTH),
        ] {
            assert_eq!(scaling.set(&wrong), status);
            assert_eq!((scaling.hashes, scaling.table.len()), (0x101, 128));
        }
        let off = parameters(SCALING_OFF, 0, 0, 0);
        assert_eq!(scaling.set(&off), Status::SUCCESS);
        assert!(scaling.key.is_none());
    }
}
