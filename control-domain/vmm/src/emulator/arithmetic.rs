//! Results and flags of the integer instructions (SDM vol. 1 §3.4.3, appendix A).

/// Carry.
pub const CF: u64 = 1;
/// Parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Direction of string instructions.
pub const DF: u64 = 1 << 10;
/// Signed overflow.
pub const OF: u64 = 1 << 11;
/// The flags that arithmetic sets.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// All ones of `size` bytes.
pub fn mask(size: usize) -> u64 {
    u64::MAX >> (64 - 8 * size.clamp(1, 8))
}

fn sign(size: usize) -> u64 {
    1 << (8 * size.clamp(1, 8) - 1)
}

/// SF, ZF and PF of a result.
fn of_result(result: u64, size: usize) -> u64 {
    let parity = if (result as u8).count_ones().is_multiple_of(2) {
        PF
    } else {
        0
    };
    let zero = if result == 0 { ZF } else { 0 };
    parity | zero | if result & sign(size) != 0 { SF } else { 0 }
}

/// `a + b + carry`, and the flags.
pub fn add(a: u64, b: u64, carry: bool, size: usize) -> (u64, u64) {
    let (a, b) = (a & mask(size), b & mask(size));
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = wide as u64 & mask(size);
    let mut flags = of_result(result, size);
    if wide > u128::from(mask(size)) {
        flags |= CF;
    }
    if (a ^ b ^ result) & 0x10 != 0 {
        flags |= AF;
    }
    if (a ^ result) & (b ^ result) & sign(size) != 0 {
        flags |= OF;
    }
    (result, flags)
}

/// `a - b - borrow`, and the flags.
pub fn subtract(a: u64, b: u64, borrow: bool, size: usize) -> (u64, u64) {
    let (a, b) = (a & mask(size), b & mask(size));
    let result = a.wrapping_sub(b).wrapping_sub(u64::from(borrow)) & mask(size);
    let mut flags = of_result(result, size);
    if u128::from(a) < u128::from(b) + u128::from(borrow) {
        flags |= CF;
    }
    if (a ^ b ^ result) & 0x10 != 0 {
        flags |= AF;
    }
    if (a ^ b) & (a ^ result) & sign(size) != 0 {
        flags |= OF;
    }
    (result, flags)
}

/// The flags of AND, OR, XOR and TEST. AF is undefined; it becomes 0, as on all known processors.
pub fn logic(result: u64, size: usize) -> u64 {
    of_result(result & mask(size), size)
}
