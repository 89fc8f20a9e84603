//! Numbers that nobody can guess: ChaCha20 over the firmware's seed, stirred by RDRAND.

use crate::cpu;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spin::Mutex;

pub struct Entropy(Mutex<ChaCha20Rng>);

impl Entropy {
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Mutex::new(ChaCha20Rng::from_seed(seed)))
    }

    pub fn next(&self) -> u64 {
        self.0.lock().next_u64() ^ cpu::rdrand().unwrap_or(0)
    }
}
