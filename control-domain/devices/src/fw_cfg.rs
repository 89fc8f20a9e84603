//! The channel through which firmware fetches what it needs to know: numbered items and named
//! files, read by port or by DMA.
//!
//! Source: QEMU's specification of the fw_cfg device, which SeaBIOS and OVMF implement the other
//! side of. Nothing is writable here: firmware's writes are refused with the error bit.

use crate::bus::GuestMemory;
use std::collections::BTreeMap;

/// First port; the selector. The data port follows it.
pub const PORT: u16 = 0x510;
/// First of the eight ports of the DMA address register.
pub const DMA_PORT: u16 = 0x514;

const ITEM_SIGNATURE: u16 = 0x00;
const ITEM_INTERFACE: u16 = 0x01;
const ITEM_DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
/// Bits of a selector that say nothing about which item: write mode, architecture.
const SELECTOR_WRITE: u16 = 0x4000;

/// Ports and DMA.
const INTERFACE_VERSION: u32 = 3;
/// What the DMA address register reads as.
const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");

const DMA_ERROR: u32 = 1;
const DMA_READ: u32 = 2;
const DMA_SKIP: u32 = 4;
const DMA_SELECT: u32 = 8;
const DMA_WRITE: u32 = 16;

const NAME_BYTES: usize = 56;
/// Bytes moved at a time.
const CHUNK_BYTES: usize = 4096;

/// Number of processors at power-on, 16 bits.
pub const ITEM_PROCESSORS: u16 = 0x05;
/// Largest number of processors, 16 bits.
pub const ITEM_MAX_PROCESSORS: u16 = 0x0f;
/// Whether the interval timer reaches I/O APIC pin 2, 8 bits.
pub const ITEM_IRQ0_OVERRIDE: u16 = 0x8002;

/// The device.
#[derive(Debug, Default)]
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    selected: u16,
    offset: usize,
    dma_high: u32,
}

impl FwCfg {
    /// A device with these files. Files are listed by name, as firmware on a real one sees them.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut items = BTreeMap::new();
        items.insert(ITEM_SIGNATURE, b"QEMU".to_vec());
        items.insert(ITEM_INTERFACE, INTERFACE_VERSION.to_le_bytes().to_vec());
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (select, (name, content)) in (FIRST_FILE..0x4000).zip(files) {
            directory.extend((content.len() as u32).to_be_bytes());
            directory.extend(select.to_be_bytes());
            directory.extend([0; 2]);
            // The name ends in a zero within its field.
            let mut field = [0; NAME_BYTES];
            for (byte, letter) in field[..NAME_BYTES - 1].iter_mut().zip(name.bytes()) {
                *byte = letter;
            }
            directory.extend(field);
            items.insert(select, content);
        }
        items.insert(ITEM_DIRECTORY, directory);
        FwCfg {
            items,
            ..FwCfg::default()
        }
    }

    /// Sets an item of the kind that is older than files.
    pub fn set_item(&mut self, item: u16, content: &[u8]) {
        self.items.insert(item, content.to_vec());
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        self.select(0);
        self.dma_high = 0;
    }

    fn select(&mut self, selector: u16) {
        self.selected = selector & !SELECTOR_WRITE;
        self.offset = 0;
    }

    /// Fills `data` from the selected item; behind its end there are zeros.
    fn take(&mut self, data: &mut [u8]) {
        let content = self
            .items
            .get(&self.selected)
            .map_or(&[][..], Vec::as_slice);
        let rest = content.get(self.offset..).unwrap_or(&[]);
        let length = rest.len().min(data.len());
        data[..length].copy_from_slice(&rest[..length]);
        data[length..].fill(0);
        self.offset = self.offset.saturating_add(data.len());
    }

    /// Reads port 510h to 51Bh.
    pub fn read(&mut self, port: u16, size: u8) -> u32 {
        match port {
            // The data port is one byte wide; wider reads take as many bytes.
            0x511 => {
                let mut bytes = [0; 4];
                self.take(&mut bytes[..usize::from(size.min(4))]);
                u32::from_le_bytes(bytes)
            }
            0x510 => self.selected.into(),
            // Big-endian register: the bytes in the order of the ports.
            DMA_PORT..=0x51b => {
                let bytes = DMA_SIGNATURE.to_be_bytes();
                let first = usize::from(port - DMA_PORT);
                (first..8)
                    .take(size.into())
                    .enumerate()
                    .fold(0, |value, (i, at)| value | u32::from(bytes[at]) << (8 * i))
            }
            _ => u32::MAX,
        }
    }

    /// Writes port 510h to 51Bh. The write to the lower half of the DMA address runs the transfer.
    pub fn write(&mut self, port: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        match (port, size) {
            (0x510, 2) => self.select(value as u16),
            (0x514, 4) => self.dma_high = value.swap_bytes(),
            (0x518, 4) => {
                let high = std::mem::take(&mut self.dma_high);
                self.run(
                    u64::from(high) << 32 | u64::from(value.swap_bytes()),
                    memory,
                );
            }
            _ => {}
        }
    }

    /// Control, length and address lie at `descriptor`, big-endian; the outcome goes to control.
    fn run(&mut self, descriptor: u64, memory: &dyn GuestMemory) {
        let mut bytes = [0; 16];
        if memory.read(descriptor, &mut bytes).is_err() {
            return;
        }
        let [a, b, c, d, e, f, g, h, address @ ..] = bytes;
        let control = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([e, f, g, h]) as usize;
        let address = u64::from_be_bytes(address);
        if control & DMA_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let good = if control & DMA_READ != 0 {
            self.copy_out(address, length, memory)
        } else if control & DMA_WRITE != 0 {
            length == 0
        } else {
            if control & DMA_SKIP != 0 {
                self.offset = self.offset.saturating_add(length);
            }
            true
        };
        let outcome = if good { 0 } else { DMA_ERROR };
        // Where the descriptor came from can be written, or firmware waits for ever: its business.
        let _ = memory.write(descriptor, &outcome.to_be_bytes());
    }

    fn copy_out(&mut self, address: u64, length: usize, memory: &dyn GuestMemory) -> bool {
        let mut buffer = [0; CHUNK_BYTES];
        let mut done = 0;
        while done < length {
            let chunk = &mut buffer[..(length - done).min(CHUNK_BYTES)];
            self.take(chunk);
            let Some(gpa) = address.checked_add(done as u64) else {
                return false;
            };
            if memory.write(gpa, chunk).is_err() {
                return false;
            }
            done += chunk.len();
        }
        true
    }
}

#[cfg(test)]
#[path = "fw_cfg/tests.rs"]
mod tests;
