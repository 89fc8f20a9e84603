//! Processor updates: found in the archive of the section `.ucode` (UAPI.5), whose members are
//! named as the Linux kernel names them, and chosen for a processor.
//!
//! AMD's container: magic, then sections of {type, length}: a table that gives each processor
//! signature a short number, and patches for such numbers. Intel's file: updates behind each
//! other, each with the signatures and platforms it is for (SDM vol. 3 §11.11.1).

use crate::bytes;

/// Name of the archive's member for AMD processors.
pub const AMD_MEMBER: &str = "kernel/x86/microcode/AuthenticAMD.bin";
/// Name of the archive's member for Intel processors.
pub const INTEL_MEMBER: &str = "kernel/x86/microcode/GenuineIntel.bin";

/// An update for one kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// Its revision.
    pub revision: u32,
    /// What the processor is given the address of, or for Intel, 48 bytes before it.
    pub data: &'a [u8],
}

/// The contents of the member `name` of a cpio archive in the "newc" format.
pub fn archive_member<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    const HEADER_SIZE: usize = 110;
    let mut offset = 0usize;
    loop {
        let header = archive.get(offset..)?.get(..HEADER_SIZE)?;
        if header.get(..6)? != b"070701" {
            return None;
        }
        let field = |index: usize| {
            let text = core::str::from_utf8(header.get(6 + 8 * index..)?.get(..8)?).ok()?;
            usize::from_str_radix(text, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name_end = (offset + HEADER_SIZE).checked_add(name_size)?;
        let found = archive.get(offset + HEADER_SIZE..name_end)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(size)?;
        let found = found.strip_suffix(b"\0")?;
        if found == b"TRAILER!!!" {
            return None;
        }
        let content = archive.get(start..end)?;
        if found == name.as_bytes() {
            return Some(content);
        }
        offset = end.checked_next_multiple_of(4)?;
    }
}

/// The newest update in AMD's `container` for the processor with `signature` (CPUID Fn0000_0001
/// EAX).
pub fn amd(container: &[u8], signature: u32) -> Option<Update<'_>> {
    const MAGIC: u32 = 0x0041_4d44;
    const TABLE: u32 = 0;
    const PATCH: u32 = 1;
    let mut rest = container;
    let mut number = None;
    let mut newest: Option<Update<'_>> = None;
    loop {
        // A file is one container or several behind each other, each with a table of its own.
        if bytes::u32(rest, 0) == Some(MAGIC) {
            number = None;
            rest = rest.get(4..)?;
        }
        let (Some(kind), Some(length)) = (bytes::u32(rest, 0), bytes::u32(rest, 4)) else {
            return newest;
        };
        let Some((section, behind)) = rest
            .get(8..)
            .and_then(|r| r.split_at_checked(length as usize))
        else {
            return newest;
        };
        rest = behind;
        match kind {
            TABLE => {
                let mut entries = section.chunks_exact(16);
                let entry = entries.find(|e| bytes::u32(e, 0) == Some(signature));
                number = entry.and_then(|e| bytes::u16(e, 12));
            }
            PATCH => {
                let (revision, for_number) = (bytes::u32(section, 4), bytes::u16(section, 24));
                if number.is_some()
                    && for_number == number
                    && let Some(revision) = revision
                    && newest.is_none_or(|n| n.revision < revision)
                {
                    newest = Some(Update {
                        revision,
                        data: section,
                    });
                }
            }
            _ => return newest,
        }
    }
}

/// Size in bytes of the header of Intel's updates.
pub const INTEL_HEADER_SIZE: usize = 48;

/// The newest update in Intel's `file` for the processor with `signature` (CPUID.1 EAX) on
/// `platform` (0 to 7: bits 52:50 of the MSR IA32_PLATFORM_ID).
pub fn intel(file: &[u8], signature: u32, platform: u32) -> Option<Update<'_>> {
    let mut rest = file;
    let mut newest: Option<Update<'_>> = None;
    while bytes::u32(rest, 0) == Some(1) {
        let sizes = (bytes::u32(rest, 28)?, bytes::u32(rest, 32)?);
        let (data_size, total_size) = match sizes {
            (0, _) => (2000, 2048),
            (data, total) => (data as usize, total as usize),
        };
        let Some((update, behind)) = rest.split_at_checked(total_size) else {
            break;
        };
        if total_size < INTEL_HEADER_SIZE {
            break;
        }
        rest = behind;
        // Signature and platforms at these offsets are those of the processor.
        let fits = |at: &[u8], signature_at: usize, platforms_at: usize| {
            let platforms = bytes::u32(at, platforms_at).unwrap_or(0);
            bytes::u32(at, signature_at) == Some(signature)
                && (platforms == 0 || platforms >> (platform & 7) & 1 != 0)
        };
        // Behind the data may lie a table of further signatures: count, checksum, 12 bytes reserved,
        // then {signature, platforms, checksum}.
        let table = update
            .get(INTEL_HEADER_SIZE.saturating_add(data_size)..)
            .unwrap_or(&[]);
        let count = bytes::u32(table, 0).unwrap_or(0) as usize;
        let more = (0..count.min(table.len() / 12))
            .any(|index| fits(table, 20 + 12 * index, 24 + 12 * index));
        let revision = bytes::u32(update, 4)?;
        let sum = update
            .chunks_exact(4)
            .filter_map(|word| bytes::u32(word, 0))
            .fold(0, u32::wrapping_add);
        if (fits(update, 12, 24) || more)
            && sum == 0
            && newest.is_none_or(|n| n.revision < revision)
        {
            newest = Some(Update {
                revision,
                data: update,
            });
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    fn member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (content.len(), name.len() + 1);
        archive.extend(b"070701");
        fields
            .iter()
            .for_each(|f| archive.extend(format!("{f:08x}").bytes()));
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn amd_patch(revision: u32, number: u16) -> Vec<u8> {
        let mut patch = words(&[0x2017_0101, revision, 0, 0, 0, 0, number.into(), 0]);
        patch.resize(64, 0xcc);
        [words(&[1, 64]), patch].concat()
    }

    fn container() -> Vec<u8> {
        let table = words(&[
            0x0080_0f12,
            0,
            0,
            0x8012,
            0x00a2_0f10,
            0,
            0,
            0xa210,
            0,
            0,
            0,
            0,
        ]);
        let head = [words(&[0x0041_4d44, 0, table.len() as u32]), table].concat();
        [
            head,
            amd_patch(0x0800_1250, 0x8012),
            amd_patch(0x0a20_1016, 0xa210),
            amd_patch(0x0800_126e, 0x8012),
        ]
        .concat()
    }

    #[test]
    fn finds_the_member_of_an_archive() {
        let mut archive = Vec::new();
        member(&mut archive, "kernel", b"");
        member(&mut archive, AMD_MEMBER, b"patches");
        member(&mut archive, "TRAILER!!!", b"");
        assert_eq!(archive_member(&archive, AMD_MEMBER), Some(&b"patches"[..]));
        assert_eq!(archive_member(&archive, INTEL_MEMBER), None);
        for length in 0..archive.len() {
            let _ = archive_member(&archive[..length], INTEL_MEMBER);
        }
    }

    #[test]
    fn chooses_the_newest_amd_patch() {
        let container = container();
        assert_eq!(
            amd(&container, 0x0080_0f12).map(|u| u.revision),
            Some(0x0800_126e)
        );
        assert_eq!(
            amd(&container, 0x00a2_0f10).map(|u| (u.revision, u.data.len())),
            Some((0x0a20_1016, 64))
        );
        assert_eq!(amd(&container, 0x0060_0f20), None);
        // Two containers: each table is for its own patches only.
        let both = [container.clone(), container].concat();
        assert_eq!(
            amd(&both, 0x00a2_0f10).map(|u| u.revision),
            Some(0x0a20_1016)
        );
        for length in 0..both.len() {
            let _ = amd(&both[..length], 0x0080_0f12);
        }
    }

    fn intel_update(revision: u32, signature: u32, platforms: u32, more: &[(u32, u32)]) -> Vec<u8> {
        let mut update = words(&[
            1,
            revision,
            0x0101_2024,
            signature,
            0,
            1,
            platforms,
            64,
            0,
            0,
            0,
            0,
        ]);
        update.resize(INTEL_HEADER_SIZE + 64, 0xaa);
        if !more.is_empty() {
            update.extend(words(&[more.len() as u32, 0, 0, 0, 0]));
            more.iter()
                .for_each(|&(s, p)| update.extend(words(&[s, p, 0])));
        }
        let total = update.len() as u32;
        bytes::put(&mut update, 32, &total.to_le_bytes());
        let sum = update
            .chunks_exact(4)
            .map(|w| bytes::u32(w, 0).unwrap())
            .fold(0, u32::wrapping_add);
        bytes::put(&mut update, 16, &sum.wrapping_neg().to_le_bytes());
        update
    }

    #[test]
    fn chooses_the_newest_intel_update() {
        let file = [
            intel_update(0x10, 0x306c3, 0x32, &[]),
            intel_update(0x12, 0x306c3, 0x32, &[(0x40651, 0x72)]),
            intel_update(0x99, 0x306c3, 0x01, &[]),
        ]
        .concat();
        assert_eq!(intel(&file, 0x306c3, 1).map(|u| u.revision), Some(0x12));
        assert_eq!(intel(&file, 0x306c3, 0).map(|u| u.revision), Some(0x99));
        assert_eq!(intel(&file, 0x40651, 6).map(|u| u.revision), Some(0x12));
        assert_eq!(intel(&file, 0x40651, 0), None);
        let mut damaged = file.clone();
        damaged[112 + 60] ^= 1;
        let found = intel(&damaged, 0x306c3, 1).map(|u| u.revision);
        assert_eq!(found, Some(0x10));
        for length in 0..file.len() {
            let _ = intel(&file[..length], 0x306c3, 1);
        }
    }
}
