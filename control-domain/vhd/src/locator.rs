//! Parent locators: eight entries of the header, each with the place of a path in the file
//! (specification 1.0, "Dynamic Disk Header Format", "Parent Locator Entry").

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Offset of the locators in the header in bytes.
pub const LOCATORS: u64 = 576;

/// A locator as it lies in the header.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Locator {
    /// Which kind of path it is; zeros if there is none.
    pub code: [u8; 4],
    /// Room for the path. Sectors according to the specification; Windows writes bytes, so nobody may rely on it.
    pub data_space: U32,
    /// Length of the path in bytes.
    pub data_length: U32,
    /// Zero.
    pub reserved: U32,
    /// Where the path lies in the file.
    pub data_offset: U64,
}

/// The kinds of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// `W2ru`: relative, UTF-16LE.
    RelativeUnicode,
    /// `Wi2r`: relative, in the code page of the system that wrote it (deprecated).
    RelativeAnsi,
    /// `MacX`: a file URL in UTF-8 (RFC 2396).
    MacUrl,
    /// `W2ku`: absolute, UTF-16LE.
    AbsoluteUnicode,
    /// `Wi2k`: absolute, in the code page of the system that wrote it (deprecated).
    AbsoluteAnsi,
}

impl Platform {
    /// All kinds, in the order in which to look for the parent.
    const ORDER: [Self; 5] = [
        Self::RelativeUnicode,
        Self::RelativeAnsi,
        Self::MacUrl,
        Self::AbsoluteUnicode,
        Self::AbsoluteAnsi,
    ];

    /// The code in the file.
    pub fn code(self) -> [u8; 4] {
        *match self {
            Self::RelativeUnicode => b"W2ru",
            Self::RelativeAnsi => b"Wi2r",
            Self::MacUrl => b"MacX",
            Self::AbsoluteUnicode => b"W2ku",
            Self::AbsoluteAnsi => b"Wi2k",
        }
    }

    /// The kind with this code. `Mac `, an alias record of the classic Mac OS, is of no use to anybody
    /// else and counts as none.
    pub fn of_code(code: [u8; 4]) -> Option<Self> {
        Self::ORDER
            .into_iter()
            .find(|platform| platform.code() == code)
    }

    /// Where in the search for the parent this kind comes.
    pub fn order(self) -> usize {
        Self::ORDER
            .iter()
            .position(|other| *other == self)
            .unwrap_or(0)
    }

    /// Whether the path begins at the child's folder.
    pub fn is_relative(self) -> bool {
        matches!(self, Self::RelativeUnicode | Self::RelativeAnsi)
    }

    /// The path in a locator's data, or nothing if it is empty. What is not text is replaced: the path
    /// then names no file, and the next locator is tried.
    pub fn decode(self, data: &[u8]) -> Option<String> {
        let text = match self {
            Self::RelativeUnicode | Self::AbsoluteUnicode => {
                let units = data.as_chunks().0.iter().map(|u| u16::from_le_bytes(*u));
                text_of_units(units)
            }
            // The code page is not recorded; ASCII is the same in all of them.
            Self::RelativeAnsi | Self::AbsoluteAnsi => until_nul(&String::from_utf8_lossy(data)),
            Self::MacUrl => path_of_url(&until_nul(&String::from_utf8_lossy(data))),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The data of a locator for this path.
    pub fn encode(self, path: &str) -> Vec<u8> {
        match self {
            Self::RelativeUnicode | Self::AbsoluteUnicode => {
                path.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            Self::RelativeAnsi | Self::AbsoluteAnsi | Self::MacUrl => path.into(),
        }
    }
}

/// UTF-16 up to the first NUL.
pub fn text_of_units(units: impl Iterator<Item = u16>) -> String {
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn until_nul(text: &str) -> String {
    text.split('\0').next().unwrap_or_default().into()
}

/// `file://localhost/a%20b` is `/a b`.
fn path_of_url(url: &str) -> String {
    let path = match url.strip_prefix("file://") {
        Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => url,
    };
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| behind.get(..2))
            .flatten()
            .and_then(|digits| core::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_path_comes_back() {
        for platform in Platform::ORDER {
            assert_eq!(Platform::of_code(platform.code()), Some(platform));
            let data = platform.encode("dir\\b.vhd");
            assert_eq!(platform.decode(&data).as_deref(), Some("dir\\b.vhd"));
            assert_eq!(platform.decode(&[]), None);
        }
        assert_eq!(Platform::of_code(*b"Mac "), None);
    }

    #[test]
    fn urls_become_paths() {
        let decode = |url: &str| Platform::MacUrl.decode(url.as_bytes()).unwrap_or_default();
        assert_eq!(decode("file:///Users/a%20b/c.vhd"), "/Users/a b/c.vhd");
        assert_eq!(decode("file://localhost/c%.vhd\0\0"), "/c%.vhd");
        assert_eq!(decode("file://host"), "");
    }
}
