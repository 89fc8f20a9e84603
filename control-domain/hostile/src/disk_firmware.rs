//! A firmware that does nothing but disk I/O: the primary channel's first disk is written, flushed
//! and read by bus-master DMA, 128 KiB at a time, at moving places, for ever. Each half of such a
//! place begins with its [`stamp`], which the firmware looks for when it reads and others when the
//! vmm is gone; where it does not find it, it stops.
//!
//! PIIX4 (82371AB) data sheet §4.2 and "Programming Interface for Bus Master IDE Controller" 1.0.

use core::arch::global_asm;
use core::ptr::addr_of;

/// Sectors that are written at once.
pub const PLACE_SECTORS: u64 = 256;
/// Such places on the disk: 256 MiB of them, a power of two.
pub const PLACES: u64 = 2048;

/// What each half of the place at this sector begins with, as 32 bits, little-endian; never 0.
pub fn stamp(lba: u64) -> u32 {
    !(lba as u32)
}

/// Bytes of the image; it ends at 4 GiB.
const IMAGE_BYTES: usize = 64 << 10;

global_asm!(
    ".pushsection .rodata",
    ".global hostile_firmware_start, hostile_firmware_end",
    ".code16",
    "hostile_firmware_start:",
    "cld",
    // The IDE function, 00:07.1: bus master ports at 0xc000, both channels decoded, I/O and mastering on.
    "mov bx, 0xcf8",
    "mov ebp, 0xcfc",
    "mov dx, bx",
    "mov eax, 0x80003920",
    "out dx, eax",
    "mov dx, bp",
    "mov eax, 0xc001",
    "out dx, eax",
    "mov dx, bx",
    "mov eax, 0x80003940",
    "out dx, eax",
    "mov dx, bp",
    "mov eax, 0x80008000",
    "out dx, eax",
    "mov dx, bx",
    "mov eax, 0x80003904",
    "out dx, eax",
    "mov dx, bp",
    "mov eax, 5",
    "out dx, eax",
    // Two areas of 64 KiB at 64 KiB; the table at 0x500. DS is 0.
    "mov dword ptr [0x500], 0x10000",
    "mov dword ptr [0x504], 0",
    "mov dword ptr [0x508], 0x20000",
    "mov dword ptr [0x50c], 0x80000000",
    "mov dx, 0xc004",
    "mov eax, 0x500",
    "out dx, eax",
    // EBX: the place, which moves through 256 MiB from somewhere on. CH: command of the disk, CL: of the bus master.
    "mov ax, 0x1000",
    "mov es, ax",
    "mov ax, 0x2000",
    "mov gs, ax",
    "rdtsc",
    "mov ebx, eax",
    "2:",
    "add ebx, {step}",
    "and ebx, {mask}",
    "mov eax, ebx",
    "not eax",
    "mov es:[0], eax",
    "mov gs:[0], eax",
    "mov cx, 0xca00",
    "jmp 3f",
    "8:",
    "mov dx, 0x1f7",
    "mov al, 0xe7",
    "out dx, al",
    "4:",
    "in al, dx",
    "test al, 0x80",
    "jnz 4b",
    "xor eax, eax",
    "mov es:[0], eax",
    "mov gs:[0], eax",
    "mov cx, 0xc808",
    "3:",
    "mov dx, 0xc000",
    "mov al, cl",
    "out dx, al",
    "mov dx, 0xc002",
    "mov al, 6",
    "out dx, al",
    "mov dx, 0x1f6",
    "mov al, 0xe0",
    "out dx, al",
    "mov dx, 0x1f2",
    "xor al, al",
    "out dx, al",
    "mov eax, ebx",
    "inc dx",
    "out dx, al",
    "shr eax, 8",
    "inc dx",
    "out dx, al",
    "shr eax, 8",
    "inc dx",
    "out dx, al",
    "mov dx, 0x1f7",
    "mov al, ch",
    "out dx, al",
    "mov dx, 0xc000",
    "mov al, cl",
    "or al, 1",
    "out dx, al",
    "mov dx, 0xc002",
    "5:",
    "in al, dx",
    "test al, 4",
    "jz 5b",
    "mov dx, 0xc000",
    "xor al, al",
    "out dx, al",
    "mov dx, 0x1f7",
    "in al, dx",
    // An error would show as a processor that halts: no more I/O, and the command would say so.
    "test al, 1",
    "jz 6f",
    "7:",
    "hlt",
    "jmp 7b",
    "6:",
    "cmp ch, 0xca",
    "je 8b",
    "mov eax, ebx",
    "not eax",
    "cmp es:[0], eax",
    "jne 7b",
    "cmp gs:[0], eax",
    "jne 7b",
    "jmp 2b",
    "hostile_firmware_end:",
    ".code64",
    ".popsection",
    // Bits that a place does not have are cut off, so the step is 303 places: all are visited.
    step = const 77777,
    mask = const (PLACES - 1) * PLACE_SECTORS,
);

unsafe extern "C" {
    static hostile_firmware_start: u8;
    static hostile_firmware_end: u8;
}

/// The image: code at its last 4 KiB, and a jump there at the reset vector.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; IMAGE_BYTES];
    let code = code();
    image[IMAGE_BYTES - 4096..][..code.len()].copy_from_slice(code);
    // `JMP` from offset 0xfff0 to offset 0xf000.
    image[IMAGE_BYTES - 16..][..3].copy_from_slice(&[0xe9, 0x0d, 0xf0]);
    image
}

fn code() -> &'static [u8] {
    // SAFETY: both symbols are in one section of this program, laid down above in this order, and
    // what lies between them is never written.
    unsafe {
        let (start, end) = (
            addr_of!(hostile_firmware_start),
            addr_of!(hostile_firmware_end),
        );
        core::slice::from_raw_parts(start, end as usize - start as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_below_the_reset_vector() {
        assert!((100..4080).contains(&code().len()), "{}", code().len());
        assert_eq!(image().len(), IMAGE_BYTES);
        assert_eq!(image()[IMAGE_BYTES - 4096], 0xfc, "CLD");
    }

    #[test]
    fn a_stamp_is_never_what_an_empty_disk_holds() {
        assert!((0..PLACES).all(|place| stamp(place * PLACE_SECTORS) != 0));
    }
}
