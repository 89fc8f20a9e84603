//! How often tests of chance are run: once by every `cargo test`, many times at night.

/// Names the number of rounds; 1 if it is not set.
const VARIABLE: &str = "ENTENTE_ROUNDS";
/// Seeds of one round are this far from those of the next.
const SEEDS: u64 = 1000;

/// The seeds that stand for `seed` in each round, that one first.
///
/// # Panics
/// If the variable `ENTENTE_ROUNDS` is set and is no number.
pub fn rounds(seed: u64) -> impl Iterator<Item = u64> {
    let rounds = match std::env::var(VARIABLE) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{VARIABLE} is {text:?}, which is no number of rounds")),
        Err(_) => 1,
    };
    (0..rounds).map(move |round| seed + round * SEEDS)
}
