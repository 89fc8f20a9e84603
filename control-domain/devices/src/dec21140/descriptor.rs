//! Descriptors, four longwords in the guest's memory, and the lists that they form. Source: §4.2.

use crate::bus::{GuestMemory, OutsideMemory};

/// First longword: it is the card's.
pub const OWNED: u32 = 1 << 31;
const END_OF_RING: u32 = 1 << 25;
const CHAINED: u32 = 1 << 24;
const BYTES: u32 = 16;
const BUFFER_BYTES: u32 = 0x7ff;

/// A descriptor, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Where it is.
    pub gpa: u32,
    /// Ownership and status.
    pub status: u32,
    /// Control bits and sizes.
    pub control: u32,
    addresses: [u32; 2],
}

impl Descriptor {
    fn read(gpa: u32, memory: &dyn GuestMemory) -> Result<Self, OutsideMemory> {
        let mut bytes = [0; BYTES as usize];
        memory.read(gpa.into(), &mut bytes)?;
        let (words, _) = bytes.as_chunks::<4>();
        let word = |i: usize| words.get(i).map_or(0, |word| u32::from_le_bytes(*word));
        Ok(Descriptor {
            gpa,
            status: word(0),
            control: word(1),
            addresses: [word(2), word(3)],
        })
    }

    /// Whether the card may use it.
    pub fn is_owned(&self) -> bool {
        self.status & OWNED != 0
    }

    /// Address and length of its buffers; the second one is another descriptor's address in a chain.
    pub fn buffers(&self) -> [(u64, usize); 2] {
        let [first, second] = self.addresses;
        let size = |shift: u32| (self.control >> shift & BUFFER_BYTES) as usize;
        let second_size = match self.control & CHAINED {
            0 => size(11),
            _ => 0,
        };
        [(first.into(), size(0)), (second.into(), second_size)]
    }

    /// Gives it back to the guest. `status` is without ownership.
    pub fn give_back(&self, status: u32, memory: &dyn GuestMemory) -> Result<(), OutsideMemory> {
        memory.write(self.gpa.into(), &(status & !OWNED).to_le_bytes())
    }
}

/// A list, and the place in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    /// Where it begins (CSR3, CSR4).
    pub base: u32,
    /// The next descriptor.
    pub next: u32,
}

impl List {
    /// Software names another list.
    pub fn start_at(&mut self, gpa: u32) {
        self.base = gpa & !3;
        self.next = self.base;
    }

    /// The next descriptor; the place stays.
    pub fn peek(&self, memory: &dyn GuestMemory) -> Result<Descriptor, OutsideMemory> {
        Descriptor::read(self.next, memory)
    }

    /// Goes on behind a descriptor, over `skip` bytes if it is not chained.
    pub fn pass(&mut self, descriptor: &Descriptor, skip: u32) {
        let [_, second] = descriptor.addresses;
        self.next = match descriptor.control {
            control if control & END_OF_RING != 0 => self.base,
            control if control & CHAINED != 0 => second & !3,
            _ => descriptor.gpa.wrapping_add(BYTES + skip),
        };
    }
}
