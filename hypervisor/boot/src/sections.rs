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

/// A loaded image that is not laid out as a PE file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnImage {
    /// Offset in the image where the layout was left.
    pub offset: usize,
}

impl core::fmt::Display for NotAnImage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "the loaded image is no PE file (at offset {:#x}); write the boot file anew",
            self.offset
        )
    }
}

/// The section table of a loaded image.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    image: &'a [u8],
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
    /// Finds the section table of `image`.
    pub fn parse(image: &'a [u8]) -> Result<Self, NotAnImage> {
        let header = bytes::u32(image, 0x3c).ok_or(NotAnImage { offset: 0x3c })? as usize;
        let malformed = NotAnImage { offset: header };
        if image.get(header..).and_then(|rest| rest.first_chunk::<4>()) != Some(b"PE\0\0") {
            return Err(malformed);
        }
        let count = bytes::u16(image, header + 6).ok_or(malformed)?.into();
        let optional_size: usize = bytes::u16(image, header + 20).ok_or(malformed)?.into();
        Ok(Self {
            image,
            table: header + 24 + optional_size,
            count,
        })
    }

    /// All sections that lie inside the image.
    pub fn iter(&self) -> impl Iterator<Item = Section<'a>> {
        let (image, table) = (self.image, self.table);
        (0..self.count).filter_map(move |index| {
            let entry = image.get(table + index * ENTRY_SIZE..)?.get(..ENTRY_SIZE)?;
            let name = entry.get(..8)?.split(|&b| b == 0).next()?;
            let start = bytes::u32(entry, 12)? as usize;
            let end = start.checked_add(bytes::u32(entry, 8)? as usize)?;
            let characteristics = bytes::u32(entry, 36)?;
            (end <= image.len()).then_some(Section {
                name: core::str::from_utf8(name).ok()?,
                range: start..end,
                executable: characteristics & EXECUTE != 0,
                writable: characteristics & WRITE != 0,
            })
        })
    }

    /// The contents of the section `name`, if there is one and only one.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = self.iter().filter(|s| s.name == name);
        let Section { range, .. } = found.next()?;
        if found.next().is_some() {
            None
        } else {
            self.image.get(range)
        }
    }

    /// Size in bytes, whole pages, of the image's front part that is the hypervisor itself: all
    /// before the first payload section.
    pub fn hypervisor_size(&self) -> usize {
        let first = self
            .iter()
            .filter(|s| PAYLOAD.contains(&s.name))
            .map(|s| s.range.start)
            .min();
        first.map_or(self.image.len().next_multiple_of(4096), |start| {
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

    #[test]
    fn finds_sections_and_the_end_of_the_hypervisor() {
        let image = image();
        let sections = Sections::parse(&image).unwrap();
        assert_eq!(sections.find(".cmdline"), Some(&b"quiet"[..]));
        assert_eq!(sections.find(".linux").map(<[u8]>::len), Some(9));
        assert_eq!(sections.find(".initrd"), None);
        assert_eq!(sections.hypervisor_size(), 0x2000);
    }

    #[test]
    fn refuses_what_is_no_image_and_survives_any_truncation() {
        assert_eq!(
            Sections::parse(b"MZ").unwrap_err(),
            NotAnImage { offset: 0x3c }
        );
        let image = image();
        for length in 0..image.len() {
            if let Ok(sections) = Sections::parse(&image[..length]) {
                let _ = (sections.find(".linux"), sections.hypervisor_size());
            }
        }
    }
}
