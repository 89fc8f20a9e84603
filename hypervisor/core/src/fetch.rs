//! How long the intercepted instruction is, where the hardware does not say.

use crate::decode::{Instruction, instruction_length};
use crate::hal::State;
use crate::memory::walk;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Eight bytes at an aligned address, or no memory there.
pub type Words = &'static [AtomicU64; 512];

/// Remembers the page of the last instruction.
///
/// A guest may map another page there without our knowing. That is harmless: the bytes found must
/// be the instruction that the hardware just reported, else the tables are walked.
#[derive(Default)]
pub struct Fetch {
    key: Option<(u64, u64)>,
    page: u64,
    /// The page itself, where it is one that `page` of [`Fetch::next_rip`] gave.
    words: Option<Words>,
}

impl Fetch {
    /// Forgets the page: its memory may belong to somebody else by now.
    pub fn forget(&mut self) {
        (self.key, self.words) = (None, None);
    }

    /// Address behind the instruction at the state's RIP. `read` gives the eight bytes at an
    /// aligned physical address of whoever runs, `page` the whole page if it stays what it is until
    /// [`Fetch::forget`]. `None`: the memory there holds something else.
    pub fn next_rip(
        &mut self,
        state: &impl State,
        expected: Instruction,
        read: impl Fn(u64) -> Option<u64>,
        page: impl Fn(u64) -> Option<Words>,
    ) -> Option<u64> {
        if let Some(next) = state.next_rip() {
            return Some(next);
        }
        let rip = state.rip();
        let mode = state.code_mode();
        let linear = state.cs_base().wrapping_add(rip);
        let paging = state.paging();
        let key = (paging.cr3 ^ paging.cr0 << 32, linear >> 12);
        let length = |page: u64, words: Option<Words>| {
            let address = page | linear & 0xfff;
            let read = |at| match words {
                Some(words) => Some(word(words, at)),
                None => read(at),
            };
            let (bytes, count) = first_bytes(address, &read)?;
            instruction_length(bytes.get(..count)?, mode, expected).or_else(|| {
                let (bytes, count) = bytes_at(address, &read)?;
                instruction_length(bytes.get(..count)?, mode, expected)
            })
        };
        let mut found = if self.key == Some(key) {
            length(self.page, self.words)
        } else {
            None
        };
        if found.is_none() {
            self.page = walk::translate(&paging, linear, &read)?.address & !0xfff;
            (self.key, self.words) = (Some(key), page(self.page));
            found = length(self.page, self.words).or_else(|| {
                let (bytes, count) = self.across(&paging, linear, &read)?;
                instruction_length(bytes.get(..count)?, mode, expected)
            });
        }
        let next = rip.wrapping_add(u64::from(found?));
        Some(match mode {
            crate::hal::CodeMode::Bits64 => next,
            _ => next & 0xffff_ffff,
        })
    }

    /// Up to 15 bytes at the state's RIP, from two pages if need be.
    pub fn bytes(
        &self,
        state: &impl State,
        read: impl Fn(u64) -> Option<u64>,
    ) -> Option<([u8; 16], usize)> {
        let linear = state.cs_base().wrapping_add(state.rip());
        self.across(&state.paging(), linear, &read)
    }

    fn across(
        &self,
        paging: &crate::hal::Paging,
        linear: u64,
        read: &impl Fn(u64) -> Option<u64>,
    ) -> Option<([u8; 16], usize)> {
        let first = walk::translate(paging, linear, read)?.address;
        let (mut bytes, count) = bytes_at(first, read)?;
        if count >= 15 {
            return Some((bytes, 15));
        }
        let Some(second) = walk::translate(paging, linear.wrapping_add(count as u64), read) else {
            return Some((bytes, count));
        };
        let (rest, _) = bytes_at(second.address, read)?;
        for (to, from) in bytes.iter_mut().skip(count).zip(rest) {
            *to = from;
        }
        Some((bytes, 15))
    }
}

/// The bytes at `address` up to the end of its aligned word, and their number: mostly enough.
fn first_bytes(address: u64, read: &impl Fn(u64) -> Option<u64>) -> Option<([u8; 8], usize)> {
    let skip = (address & 7) as usize;
    let word = read(address & !7)? >> (8 * skip);
    Some((word.to_le_bytes(), 8 - skip))
}

/// The bytes at `address` up to the end of its page, 15 at most, and their number.
fn bytes_at(address: u64, read: &impl Fn(u64) -> Option<u64>) -> Option<([u8; 16], usize)> {
    let count = (4096 - (address & 0xfff)).min(15) as usize;
    let base = address & !7;
    let skip = (address & 7) as u32;
    let mut low = read(base)?;
    let mut high = 0;
    let mut last = 0;
    if base & 0xfff < 0xff8 {
        high = read(base + 8)?;
        if base & 0xfff < 0xff0 && skip != 0 {
            last = read(base + 16)?;
        }
    }
    if skip != 0 {
        low = low >> (8 * skip) | high << (64 - 8 * skip);
        high = high >> (8 * skip) | last << (64 - 8 * skip);
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&high.to_le_bytes());
    Some((bytes, count))
}

/// Reads a word of a page of atomics.
pub fn word(page: Words, address: u64) -> u64 {
    page[(address as usize & 0xfff) / 8].load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_at_any_offset_up_to_the_pages_end() {
        let memory: Vec<u8> = (0..8192u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let read = |a: u64| {
            memory
                .get(a as usize..a as usize + 8)
                .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
        };
        for offset in (0..64).chain(4050..4096) {
            let (bytes, count) = bytes_at(offset as u64, &read).unwrap();
            assert_eq!(count, (4096 - offset).min(15));
            assert_eq!(
                bytes[..count],
                memory[offset..offset + count],
                "offset {offset}"
            );
            let (first, count) = first_bytes(offset as u64, &read).unwrap();
            assert_eq!(count, 8 - offset % 8);
            assert_eq!(first[..count], memory[offset..offset + count]);
        }
    }
}
