//! A machine without a firmware: one page of code at the reset vector, which spoils every register
//! in a circle and never ends.

use core::arch::global_asm;
use core::ptr::addr_of;
use guest_memory::Mapping;
use hypervisor_abi::{
    ABI_VERSION, Access, Call, FRAME_SIZE, Handle, PAGE_SIZE, SCRATCH_OFFSET, Status,
};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use crate::instruction::{Answer, call};

// At power-on a processor is in real mode at offset 0xfff0 of the segment that begins at
// 0xffff0000 (SDM vol. 3 §10.1.4); the page below 4 GiB begins at offset 0xf000.
global_asm!(
    ".pushsection .rodata",
    ".global hostile_spinner_start, hostile_spinner_end",
    ".code16",
    "hostile_spinner_start:",
    "mov eax, cr4",
    "or eax, 0x600",
    "mov cr4, eax",
    "fninit",
    // Bochs gives a CPU no interrupt while its guest has them off (docs/decisions/0005).
    "sti",
    "2:",
    "pcmpeqd xmm0, xmm0",
    "pcmpeqd xmm1, xmm1",
    "pcmpeqd xmm2, xmm2",
    "pcmpeqd xmm3, xmm3",
    "pcmpeqd xmm4, xmm4",
    "pcmpeqd xmm5, xmm5",
    "pcmpeqd xmm6, xmm6",
    "pcmpeqd xmm7, xmm7",
    "fldpi",
    "mov eax, 0xdeadbeef",
    "mov ebx, eax",
    "mov ecx, eax",
    "mov edx, eax",
    "mov esi, eax",
    "mov edi, eax",
    "mov ebp, eax",
    "mov esp, eax",
    "mov dr0, eax",
    "mov dr1, eax",
    "mov dr2, eax",
    "mov dr3, eax",
    "mov cr2, eax",
    "mov ecx, 10000",
    "3:",
    "dec ecx",
    "jnz 3b",
    "jmp 2b",
    "hostile_spinner_end:",
    ".code64",
    ".popsection",
);

unsafe extern "C" {
    static hostile_spinner_start: u8;
    static hostile_spinner_end: u8;
}

/// The page that ends at 4 GiB.
const RESET_PAGE: u64 = (4 << 30) - PAGE_SIZE;
/// `JMP` from offset 0xfff0 to offset 0xf000.
const RESET_JUMP: [u8; 3] = [0xe9, 0x0d, 0xf0];

/// The machine. Dropping it leaves it to whoever uses its memory next, as a killed vmm does.
#[derive(Debug)]
pub struct Spinner {
    /// A granule.
    pub mapping: Mapping,
    /// The right to the machine; stale once another has taken the memory.
    pub handle: Handle,
}

impl Spinner {
    /// Maps a granule and readies its first two frames: control frame and guest memory.
    ///
    /// # Errors
    /// If the granule can't be mapped.
    pub fn open(granule: &str) -> Result<Self, String> {
        let this = Self::map(granule)?;
        let mapping = &this.mapping;
        mapping.clear(0, 2 * FRAME_SIZE);
        mapping.write(FRAME_SIZE, code());
        mapping.write(FRAME_SIZE + 0xff0, &RESET_JUMP);
        let config = mapping.control_frame().config();
        config.version.store(ABI_VERSION, Relaxed);
        config.processor_count.store(1, Relaxed);
        config.tsc_hz.store(1_000_000_000, Relaxed);
        config.apic_hz.store(200_000_000, Relaxed);
        Ok(this)
    }

    /// Maps a granule that another has made ready; its first two frames are in the page tables.
    ///
    /// # Errors
    /// If the granule can't be mapped.
    pub fn map(granule: &str) -> Result<Self, String> {
        let mapping = Mapping::open(&[PathBuf::from(granule)], 0).map_err(|e| e.to_string())?;
        // Parts that neither the hypervisor nor the code uses: a page is present once it was written.
        mapping.write(SCRATCH_OFFSET as u64, &[0]);
        mapping.write(FRAME_SIZE + FRAME_SIZE / 2, &[0]);
        Ok(Self {
            mapping,
            handle: Handle(0, 0),
        })
    }

    /// Creates the machine, with a processor at the reset vector.
    ///
    /// # Errors
    /// The call that was refused, and its answer.
    pub fn create(&mut self) -> Result<(), (Call, Answer)> {
        let made = call(
            Call::CreateMachine,
            Handle(0, 0),
            [self.mapping.user_address(0), 0, 0, 0],
        );
        let [low, high] = expect_ok(Call::CreateMachine, made)?.outputs;
        self.handle = Handle(low, high);
        let code = self.mapping.user_address(FRAME_SIZE);
        let added = self.call(
            Call::AddMemory,
            [code, RESET_PAGE, PAGE_SIZE, Access::Write as u64],
        );
        expect_ok(Call::AddMemory, added)?;
        let processor = self.call(Call::CreateProcessor, [0; 4]);
        expect_ok(Call::CreateProcessor, processor).map(drop)
    }

    /// A call on this machine.
    pub fn call(&self, number: Call, arguments: [u64; 4]) -> Answer {
        call(number, self.handle, arguments)
    }
}

fn expect_ok(number: Call, answer: Answer) -> Result<Answer, (Call, Answer)> {
    match answer.named() {
        Some(Status::Ok) => Ok(answer),
        _ => Err((number, answer)),
    }
}

fn code() -> &'static [u8] {
    // SAFETY: both symbols are in one section of this program, laid down above in this order, and
    // what lies between them is never written.
    unsafe {
        let (start, end) = (
            addr_of!(hostile_spinner_start),
            addr_of!(hostile_spinner_end),
        );
        core::slice::from_raw_parts(start, end as usize - start as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_below_the_reset_vector() {
        assert!((40..0xff0).contains(&code().len()), "{}", code().len());
        // It begins with MOV EAX, CR4.
        assert_eq!(code()[..3], [0x0f, 0x20, 0xe0]);
        let target =
            (0xfff0 + 3 + i32::from(i16::from_le_bytes([RESET_JUMP[1], RESET_JUMP[2]]))) & 0xffff;
        assert_eq!(target, 0xf000);
    }
}
