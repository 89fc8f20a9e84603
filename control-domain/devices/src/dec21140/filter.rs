//! Which frames are for the guest: what its last setup frame said. Source: §4.2.3.

use super::descriptor::Descriptor;
use super::registers::{PASS_ALL_MULTICAST, PROMISCUOUS};
use crate::bus::{GuestMemory, OutsideMemory};

/// Bytes of a setup frame.
const SETUP_BYTES: usize = 192;
/// A setup frame's descriptor: the two bits of the filter's kind.
const HASHED: u32 = 1 << 22;
const INVERSE_OR_HASH_ONLY: u32 = 1 << 28;

const ADDRESSES: usize = 16;
const HASH_WORDS: usize = 32;
/// Where the single address is beside a hash table, in longwords.
const SINGLE_ADDRESS: usize = 39;

type Address = [u8; 6];

/// The filter.
#[derive(Debug)]
pub enum Filter {
    /// These addresses, or all but these.
    Perfect {
        addresses: [Address; ADDRESSES],
        inverse: bool,
    },
    /// Addresses by 512 bits; those of cards by a single address, or by the bits too.
    Hashed {
        table: [u16; HASH_WORDS],
        single: Option<Address>,
    },
}

/// Before a setup frame: broadcasts.
impl Default for Filter {
    fn default() -> Self {
        Filter::Perfect {
            addresses: [[0xff; 6]; ADDRESSES],
            inverse: false,
        }
    }
}

impl Filter {
    /// Reads a setup frame. Its bytes are in the lower halves of longwords; a frame that is cut off goes on
    /// with zeros.
    pub fn from_setup_frame(
        descriptor: &Descriptor,
        memory: &dyn GuestMemory,
    ) -> Result<Self, OutsideMemory> {
        let mut bytes = [0; SETUP_BYTES];
        let [(gpa, length), _] = descriptor.buffers();
        memory.read(gpa, &mut bytes[..length.min(SETUP_BYTES)])?;
        let half = |longword: usize| {
            let at = longword * 4;
            [bytes[at], bytes[at + 1]]
        };
        let address = |longword: usize| {
            let [a, b] = half(longword);
            let [c, d] = half(longword + 1);
            let [e, f] = half(longword + 2);
            [a, b, c, d, e, f]
        };
        let other = descriptor.control & INVERSE_OR_HASH_ONLY != 0;
        Ok(match descriptor.control & HASHED {
            0 => Filter::Perfect {
                addresses: std::array::from_fn(|i| address(i * 3)),
                inverse: other,
            },
            _ => Filter::Hashed {
                table: std::array::from_fn(|i| u16::from_le_bytes(half(i))),
                single: (!other).then(|| address(SINGLE_ADDRESS)),
            },
        })
    }

    /// Whether a frame to this address passes by the filter alone.
    pub fn matches(&self, to: &Address) -> bool {
        match self {
            Filter::Perfect { addresses, inverse } => addresses.contains(to) != *inverse,
            Filter::Hashed {
                single: Some(single),
                ..
            } if to[0] & 1 == 0 => single == to,
            Filter::Hashed { table, .. } => {
                // A broadcast passes always.
                *to == [0xff; 6] || {
                    let hash = !crc32fast::hash(to) & 0x1ff;
                    table[(hash >> 4) as usize] & 1 << (hash & 15) != 0
                }
            }
        }
    }

    /// Whether CSR6 lets it pass all the same.
    pub fn is_overridden(&self, mode: u32, to: &Address) -> bool {
        mode & PROMISCUOUS != 0 || mode & PASS_ALL_MULTICAST != 0 && to[0] & 1 != 0
    }

    /// What CSR6 shows of it: hash or perfect, hash only, inverse.
    pub fn mode_bits(&self) -> u32 {
        match self {
            Filter::Perfect { inverse, .. } => u32::from(*inverse) << 4,
            Filter::Hashed { single, .. } => 1 | u32::from(single.is_none()) << 2,
        }
    }
}
