//! One round of patterns: fill every register that user mode can reach, do something, look again.
//!
//! The extended state goes in and out by XRSTOR and XSAVE, so it is whatever the CPU and Linux have:
//! x87, SSE, AVX, AVX-512, protection keys. Sections of the Intel SDM, vol. 1, chapter 13.

use core::arch::naked_asm;
use core::arch::x86_64::{__cpuid_count, _xgetbv};
use core::mem::offset_of;

/// Bytes of an area of extended state; AVX-512 takes 2,696.
const AREA_BYTES: usize = 4096;
/// Where the header of an area lies; its first word says which components are there.
const HEADER: usize = 512;
/// Components of XCR0 that hold registers of user mode: x87, SSE, AVX, opmask, two halves of ZMM,
/// PKRU.
const COMPONENTS: u64 = 0b10_1110_0111;
const PKRU: u32 = 9;
/// `AT_HWCAP2`: user mode may write the FS and GS bases.
const HWCAP2_FSGSBASE: u64 = 2;

/// Index of a register in [`Block`]: as instructions encode them, RSP left alone.
pub const RAX: usize = 0;
/// As [`RAX`].
pub const RDX: usize = 2;
/// As [`RAX`].
pub const RSI: usize = 6;
/// As [`RAX`].
pub const RDI: usize = 7;
/// As [`RAX`].
pub const R8: usize = 8;
const RSP: usize = 4;

/// What a round does between filling and looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Middle {
    /// Counts down for about a millisecond, so that others get the CPU.
    Wait = 0,
    /// `VMMCALL`, with the arguments in the registers.
    Vmmcall = 1,
    /// `VMCALL`.
    Vmcall = 2,
}

/// All registers before and after.
#[repr(C, align(64))]
pub struct Block {
    extended: [u8; AREA_BYTES],
    extended_after: [u8; AREA_BYTES],
    /// General registers to load.
    pub general: [u64; 16],
    /// What they held afterwards.
    pub general_after: [u64; 16],
    mask: u64,
    middle: u64,
    use_gs: u64,
    gs: u64,
    gs_after: u64,
    count: u64,
    parts: Vec<(usize, usize)>,
}

impl Block {
    /// A block for this CPU.
    pub fn new(middle: Middle) -> Box<Self> {
        // SAFETY: Linux has set CR4.OSXSAVE on every CPU of the last ten years that this runs on; a
        // CPU without it would end this process by a signal.
        let mask = unsafe { _xgetbv(0) } & COMPONENTS;
        // SAFETY: getauxval takes a number.
        let use_gs = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
        // The eight x87 registers, each 10 of 16 bytes, and XMM0 to XMM15.
        let mut parts: Vec<_> = (0..8).map(|n| (32 + 16 * n, 10)).collect();
        parts.push((160, 256));
        parts.extend((2..PKRU).filter(|n| mask & 1 << n != 0).map(|n| {
            let leaf = __cpuid_count(0xd, n);
            (leaf.ebx as usize, leaf.eax as usize)
        }));
        parts.retain(|(at, length)| at + length <= AREA_BYTES);
        Box::new(Self {
            extended: [0; AREA_BYTES],
            extended_after: [0; AREA_BYTES],
            general: [0; 16],
            general_after: [0; 16],
            mask,
            middle: middle as u64,
            use_gs: u64::from(use_gs),
            gs: 0,
            gs_after: 0,
            count: 0,
            parts,
        })
    }

    /// How many bytes of registers a round compares.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, length)| length).sum::<usize>()
            + 15 * 8
            + 8 * self.use_gs as usize
    }

    /// Fills the block with patterns of its own. [`Block::general`] may be changed before the round.
    pub fn fill(&mut self, seed: u64) {
        let mut word = seed | 1;
        let mut next = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word
        };
        for (at, length) in &self.parts {
            self.extended[*at..at + length].fill_with(|| next() as u8);
        }
        // Control word with all exceptions masked and any rounding; nothing pending, all registers
        // in use; MXCSR the same way.
        let rounding = next() & 3;
        self.extended[..2].copy_from_slice(&(0x037f | (rounding as u16) << 10).to_le_bytes());
        self.extended[4] = 0xff;
        self.extended[24..28].copy_from_slice(&(0x1f80 | (rounding as u32) << 13).to_le_bytes());
        if self.mask & 1 << PKRU != 0 {
            let at = __cpuid_count(0xd, PKRU).ebx as usize;
            // Key 0 is the key of all memory of this program.
            self.extended[at..at + 4].copy_from_slice(&(next() as u32 & !3).to_le_bytes());
        }
        self.extended[HEADER..HEADER + 8].copy_from_slice(&self.mask.to_le_bytes());
        self.general.fill_with(&mut next);
        self.gs = next() & 0x7fff_ffff_ffff;
        self.count = 100_000;
    }

    /// Does the round; answers what was not found again, the registers of `outputs` left out.
    ///
    /// # Errors
    /// The name of the first thing that changed.
    pub fn round(&mut self, outputs: &[usize]) -> Result<(), String> {
        // SAFETY: the block is as `round` wants it: areas of 64-byte alignment, a legal header, a
        // mask of what the CPU has. GS is not used by programs of this kind (FS holds the thread).
        unsafe { round(self) };
        for (at, length) in &self.parts {
            let range = *at..at + length;
            if self.extended[range.clone()] != self.extended_after[range.clone()] {
                return Err(format!("extended state at {range:?} of the XSAVE area"));
            }
        }
        for (what, range) in [("x87 control word", 0..2), ("MXCSR", 24..28)] {
            if self.extended[range.clone()] != self.extended_after[range] {
                return Err(what.to_owned());
            }
        }
        for n in (0..16).filter(|n| *n != RSP && !outputs.contains(n)) {
            if self.general[n] != self.general_after[n] {
                let (was, is) = (self.general[n], self.general_after[n]);
                return Err(format!("general register {n}: {was:#x} became {is:#x}"));
            }
        }
        if self.use_gs != 0 && self.gs != self.gs_after {
            return Err("the base of GS".to_owned());
        }
        Ok(())
    }
}

/// # Safety
/// `block` is one of [`Block::new`], filled; what the call instruction does with the registers is
/// what `hypervisor-abi` says.
#[unsafe(naked)]
unsafe extern "C" fn round(block: *mut Block) {
    naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "push rdi",
        "cmp qword ptr [rdi + {use_gs}], 0",
        "je 2f",
        "mov rax, [rdi + {gs}]",
        "wrgsbase rax",
        "2:",
        "mov eax, [rdi + {mask}]",
        "mov edx, [rdi + {mask} + 4]",
        "xrstor64 [rdi]",
        // Moves leave the flags alone.
        "cmp qword ptr [rdi + {middle}], 1",
        "mov rax, [rdi + {general}]",
        "mov rcx, [rdi + {general} + 8]",
        "mov rdx, [rdi + {general} + 16]",
        "mov rbx, [rdi + {general} + 24]",
        "mov rbp, [rdi + {general} + 40]",
        "mov rsi, [rdi + {general} + 48]",
        "mov r8, [rdi + {general} + 64]",
        "mov r9, [rdi + {general} + 72]",
        "mov r10, [rdi + {general} + 80]",
        "mov r11, [rdi + {general} + 88]",
        "mov r12, [rdi + {general} + 96]",
        "mov r13, [rdi + {general} + 104]",
        "mov r14, [rdi + {general} + 112]",
        "mov r15, [rdi + {general} + 120]",
        "push qword ptr [rdi + {count}]",
        "mov rdi, [rdi + {general} + 56]",
        "je 4f",
        "ja 5f",
        "3:",
        "dec qword ptr [rsp]",
        "jnz 3b",
        "jmp 6f",
        "4:",
        "vmmcall",
        "jmp 6f",
        "5:",
        "vmcall",
        "6:",
        "xchg rdi, [rsp + 8]",
        "mov [rdi + {after}], rax",
        "mov [rdi + {after} + 8], rcx",
        "mov [rdi + {after} + 16], rdx",
        "mov [rdi + {after} + 24], rbx",
        "mov [rdi + {after} + 40], rbp",
        "mov [rdi + {after} + 48], rsi",
        "mov [rdi + {after} + 64], r8",
        "mov [rdi + {after} + 72], r9",
        "mov [rdi + {after} + 80], r10",
        "mov [rdi + {after} + 88], r11",
        "mov [rdi + {after} + 96], r12",
        "mov [rdi + {after} + 104], r13",
        "mov [rdi + {after} + 112], r14",
        "mov [rdi + {after} + 120], r15",
        "mov rax, [rsp + 8]",
        "mov [rdi + {after} + 56], rax",
        "mov eax, [rdi + {mask}]",
        "mov edx, [rdi + {mask} + 4]",
        "xsave64 [rdi + {extended_after}]",
        "cmp qword ptr [rdi + {use_gs}], 0",
        "je 7f",
        "rdgsbase rax",
        "mov [rdi + {gs_after}], rax",
        "7:",
        "add rsp, 16",
        "fninit",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 8",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        use_gs = const offset_of!(Block, use_gs),
        gs = const offset_of!(Block, gs),
        gs_after = const offset_of!(Block, gs_after),
        mask = const offset_of!(Block, mask),
        middle = const offset_of!(Block, middle),
        general = const offset_of!(Block, general),
        after = const offset_of!(Block, general_after),
        extended_after = const offset_of!(Block, extended_after),
        count = const offset_of!(Block, count),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_again_and_changes_are_seen() {
        let mut block = Block::new(Middle::Wait);
        assert!(block.bytes() >= 15 * 8 + 80 + 256);
        for seed in 1..20 {
            block.fill(seed);
            block.round(&[]).unwrap();
        }
        // A round that compares with something else than it loaded must say so.
        let after = block.general_after;
        assert_eq!(after[1], block.general[1]);
        block.extended_after[160] ^= 1;
        assert_ne!(block.extended[160], block.extended_after[160]);
    }
}
