//! The boot parameters, also called the zero page (Linux `Documentation/arch/x86/zero-page.rst`
//! and `boot.rst`; field names are those of `struct boot_params`).

use crate::e820::{E820Entry, ENTRY_SIZE};
use crate::kernel::{Kernel, SETUP_HEADER};

/// Size of the boot parameters in bytes.
pub const SIZE: usize = 4096;

/// Entries of the memory map that fit; the rest goes into a [`setup_data_e820`] record.
pub const E820_CAPACITY: usize = 128;

const E820_TABLE: usize = 0x2d0;

/// The linear framebuffer, in the terms of `struct screen_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Physical address.
    pub base: u64,
    /// Size in bytes.
    pub size: u64,
    /// Visible width in pixels.
    pub width: u16,
    /// Visible height in pixels.
    pub height: u16,
    /// Bytes from one line to the next.
    pub line_length: u16,
    /// For red, green, blue, reserved: width in bits and position of the lowest.
    pub channels: [(u8, u8); 4],
}

/// The copied UEFI memory map and the system table, in the terms of `struct efi_info`.
#[derive(Clone, Copy, Debug)]
pub struct EfiInfo {
    /// Physical address of the system table.
    pub system_table: u64,
    /// Physical address of the memory map.
    pub memory_map: u64,
    /// Size of the memory map in bytes.
    pub memory_map_size: u32,
    /// Distance of two descriptors in bytes.
    pub descriptor_size: u32,
    /// Version of the descriptors.
    pub descriptor_version: u32,
}

/// The state of UEFI Secure Boot, as `enum efi_secureboot_mode` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SecureBoot {
    /// The firmware gave no usable answer.
    Unknown = 1,
    /// Off, or in setup mode.
    Disabled = 2,
    /// Enforced.
    Enabled = 3,
}

/// The boot parameters, as they are built for one kernel.
#[derive(Debug)]
pub struct BootParams<'a>(&'a mut [u8; SIZE]);

impl<'a> BootParams<'a> {
    /// Clears `page` and takes the kernel's own setup header over.
    pub fn new(page: &'a mut [u8; SIZE], kernel: &Kernel<'_>) -> Self {
        page.fill(0);
        let mut params = Self(page);
        // The header is at most 0x202 + 255 - 0x1f1 bytes long: it ends before the memory map.
        params.put(SETUP_HEADER, kernel.setup_header);
        params.put(0x210, &[0xff]); // type_of_loader: none of the registered ones
        params
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        crate::bytes::put(self.0, offset, value)
            .expect("boot parameter fields are constants inside the page");
    }

    /// A 64-bit value whose halves lie in two places.
    fn put_halves(&mut self, low: usize, high: usize, value: u64) {
        self.put(low, &(value as u32).to_le_bytes());
        self.put(high, &((value >> 32) as u32).to_le_bytes());
    }

    /// Where the command line lies, NUL-terminated.
    pub fn command_line(&mut self, address: u64) {
        self.put_halves(0x228, 0x0c8, address);
    }

    /// Where the initial RAM disk lies, in bytes; above 4 GiB is fine.
    pub fn ramdisk(&mut self, address: u64, size: u64) {
        self.put_halves(0x218, 0x0c0, address);
        self.put_halves(0x21c, 0x0c4, size);
    }

    /// Where the kernel was loaded; only its low half is recorded, as the field is older than 64 bits.
    pub fn load_address(&mut self, address: u64) {
        self.put(0x214, &(address as u32).to_le_bytes());
    }

    /// Where the RSDP lies.
    pub fn acpi_rsdp(&mut self, address: u64) {
        self.put(0x070, &address.to_le_bytes());
    }

    /// The state of Secure Boot; the kernel locks itself down when it is enabled.
    pub fn secure_boot(&mut self, state: SecureBoot) {
        self.put(0x1ec, &[state as u8]);
    }

    /// The firmware's memory map and system table.
    pub fn efi_info(&mut self, info: &EfiInfo) {
        self.put(0x1c0, b"EL64");
        self.put_halves(0x1c4, 0x1d8, info.system_table);
        self.put(0x1c8, &info.descriptor_size.to_le_bytes());
        self.put(0x1cc, &info.descriptor_version.to_le_bytes());
        self.put_halves(0x1d0, 0x1dc, info.memory_map);
        self.put(0x1d4, &info.memory_map_size.to_le_bytes());
    }

    /// The screen that the firmware left (`VIDEO_TYPE_EFI`).
    pub fn screen(&mut self, screen: &Screen) {
        self.put(0x0f, &[0x70]);
        self.put(0x12, &screen.width.to_le_bytes());
        self.put(0x14, &screen.height.to_le_bytes());
        self.put(0x16, &32u16.to_le_bytes());
        self.put_halves(0x18, 0x3a, screen.base);
        self.put(
            0x1c,
            &(u32::try_from(screen.size).unwrap_or(u32::MAX)).to_le_bytes(),
        );
        self.put(0x24, &screen.line_length.to_le_bytes());
        for (index, (width, position)) in screen.channels.into_iter().enumerate() {
            self.put(0x26 + 2 * index, &[width, position]);
        }
        self.put(0x32, &1u16.to_le_bytes());
        // Bit 0: no quirks; bit 1: the base has 64 bits.
        let capabilities: u32 = 1 | u32::from(screen.base >> 32 != 0) << 1;
        self.put(0x36, &capabilities.to_le_bytes());
    }

    /// The memory map. Returns the entries that did not fit.
    #[must_use = "the rest must be handed over as setup data"]
    pub fn e820<'m>(&mut self, map: &'m [E820Entry]) -> &'m [E820Entry] {
        let (fits, rest) = map.split_at(map.len().min(E820_CAPACITY));
        for (index, entry) in fits.iter().enumerate() {
            self.put(E820_TABLE + index * ENTRY_SIZE, &entry.to_bytes());
        }
        self.put(0x1e8, &[fits.len() as u8]);
        rest
    }

    /// Address of the first setup data record.
    pub fn setup_data(&mut self, address: u64) {
        self.put(0x250, &address.to_le_bytes());
    }
}

/// Writes a setup data record (`SETUP_E820_EXT`) with `entries` to `out`, with no record behind it.
/// Returns its size in bytes, or `None` if `out` is too small.
pub fn setup_data_e820(entries: &[E820Entry], out: &mut [u8]) -> Option<usize> {
    let size = entries.len().checked_mul(ENTRY_SIZE)?;
    crate::bytes::put(out, 0, &0u64.to_le_bytes())?;
    crate::bytes::put(out, 8, &1u32.to_le_bytes())?;
    crate::bytes::put(out, 12, &u32::try_from(size).ok()?.to_le_bytes())?;
    for (index, entry) in entries.iter().enumerate() {
        crate::bytes::put(out, 16 + index * ENTRY_SIZE, &entry.to_bytes())?;
    }
    Some(16 + size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes;
    use crate::e820::E820Type;

    #[test]
    fn fields_lie_where_the_kernel_reads_them() {
        let file = crate::kernel::tests::file();
        let kernel = Kernel::parse(&file).unwrap();
        let mut page = [0xaa; SIZE];
        let mut params = BootParams::new(&mut page, &kernel);
        params.command_line(0x1_2345_6000);
        params.ramdisk(0x2_0000_1000, 0x3000);
        params.acpi_rsdp(0x7fff_0000);
        params.secure_boot(SecureBoot::Enabled);
        let entry = E820Entry {
            start: 1 << 20,
            size: 4096,
            kind: E820Type::SoftReserved,
        };
        let map = [entry; 130];
        let rest = params.e820(&map);
        assert_eq!(rest.len(), 2);
        assert_eq!(bytes::array::<4>(&page, 0x202), Some(*b"HdrS"));
        assert_eq!(bytes::u32(&page, 0x228), Some(0x2345_6000));
        assert_eq!(bytes::u32(&page, 0x0c8), Some(1));
        assert_eq!(bytes::u32(&page, 0x0c0), Some(2));
        assert_eq!(bytes::u64(&page, 0x70), Some(0x7fff_0000));
        assert_eq!(
            (page[0x1ec], page[0x1e8], page[0x1ef], page[0x210]),
            (3, 128, 0, 0xff)
        );
        assert_eq!(bytes::u32(&page, 0x2d0 + 127 * 20 + 16), Some(0xefff_ffff));
        let mut record = [0; 64];
        assert_eq!(setup_data_e820(rest, &mut record), Some(56));
        assert_eq!(
            (bytes::u32(&record, 8), bytes::u32(&record, 12)),
            (Some(1), Some(40))
        );
        assert_eq!(setup_data_e820(&map, &mut record), None);
    }
}
