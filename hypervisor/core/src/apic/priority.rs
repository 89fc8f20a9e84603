//! Sets of vectors, searched by priority (SDM vol. 3 §11.8.4).

/// A bit for each of the 256 vectors: the shape of IRR, ISR and TMR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorSet {
    words: [u64; 4],
    /// Which words are not 0: every exit asks whether any is.
    occupied: u8,
}

impl VectorSet {
    /// Is `vector` in the set?
    pub fn contains(&self, vector: u8) -> bool {
        self.words[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    /// Puts `vector` in; `true` if it was in already.
    pub fn insert(&mut self, vector: u8) -> bool {
        let before = self.contains(vector);
        self.words[usize::from(vector >> 6)] |= 1 << (vector & 63);
        self.occupied |= 1 << (vector >> 6);
        before
    }

    /// Takes `vector` out.
    pub fn remove(&mut self, vector: u8) {
        let word = &mut self.words[usize::from(vector >> 6)];
        *word &= !(1 << (vector & 63));
        if *word == 0 {
            self.occupied &= !(1 << (vector >> 6));
        }
    }

    /// Is there none in the set?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// The vector of highest priority. Four tests, no scan over bits.
    #[inline]
    pub fn highest(&self) -> Option<u8> {
        for word in (0..4u8).rev() {
            let bits = self.words[usize::from(word)];
            if bits != 0 {
                return Some(word * 64 + (63 - bits.leading_zeros() as u8));
            }
        }
        None
    }

    /// The vector if there is exactly one.
    pub fn only(&self) -> Option<u8> {
        let ones: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        if ones == 1 { self.highest() } else { None }
    }

    /// Vectors 32·`index` to 32·`index` + 31 as the register shows them; `index` 0 to 7.
    pub fn register(&self, index: u32) -> u32 {
        (self.words[(index as usize >> 1) & 3] >> (32 * (index & 1))) as u32
    }
}

/// The processor priority: the higher class of task priority and interrupt in service.
#[inline]
pub fn processor_priority(task_priority: u8, in_service: Option<u8>) -> u8 {
    match in_service {
        Some(vector) if vector >> 4 > task_priority >> 4 => vector & 0xf0,
        _ => task_priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_is_found_in_every_word() {
        let mut set = VectorSet::default();
        assert_eq!(set.highest(), None);
        for vector in [0u8, 31, 32, 63, 64, 127, 128, 200, 255] {
            assert!(!set.insert(vector));
            assert!(set.insert(vector));
            assert_eq!(set.highest(), Some(vector));
        }
        set.remove(255);
        assert_eq!(set.highest(), Some(200));
        for vector in 0..=255 {
            assert!(!set.is_empty() || vector > 200);
            set.remove(vector);
        }
        assert_eq!(set, VectorSet::default());
    }

    #[test]
    fn only_one_is_only() {
        let mut set = VectorSet::default();
        assert_eq!(set.only(), None);
        set.insert(0x30);
        assert_eq!(set.only(), Some(0x30));
        set.insert(0xf0);
        assert_eq!(set.only(), None);
    }

    #[test]
    fn registers_show_32_vectors_each() {
        let mut set = VectorSet::default();
        set.insert(0x31);
        set.insert(0xff);
        assert_eq!(set.register(1), 1 << 17);
        assert_eq!(set.register(7), 1 << 31);
        assert_eq!(set.register(0), 0);
    }

    #[test]
    fn priority_is_the_higher_class() {
        assert_eq!(processor_priority(0x35, None), 0x35);
        assert_eq!(processor_priority(0x35, Some(0x3a)), 0x35);
        assert_eq!(processor_priority(0x35, Some(0x4a)), 0x40);
    }
}
