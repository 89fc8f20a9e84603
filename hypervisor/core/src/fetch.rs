//! How long the intercepted instruction is, where the hardware does not say.

use crate::decode::{Instruction, instruction_length};
use crate::hal::{CodeMode, Paging, State};
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
    /// Which linear page it is.
    key: (u64, u64),
    /// The page, if it is one that `page` of [`Fetch::next_rip`] gave.
    words: Option<Words>,
}

impl Fetch {
    /// Forgets the page: its memory may belong to somebody else by now.
    pub fn forget(&mut self) {
        self.words = None;
    }

    /// Address behind the instruction at the state's RIP. `read` gives the eight bytes at an
    /// aligned physical address of whoever runs, `page` the whole page if it stays what it is until
    /// [`Fetch::forget`]. `None`: the memory there holds something else.
    #[inline(always)] // Each caller expects one instruction: with it known, little is left to do.
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
        let mode = state.code_mode();
        let rip = state.rip();
        let linear = state.cs_base().wrapping_add(rip);
        let key = key(&state.paging(), linear);
        // Nearly always: the instruction without prefixes, in the page of the one before.
        let plain = match self.words {
            Some(words) if self.key == key => plain_length(words, linear, expected),
            _ => None,
        };
        let length = match plain {
            Some(length) => length,
            None => self.length(state, linear, expected, &read, &page)?,
        };
        let next = rip.wrapping_add(u64::from(length));
        Some(match mode {
            CodeMode::Bits64 => next,
            _ => next & 0xffff_ffff,
        })
    }

    #[cold]
    fn length(
        &mut self,
        state: &impl State,
        linear: u64,
        expected: Instruction,
        read: &impl Fn(u64) -> Option<u64>,
        page: &impl Fn(u64) -> Option<Words>,
    ) -> Option<u8> {
        let (paging, mode) = (state.paging(), state.code_mode());
        let length = |words: Words| {
            let read = |at| Some(word(words, at));
            let (bytes, count) = bytes_at(linear & 0xfff, &read)?;
            instruction_length(bytes.get(..count)?, mode, expected)
        };
        let key = key(&paging, linear);
        let remembered = self.words.filter(|_| self.key == key).and_then(length);
        if remembered.is_some() {
            return remembered;
        }
        let found = walk::translate(&paging, linear, read)?.address & !0xfff;
        (self.key, self.words) = (key, page(found));
        self.words.and_then(length).or_else(|| {
            let (bytes, count) = self.across(&paging, linear, read)?;
            instruction_length(bytes.get(..count)?, mode, expected)
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
        paging: &Paging,
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

/// What a linear page is remembered by.
#[inline]
fn key(paging: &Paging, linear: u64) -> (u64, u64) {
    (paging.cr3 ^ paging.cr0 << 32, linear >> 12)
}

/// The length of `expected` if it stands at `linear` within this page, without prefixes.
#[inline(always)]
fn plain_length(words: Words, linear: u64, expected: Instruction) -> Option<u8> {
    let opcode = expected.without_prefixes()?;
    let pattern = opcode
        .iter()
        .rev()
        .fold(0, |all, &byte| all << 8 | u64::from(byte));
    let skip_bits = (linear & 7) as usize * 8;
    let mut found = word(words, linear) >> skip_bits;
    if skip_bits + 8 * opcode.len() > 64 {
        let next = words.get((linear as usize & 0xfff) / 8 + 1)?;
        found |= next.load(Relaxed) << (64 - skip_bits);
    }
    let mask = (1 << (8 * opcode.len())) - 1;
    (found & mask == pattern).then_some(opcode.len() as u8)
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
        }
    }

    #[test]
    fn an_instruction_is_found_at_every_place_of_its_page() {
        for offset in 0..=4096 - 3 {
            let page: &'static [AtomicU64; 512] =
                Box::leak(Box::new([const { AtomicU64::new(0) }; 512]));
            for (at, byte) in [0x0f, 0x01, 0xd9].into_iter().enumerate() {
                let at = offset + at;
                page[at / 8].fetch_or(byte << (8 * (at % 8)), Relaxed);
            }
            let linear = 0x7000 + offset as u64;
            assert_eq!(
                plain_length(page, linear, Instruction::Vmmcall),
                Some(3),
                "{offset}"
            );
            assert_eq!(plain_length(page, linear, Instruction::Vmcall), None);
            assert_eq!(plain_length(page, linear, Instruction::Invlpg), None);
        }
    }

    #[test]
    fn an_instruction_that_leaves_its_page_is_not_found_in_it() {
        let page: &'static [AtomicU64; 512] =
            Box::leak(Box::new([const { AtomicU64::new(0) }; 512]));
        page[511].store(0x010f << 48, Relaxed);
        assert_eq!(plain_length(page, 0xffe, Instruction::Vmmcall), None);
    }
}
