//! Extended processor state, x87 to AVX-512, and PKRU (SDM vol. 1, chapter 13).
//!
//! Switched only between the control domain and a guest, never for an exit that the hypervisor
//! handles: the hypervisor itself is built without vector instructions.

use crate::cpu;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Components a guest may have: x87, SSE, AVX, AVX-512 (three), PKRU.
const GUEST: u64 = 0b10_1110_0111;

/// Size in bytes of the image of all [`GUEST`] components, and room.
const GUEST_BYTES: usize = 4096;
/// Size in bytes of the image of everything that the control domain may have (AMX is 8 KiB).
const CONTROL_BYTES: usize = 12 << 10;

/// An XSAVE image in the standard format.
#[repr(C, align(64))]
pub struct Image<const WORDS: usize>([AtomicU64; WORDS]);

/// Of a guest's processor.
pub type GuestImage = Image<{ GUEST_BYTES / 8 }>;
/// Of the control domain on one CPU.
pub type ControlImage = Image<{ CONTROL_BYTES / 8 }>;

impl<const WORDS: usize> Image<WORDS> {
    /// The state after reset: XSTATE_BV 0 means that XRSTOR puts every component into its initial
    /// configuration; MXCSR, which is always loaded, is 1F80h.
    pub fn initial() -> Self {
        let image = Self([const { AtomicU64::new(0) }; WORDS]);
        image.0[3].store(0x1f80, Relaxed);
        image
    }

    /// Copies an image that anybody may have written, and makes it one that XRSTOR takes
    /// (SDM vol. 1 §13.8.1): known components only, standard format, no reserved MXCSR bit.
    pub fn load_from(&mut self, image: &[AtomicU64], components: u64) {
        let mxcsr_mask = match (self.0[3].load(Relaxed) >> 32) as u32 {
            0 => 0xffbf,
            mask => mask,
        };
        for (own, other) in self.0.iter().zip(image) {
            own.store(other.load(Relaxed), Relaxed);
        }
        let mxcsr = self.0[3].load(Relaxed) as u32 & mxcsr_mask;
        self.0[3].store(u64::from(mxcsr_mask) << 32 | u64::from(mxcsr), Relaxed);
        self.0[64].store(self.0[64].load(Relaxed) & components, Relaxed);
        for word in &self.0[65..72] {
            word.store(0, Relaxed);
        }
    }

    /// The image as words.
    pub fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Which components this CPU has.
#[derive(Clone, Copy)]
pub struct Components {
    /// All, as XCR0 bits.
    pub all: u64,
    /// Those that guests share.
    pub guest: u64,
}

impl Components {
    /// From CPUID leaf 0Dh. Components whose image would not fit are left out for the control
    /// domain too; its CPUID must not show them.
    pub fn of_this_cpu() -> Self {
        let [low, _, _, high] = cpu::cpuid(0xd, 0);
        let mut all = 0;
        let supported = u64::from(high) << 32 | u64::from(low);
        for bit in 0..63 {
            let end = if bit < 2 {
                576
            } else {
                let [size, offset, ..] = cpu::cpuid(0xd, bit);
                (size + offset) as usize
            };
            if supported & 1 << bit != 0 && end <= CONTROL_BYTES {
                all |= 1 << bit;
            }
        }
        Self {
            all,
            guest: all & GUEST,
        }
    }
}

/// XSAVE of `components` under the XCR0 in force.
///
/// # Safety
/// `components` and XCR0 together name only components that fit `image`.
pub unsafe fn save<const W: usize>(image: &mut Image<W>, components: u64) {
    // SAFETY: the image is 64-byte aligned and large enough (caller); OSXSAVE is set (`prepare`).
    unsafe {
        asm!("xsave64 [{}]", in(reg) image, in("eax") components as u32, in("edx") (components >> 32) as u32, options(nostack, preserves_flags));
    }
}

/// XRSTOR. Images come from [`save`] or [`Image::load_from`].
///
/// # Safety
/// The image is legal for XCR0 in force, else the instruction faults.
pub unsafe fn restore<const W: usize>(image: &Image<W>, components: u64) {
    // SAFETY: as the caller vouches; the hypervisor itself uses none of these registers.
    unsafe {
        asm!("xrstor64 [{}]", in(reg) image, in("eax") components as u32, in("edx") (components >> 32) as u32, options(nostack, preserves_flags));
    }
}
