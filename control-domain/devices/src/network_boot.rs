//! What the BIOS starts to boot from the network: iPXE, which has a driver for every card of its time, in the
//! shape of a Linux kernel, behind QEMU's option ROM that loads such a kernel from [`crate::fw_cfg`].
//!
//! Source: Linux, Documentation/arch/x86/boot.rst; QEMU's numbers of the items.

/// The images.
#[derive(Clone)]
pub struct NetworkBoot {
    /// The option ROM, `linuxboot_dma.bin`.
    pub rom: Vec<u8>,
    /// iPXE, `ipxe.lkrn`.
    pub loader: Vec<u8>,
}

const KERNEL_ADDRESS: u16 = 0x07;
const KERNEL_SIZE: u16 = 0x08;
const INITRD_ADDRESS: u16 = 0x0a;
const INITRD_SIZE: u16 = 0x0b;
const KERNEL_ENTRY: u16 = 0x10;
const KERNEL_DATA: u16 = 0x11;
const COMMAND_LINE_ADDRESS: u16 = 0x13;
const COMMAND_LINE_SIZE: u16 = 0x14;
const COMMAND_LINE_DATA: u16 = 0x15;
const SETUP_ADDRESS: u16 = 0x16;
const SETUP_SIZE: u16 = 0x17;
const SETUP_DATA: u16 = 0x18;

/// Where the parts go: the real-mode part, its command line, the rest.
const SETUP_AT: u32 = 0x1_0000;
const COMMAND_LINE_AT: u32 = 0x2_0000;
const KERNEL_AT: u32 = 0x10_0000;

const SECTOR_BYTES: usize = 512;
/// Fields of the real-mode part's header.
const SETUP_SECTORS: usize = 0x1f1;
const SIGNATURE: usize = 0x202;
const LOADER_TYPE: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const HEAP_END: usize = 0x224;
const COMMAND_LINE_POINTER: usize = 0x228;
/// Load flags: there is a heap.
const CAN_USE_HEAP: u8 = 0x80;
/// QEMU's number among boot loaders.
const QEMU: u8 = 0xb0;

impl NetworkBoot {
    /// By this name the BIOS runs it.
    pub const ROM_FILE: &str = "genroms/linuxboot_dma.bin";

    /// Checks the images' shapes.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn new(rom: Vec<u8>, loader: Vec<u8>) -> Result<Self, &'static str> {
        if !rom.starts_with(&[0x55, 0xaa]) {
            return Err("the option ROM does not begin with 55h AAh");
        }
        let boot = NetworkBoot { rom, loader };
        match boot.setup() {
            Some(setup) if setup.get(SIGNATURE..SIGNATURE + 4) == Some(b"HdrS") => Ok(boot),
            _ => Err("the loader has not the shape of a Linux kernel"),
        }
    }

    /// The real-mode part as it lies in the file.
    fn setup(&self) -> Option<&[u8]> {
        let sectors = usize::from(*self.loader.get(SETUP_SECTORS)?);
        self.loader.get(..(sectors + 1) * SECTOR_BYTES)
    }

    /// What the option ROM asks for, by the numbers of the items.
    pub fn items(&self) -> Vec<(u16, Vec<u8>)> {
        let file = self.setup().unwrap_or_default();
        let kernel = &self.loader[file.len()..];
        let mut setup = file.to_vec();
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(field) = setup.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        };
        put(LOADER_TYPE, &[QEMU]);
        let flags = file.get(LOAD_FLAGS).copied().unwrap_or_default();
        put(LOAD_FLAGS, &[flags | CAN_USE_HEAP]);
        // It ends where the command line begins; counted from behind the boot sector's place.
        let heap_end = COMMAND_LINE_AT - SETUP_AT - SECTOR_BYTES as u32;
        put(HEAP_END, &(heap_end as u16).to_le_bytes());
        put(COMMAND_LINE_POINTER, &COMMAND_LINE_AT.to_le_bytes());
        let number = |item, value: u32| (item, value.to_le_bytes().to_vec());
        vec![
            number(SETUP_ADDRESS, SETUP_AT),
            number(SETUP_SIZE, setup.len() as u32),
            number(KERNEL_ADDRESS, KERNEL_AT),
            number(KERNEL_ENTRY, KERNEL_AT),
            number(KERNEL_SIZE, kernel.len() as u32),
            number(INITRD_ADDRESS, 0),
            number(INITRD_SIZE, 0),
            number(COMMAND_LINE_ADDRESS, COMMAND_LINE_AT),
            number(COMMAND_LINE_SIZE, 1),
            (COMMAND_LINE_DATA, vec![0]),
            (KERNEL_DATA, kernel.to_vec()),
            (SETUP_DATA, setup),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_taken_apart_where_its_header_says() {
        let mut loader = vec![1; 4 * SECTOR_BYTES + 100];
        loader[SETUP_SECTORS] = 3;
        assert!(NetworkBoot::new(vec![0x55, 0xaa], loader.clone()).is_err());
        loader[SIGNATURE..SIGNATURE + 4].copy_from_slice(b"HdrS");
        assert!(NetworkBoot::new(vec![0], loader.clone()).is_err());
        assert!(NetworkBoot::new(vec![0x55, 0xaa], loader[..900].to_vec()).is_err());
        let boot = NetworkBoot::new(vec![0x55, 0xaa], loader).unwrap();
        let items: std::collections::BTreeMap<_, _> = boot.items().into_iter().collect();
        assert_eq!(items[&KERNEL_DATA], [1; 100]);
        assert_eq!(items[&KERNEL_SIZE], 100u32.to_le_bytes());
        let setup = &items[&SETUP_DATA];
        assert_eq!(setup.len(), 4 * SECTOR_BYTES);
        assert_eq!((setup[LOADER_TYPE], setup[LOAD_FLAGS]), (0xb0, 0x81));
        assert_eq!(setup[HEAP_END..HEAP_END + 2], 0xfe00u16.to_le_bytes());
    }
}
