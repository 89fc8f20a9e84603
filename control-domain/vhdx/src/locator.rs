//! The parent locator, section 2.6.2.6: keys and values that say which file the parent is.

use crate::Guid;
use disk::{DiskError, invalid};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The only kind there is, section 2.6.2.6.3.
const TYPE: Guid = Guid::from_number(0xb04aefb7_d19e_4a81_b789_25b8e9445913);

const LINKAGE: &str = "parent_linkage";
const LINKAGE_2: &str = "parent_linkage2";
const RELATIVE: &str = "relative_path";
const VOLUME: &str = "volume_path";
const ABSOLUTE: &str = "absolute_win32_path";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LocatorHeader {
    kind: Guid,
    reserved: U16,
    count: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    key_offset: U32,
    value_offset: U32,
    key_length: U16,
    value_length: U16,
}

/// Which file the parent of a differencing disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentLink {
    /// The parent's data write GUID when the child was made.
    pub linkage: Guid,
    /// Another one that will do too (a parent that was being merged has two).
    pub linkage2: Option<Guid>,
    /// All keys and values as they are in the file, those above included.
    pub keys: Vec<(String, String)>,
}

impl ParentLink {
    /// A link for a new child. Paths are in Windows' manner: `.\parent.vhdx`,
    /// `\\?\Volume{…}\parent.vhdx`, `C:\parent.vhdx`; at least one is needed (section 2.6.2.6.3).
    pub fn new(
        linkage: Guid,
        relative: Option<&str>,
        volume: Option<&str>,
        absolute: Option<&str>,
    ) -> Self {
        // Windows writes the second linkage too, as zero.
        let mut keys = vec![
            (LINKAGE.to_owned(), format!("{{{linkage}}}")),
            (LINKAGE_2.to_owned(), format!("{{{}}}", Guid::ZERO)),
        ];
        for (key, path) in [(ABSOLUTE, absolute), (RELATIVE, relative), (VOLUME, volume)] {
            keys.extend(path.map(|path| (key.to_owned(), path.to_owned())));
        }
        Self {
            linkage,
            linkage2: None,
            keys,
        }
    }

    /// The same, but a parent with this data write GUID will do too: it is about to get it.
    #[must_use]
    pub fn or(mut self, linkage2: Guid) -> Self {
        self.linkage2 = Some(linkage2);
        for (_, value) in self.keys.iter_mut().filter(|(key, _)| key == LINKAGE_2) {
            *value = format!("{{{linkage2}}}");
        }
        self
    }

    /// The parent's path from the child's folder, `.\` in front of it.
    pub fn relative_path(&self) -> Option<&str> {
        self.value(RELATIVE)
    }

    /// The parent's path by the volume's identity.
    pub fn volume_path(&self) -> Option<&str> {
        self.value(VOLUME)
    }

    /// The parent's path with its drive letter or share.
    pub fn absolute_win32_path(&self) -> Option<&str> {
        self.value(ABSOLUTE)
    }

    fn value(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(found, _)| found == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a file with this data write GUID is the parent, unchanged since.
    ///
    /// # Errors
    /// Which GUIDs would be right.
    pub fn verify(&self, parent_data_write_guid: Guid) -> Result<(), DiskError> {
        if parent_data_write_guid == self.linkage || Some(parent_data_write_guid) == self.linkage2 {
            return Ok(());
        }
        let other = self
            .linkage2
            .map(|guid| format!(" or {guid}"))
            .unwrap_or_default();
        Err(DiskError::Unsupported {
            reason: format!(
                "the parent's data is {parent_data_write_guid}, the child was made on {}{other}: it is another \
                 file, or it was changed since; give the right parent, or write to the child only",
                self.linkage
            ),
        })
    }

    pub(crate) fn parse(bytes: &[u8], offset: u64) -> Result<Self, DiskError> {
        let cut = || invalid(offset, "the parent locator is cut short");
        let (header, rest) = LocatorHeader::ref_from_prefix(bytes).map_err(|_| cut())?;
        if header.kind != TYPE {
            return Err(invalid(
                offset,
                format!("the parent locator is of the unknown type {}", header.kind),
            ));
        }
        let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, header.count.get().into())
            .map_err(|_| cut())?;
        let text = |start: U32, length: U16| {
            let start = start.get() as usize;
            let units: Option<Vec<u16>> = bytes
                .get(start..start + usize::from(length.get()))
                .filter(|text| text.len().is_multiple_of(2))
                .map(|text| {
                    text.as_chunks()
                        .0
                        .iter()
                        .map(|unit| u16::from_le_bytes(*unit))
                        .collect()
                });
            let units = units.ok_or_else(cut)?;
            String::from_utf16(&units)
                .map_err(|_| invalid(offset, "the parent locator holds text that is not UTF-16"))
        };
        let mut keys: Vec<(String, String)> = Vec::new();
        // Bytes of all values together: entries may point to the same bytes.
        let mut room = bytes.len();
        for entry in entries {
            let length =
                usize::from(entry.key_length.get()) + usize::from(entry.value_length.get());
            room = room.checked_sub(length).ok_or_else(cut)?;
            let key = text(entry.key_offset, entry.key_length)?;
            if keys.iter().any(|(found, _)| *found == key) {
                return Err(invalid(
                    offset,
                    format!("the parent locator has the key {key} twice"),
                ));
            }
            keys.push((key, text(entry.value_offset, entry.value_length)?));
        }
        let guid = |key: &str| {
            let found = keys.iter().find(|(found, _)| found == key);
            found.map(|(_, value)| {
                Guid::parse(value).ok_or_else(|| {
                    invalid(offset, format!("{key} of the parent locator is not a GUID"))
                })
            })
        };
        let linkage = guid(LINKAGE)
            .unwrap_or_else(|| Err(invalid(offset, "the parent locator has no parent_linkage")))?;
        let linkage2 = guid(LINKAGE_2).transpose()?.filter(|guid| !guid.is_zero());
        Ok(Self {
            linkage,
            linkage2,
            keys,
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let header = LocatorHeader {
            kind: TYPE,
            reserved: U16::ZERO,
            count: U16::new(self.keys.len() as u16),
        };
        let mut table = header.as_bytes().to_vec();
        let start = table.len() + self.keys.len() * size_of::<Entry>();
        let mut texts: Vec<u8> = Vec::new();
        for (key, value) in &self.keys {
            let (key, value) = (utf16(key), utf16(value));
            let at = start + texts.len();
            let entry = Entry {
                key_offset: U32::new(at as u32),
                value_offset: U32::new((at + key.len()) as u32),
                key_length: U16::new(key.len() as u16),
                value_length: U16::new(value.len() as u16),
            };
            table.extend(entry.as_bytes());
            texts.extend(key.into_iter().chain(value));
        }
        table.extend(texts);
        table
    }
}
