//! Sections added to a PE executable: what makes a unified kernel image of the hypervisor.
//! (Microsoft PE Format, "COFF File Header", "Optional Header", "Section Table"; UAPI Group
//! "Unified Kernel Image".)

use anyhow::{Context as _, Result, ensure};

const SECTION_HEADER_SIZE: usize = 40;
/// Readable, initialized data.
const DATA: u32 = 0x4000_0040;
/// From the start of the optional header (PE32+).
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_INITIALIZED_DATA: usize = 8;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;

/// A PE executable in memory.
pub struct Executable {
    bytes: Vec<u8>,
    /// Offset of the COFF file header.
    coff: usize,
}

impl Executable {
    /// Checks that the bytes are a PE32+ file for x86-64 with its sections inside.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        ensure!(bytes.starts_with(b"MZ"), "the file doesn't start with MZ");
        let signature = u32_at(&bytes, 0x3c)? as usize;
        ensure!(
            bytes.get(signature..signature + 4) == Some(b"PE\0\0".as_slice()),
            "there is no PE signature at offset {signature:#x}"
        );
        let executable = Self {
            bytes,
            coff: signature + 4,
        };
        let machine = u16_at(&executable.bytes, executable.coff)?;
        ensure!(
            machine == 0x8664,
            "the PE file is for machine {machine:#x}, not x86-64"
        );
        let magic = u16_at(&executable.bytes, executable.optional())?;
        ensure!(magic == 0x20b, "the PE file is not in the 64-bit format");
        let headers = u32_at(&executable.bytes, executable.optional() + SIZE_OF_HEADERS)? as usize;
        ensure!(
            executable.optional() + CHECKSUM + 4 <= headers && headers <= executable.bytes.len(),
            "the headers of the PE file don't lie inside it"
        );
        Ok(executable)
    }

    /// Adds a section of read-only data behind all others; loaders place it at the next page.
    ///
    /// Fails when the headers have no room for another section.
    pub fn add_section(&mut self, name: &str, content: &[u8]) -> Result<()> {
        ensure!(
            name.len() <= 8,
            "the section name {name} is longer than 8 bytes"
        );
        let optional = self.optional();
        let file_alignment = u32_at(&self.bytes, optional + FILE_ALIGNMENT)? as usize;
        let section_alignment = u32_at(&self.bytes, optional + SECTION_ALIGNMENT)?;
        ensure!(
            section_alignment.is_multiple_of(4096) && section_alignment > 0 && file_alignment > 0,
            "sections are aligned to {section_alignment:#x}, not to pages"
        );
        let count = u16_at(&self.bytes, self.coff + 2)?;
        let header = self.section_header(count);
        ensure!(
            header + SECTION_HEADER_SIZE
                <= u32_at(&self.bytes, optional + SIZE_OF_HEADERS)? as usize,
            "the headers have no room for the section {name}"
        );
        let size = u32::try_from(content.len()).context("the section is larger than 4 GiB")?;
        let address = u32_at(&self.bytes, optional + SIZE_OF_IMAGE)?
            .checked_next_multiple_of(section_alignment)
            .context("the image is larger than 4 GiB")?;
        let end = address
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(section_alignment))
            .context("the image is larger than 4 GiB")?;

        self.bytes
            .resize(self.bytes.len().next_multiple_of(file_alignment), 0);
        let offset = u32::try_from(self.bytes.len()).context("the file is larger than 4 GiB")?;
        self.bytes.extend(content);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(file_alignment), 0);
        let raw_size = self.bytes.len() as u32 - offset;

        let mut entry = [0; SECTION_HEADER_SIZE];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [
            (8, size),
            (12, address),
            (16, raw_size),
            (20, offset),
            (36, DATA),
        ] {
            put(&mut entry, at, value);
        }
        self.bytes[header..header + SECTION_HEADER_SIZE].copy_from_slice(&entry);
        self.bytes[self.coff + 2..self.coff + 4].copy_from_slice(&(count + 1).to_le_bytes());
        let data = u32_at(&self.bytes, optional + SIZE_OF_INITIALIZED_DATA)?;
        put(
            &mut self.bytes,
            optional + SIZE_OF_INITIALIZED_DATA,
            data.saturating_add(raw_size),
        );
        put(&mut self.bytes, optional + SIZE_OF_IMAGE, end);
        Ok(())
    }

    /// The file's bytes, with its checksum.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let at = self.optional() + CHECKSUM;
        put(&mut self.bytes, at, 0);
        let checksum = checksum(&self.bytes);
        put(&mut self.bytes, at, checksum);
        self.bytes
    }

    fn optional(&self) -> usize {
        self.coff + 20
    }

    fn section_header(&self, index: u16) -> usize {
        let optional_size = u16_at(&self.bytes, self.coff + 16).unwrap_or(0);
        self.optional() + usize::from(optional_size) + usize::from(index) * SECTION_HEADER_SIZE
    }
}

/// One's complement sum of 16-bit words plus the length, as the image loader's checksum is.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum & 0xffff) + bytes.len() as u32
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let field = at.checked_add(2).and_then(|end| bytes.get(at..end));
    let field = field.and_then(|field| field.try_into().ok());
    Ok(u16::from_le_bytes(
        field.context("the PE file is cut short")?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let field = field.and_then(|field| field.try_into().ok());
    Ok(u32::from_le_bytes(
        field.context("the PE file is cut short")?,
    ))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSection as _};

    /// Headers of an executable without code, as far as this module and a reader look.
    fn empty(header_size: u32) -> Vec<u8> {
        let mut bytes = vec![0; header_size as usize];
        bytes[..2].copy_from_slice(b"MZ");
        put(&mut bytes, 0x3c, 0x40);
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
        bytes[0x54..0x56].copy_from_slice(&240_u16.to_le_bytes());
        let optional = 0x58;
        bytes[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (at, value) in [
            (SECTION_ALIGNMENT, 4096),
            (FILE_ALIGNMENT, 512),
            (SIZE_OF_IMAGE, 0x5001),
            (SIZE_OF_HEADERS, header_size),
            (108, 16),
        ] {
            put(&mut bytes, optional + at, value);
        }
        bytes
    }

    #[test]
    fn an_independent_reader_finds_the_sections() {
        let mut executable = Executable::parse(empty(1024)).unwrap();
        executable.add_section(".cmdline", b"quiet").unwrap();
        executable.add_section(".initrd", &[7; 5000]).unwrap();
        let bytes = executable.into_bytes();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        let command_line = file.section_by_name(".cmdline").unwrap();
        assert_eq!(command_line.address(), 0x6000);
        assert_eq!(command_line.data().unwrap(), b"quiet");
        let initrd = file.section_by_name(".initrd").unwrap();
        assert_eq!((initrd.address(), initrd.size()), (0x7000, 5000));
        assert_eq!(initrd.data().unwrap(), [7; 5000]);
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn full_headers_and_wrong_files_are_refused() {
        let mut executable = Executable::parse(empty(512)).unwrap();
        while executable.section_header(u16_at(&executable.bytes, executable.coff + 2).unwrap())
            + SECTION_HEADER_SIZE
            <= 512
        {
            executable.add_section(".x", b"x").unwrap();
        }
        let error = executable.add_section(".y", b"y").unwrap_err();
        assert!(error.to_string().contains("no room for the section .y"));
        for cut in [0, 2, 0x42, 0x60, 0x90, 511] {
            assert!(
                Executable::parse(empty(512)[..cut].to_vec()).is_err(),
                "{cut}"
            );
        }
    }
}
