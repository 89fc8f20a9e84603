//! Who owns which 2 MiB frame of the guest pool.
//!
//! An owner is a machine's slot and the slot's generation, so that all frames of a machine become
//! free in one step when the slot's generation moves on.

use crate::hal::{Hpa, Memory};
use core::sync::atomic::Ordering::{AcqRel, Acquire};

/// Frames one page of owners describes.
const FRAMES_PER_PAGE: usize = 512;
/// Most pages of owners: 256 GiB of guests' memory.
const MAX_PAGES: usize = 256;

/// A machine, as the owner of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its slot.
    pub slot: usize,
    /// The slot's generation; never 0.
    pub generation: u64,
}

impl Owner {
    fn word(self) -> u64 {
        self.generation << 8 | self.slot as u64
    }

    fn from_word(word: u64) -> Option<Self> {
        (word >> 8 != 0).then_some(Self {
            slot: (word & 0xff) as usize,
            generation: word >> 8,
        })
    }
}

/// The owners of all frames.
pub struct Frames {
    pages: [Option<Hpa>; MAX_PAGES],
}

impl Frames {
    /// All free; `None` when the pool can't hold the table.
    pub fn new(memory: &impl Memory) -> Option<Self> {
        let mut pages = [None; MAX_PAGES];
        let count = memory.frame_count().div_ceil(FRAMES_PER_PAGE);
        for page in pages.iter_mut().take(count) {
            *page = Some(memory.allocate_page()?);
        }
        Some(Self { pages })
    }

    /// Takes the frame at `address` for `owner`, if `is_live` says that its present owner, another
    /// one, is gone. `Err` names that owner; `Ok(false)`: no such frame.
    pub fn claim(
        &self,
        memory: &impl Memory,
        address: Hpa,
        owner: Owner,
        is_live: impl Fn(Owner) -> bool,
    ) -> Result<bool, Owner> {
        let Some(index) = memory.frame_index(address) else {
            return Ok(false);
        };
        let Some(page) = self.pages.get(index / FRAMES_PER_PAGE).copied().flatten() else {
            return Ok(false);
        };
        let word = &memory.page(page)[index % FRAMES_PER_PAGE];
        let mut seen = word.load(Acquire);
        loop {
            match Owner::from_word(seen) {
                Some(present) if present == owner => return Ok(true),
                Some(present) if is_live(present) => return Err(present),
                _ => match word.compare_exchange(seen, owner.word(), AcqRel, Acquire) {
                    Ok(_) => return Ok(true),
                    Err(now) => seen = now,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hal::fake::FakeMemory;

    #[test]
    fn a_frame_has_one_live_owner() {
        let memory = FakeMemory::leaked(64, 4);
        let frames = Frames::new(&memory).unwrap();
        let a = Owner {
            slot: 0,
            generation: 1,
        };
        let b = Owner {
            slot: 1,
            generation: 1,
        };
        let frame = memory.guest_base();
        assert_eq!(frames.claim(&memory, frame, a, |_| true), Ok(true));
        assert_eq!(frames.claim(&memory, frame, a, |_| true), Ok(true));
        assert_eq!(frames.claim(&memory, frame, b, |_| true), Err(a));
        // A dead owner's frame is free: same slot, later generation.
        assert_eq!(
            frames.claim(&memory, frame, b, |owner| owner != a),
            Ok(true)
        );
        let again = Owner {
            slot: 0,
            generation: 2,
        };
        assert_eq!(
            frames.claim(&memory, frame, again, |owner| owner == b),
            Err(b)
        );
    }

    #[test]
    fn memory_outside_the_pool_is_nobodys() {
        let memory = FakeMemory::leaked(64, 4);
        let frames = Frames::new(&memory).unwrap();
        let a = Owner {
            slot: 0,
            generation: 1,
        };
        assert_eq!(frames.claim(&memory, Hpa(0x1000), a, |_| true), Ok(false));
        let behind = Hpa(memory.guest_base().0 + 4 * hypervisor_abi::FRAME_SIZE);
        assert_eq!(frames.claim(&memory, behind, a, |_| true), Ok(false));
    }
}
