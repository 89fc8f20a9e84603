//! Numbers that can be repeated.

/// A generator (xorshift64*), whose seed was printed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `seed=NUMBER` among the words, or from the time stamp counter; prints the seed.
    pub fn from_words(words: &[&str]) -> Self {
        let given = words.iter().find_map(|word| word.strip_prefix("seed="));
        let seed = given
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(hypercall::read_tsc)
            .max(1);
        println!("hostile: seed={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_the_numbers() {
        let numbers = |mut random: Random| [random.next(), random.next(), random.below(10)];
        let (a, b) = (
            Random::from_words(&["x", "seed=7"]),
            Random::from_words(&["seed=7"]),
        );
        let (a, b) = (numbers(a), numbers(b));
        assert_eq!(a, b);
        assert!(a[0] != a[1] && a[2] < 10);
    }
}
