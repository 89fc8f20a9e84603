//! The sections of our own loaded image (PE/COFF specification, "COFF File Header" and "Section
//! Table"; UAPI.5 Unified Kernel Image).
//!
//! The image lies in memory as the firmware loaded it: sections at their virtual addresses.

use crate::bytes;
use core::ops::Range;

/// Names of the sections that carry the control domain; all others are the hypervisor.
pub const PAYLOAD: [&str; 14] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids",
    ".efifw", ".uname", ".sbat", ".pcrsig", ".pcrpkey",
];

/// The sections that are measured if they are there, in this order: systemd-stub's.
pub const MEASURED: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
    ".pcrpkey", ".dtbauto", ".hwids", ".efifw",
];

/// A loaded image that is not laid out as ours must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnImage {
    /// Offset in the image where the layout was left.
    pub offset: usize,
}

/// The headers lie in the first page of the image; sections begin behind it.
pub const HEADERS_SIZE: usize = 4096;

impl core::fmt::Display for NotAnImage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "the loaded image is not laid out as a unified image (at offset {:#x}); build it anew",
            self.offset
        )
    }
}

/// The section table of a loaded image.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    headers: &'a [u8],
    image_size: usize,
    table: usize,
    count: usize,
}

const ENTRY_SIZE: usize = 40;

const EXECUTE: u32 = 0x2000_0000;
const WRITE: u32 = 0x8000_0000;

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it lies in the image.
    pub range: Range<usize>,
    /// Whether it holds code.
    pub executable: bool,
    /// Whether it holds data that changes.
    pub writable: bool,
}

impl<'a> Sections<'a> {
    /// Finds the section table of an image of `image_size` bytes that begins with `headers`.
    pub fn parse(headers: &'a [u8], image_size: usize) -> Result<Self, NotAnImage> {
        let header = bytes::u32(headers, 0x3c).ok_or(NotAnImage { offset: 0x3c })? as usize;
        let malformed = NotAnImage { offset: header };
        if headers
            .get(header..)
            .and_then(|rest| rest.first_chunk::<4>())
            != Some(b"PE\0\0")
        {
            return Err(malformed);
        }
        let count = bytes::u16(headers, header + 6).ok_or(malformed)?.into();
        let optional_size: usize = bytes::u16(headers, header + 20).ok_or(malformed)?.into();
        let sections = Self {
            headers,
            image_size,
            table: header + 24 + optional_size,
            count,
        };
        let own_end = sections.hypervisor_size();
        let own = sections.iter().filter(|s| !PAYLOAD.contains(&s.name));
        // What lies behind the payload would not be hidden; what holds code is not payload.
        let misplaced = own.clone().any(|s| s.range.end > own_end);
        let active = sections
            .iter()
            .any(|s| s.range.start >= own_end && (s.executable || s.writable));
        if sections.iter().count() != count || misplaced || active {
            return Err(NotAnImage {
                offset: sections.table,
            });
        }
        Ok(sections)
    }

    /// All sections that lie inside the image.
    pub fn iter(&self) -> impl Iterator<Item = Section<'a>> + Clone {
        let Self {
            headers,
            image_size,
            table,
            count,
        } = *self;
        (0..count).filter_map(move |index| {
            let entry = headers
                .get(table + index * ENTRY_SIZE..)?
                .get(..ENTRY_SIZE)?;
            let name = entry.get(..8)?.split(|&b| b == 0).next()?;
            let start = bytes::u32(entry, 12)? as usize;
            let end = start.checked_add(bytes::u32(entry, 8)? as usize)?;
            let characteristics = bytes::u32(entry, 36)?;
            (end <= image_size).then_some(Section {
                name: core::str::from_utf8(name).ok()?,
                range: start..end,
                executable: characteristics & EXECUTE != 0,
                writable: characteristics & WRITE != 0,
            })
        })
    }

    /// Where the section `name` lies in the image, if there is one and only one.
    pub fn find(&self, name: &str) -> Option<Range<usize>> {
        let mut found = self.iter().filter(|s| s.name == name);
        let Section { range, .. } = found.next()?;
        found.next().is_none().then_some(range)
    }

    /// Size in bytes, whole pages, of the image's front part that is the hypervisor itself: all
    /// before the first payload section.
    pub fn hypervisor_size(&self) -> usize {
        let first = self
            .iter()
            .filter(|s| PAYLOAD.contains(&s.name))
            .map(|s| s.range.start)
            .min();
        first.map_or(self.image_size.next_multiple_of(4096), |start| {
            start & !4095
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn image() -> Vec<u8> {
        let mut image = std::vec![0; 0x4000];
        bytes::put(&mut image, 0x3c, &0x80u32.to_le_bytes());
        bytes::put(&mut image, 0x80, b"PE\0\0");
        bytes::put(&mut image, 0x86, &3u16.to_le_bytes());
        bytes::put(&mut image, 0x94, &16u16.to_le_bytes());
        for (i, (name, size, start)) in [
            (b".text\0\0\0", 0x800u32, 0x1000u32),
            (b".cmdline", 5, 0x2000),
            (b".linux\0\0", 9, 0x3000),
        ]
        .into_iter()
        .enumerate()
        {
            let entry = 0x80 + 24 + 16 + i * ENTRY_SIZE;
            bytes::put(&mut image, entry, name);
            bytes::put(&mut image, entry + 8, &size.to_le_bytes());
            bytes::put(&mut image, entry + 12, &start.to_le_bytes());
        }
        bytes::put(&mut image, 0x2000, b"quiet");
        image
    }

    fn parse(image: &[u8]) -> Result<Sections<'_>, NotAnImage> {
        Sections::parse(&image[..image.len().min(HEADERS_SIZE)], image.len())
    }

    #[test]
    fn finds_sections_and_the_end_of_the_hypervisor() {
        let image = image();
        let sections = parse(&image).unwrap();
        assert_eq!(
            sections.find(".cmdline").map(|r| &image[r]),
            Some(&b"quiet"[..])
        );
        assert_eq!(sections.find(".linux").map(|r| r.len()), Some(9));
        assert_eq!(sections.find(".initrd"), None);
        assert_eq!(sections.hypervisor_size(), 0x2000);
    }

    #[test]
    fn refuses_what_is_no_image_and_survives_any_truncation() {
        assert_eq!(parse(b"MZ").unwrap_err(), NotAnImage { offset: 0x3c });
        let image = image();
        for length in 0..image.len() {
            if let Ok(sections) = parse(&image[..length]) {
                let _ = (sections.find(".linux"), sections.hypervisor_size());
            }
        }
    }

    #[test]
    fn refuses_what_would_not_be_hidden() {
        let text = 0x80 + 24 + 16;
        let mut behind = image();
        bytes::put(&mut behind, text + 12, &0x3800u32.to_le_bytes());
        assert!(parse(&behind).is_err());
        let mut writable = image();
        bytes::put(
            &mut writable,
            text + 2 * ENTRY_SIZE + 36,
            &WRITE.to_le_bytes(),
        );
        assert!(parse(&writable).is_err());
    }
}
