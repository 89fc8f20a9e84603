//! What firmware expects to find in the clock's battery-backed memory.
//!
//! Source: SeaBIOS's list of the registers it reads.

use crate::layout::MemorySize;
use crate::rtc::Rtc;

const KIBIBYTE: u64 = 1 << 10;
const MEBIBYTE: u64 = 1 << 20;

/// Stores sizes of memory, number of processors, boot order and how disks are translated.
pub fn store(rtc: &mut Rtc, memory: MemorySize, processors: u32, disks: &[Option<u64>; 4]) {
    let mut word = |register: u8, value: u64, limit: u64| {
        let [low, high, ..] = value.min(limit).to_le_bytes();
        rtc.store(register, low);
        rtc.store(register + 1, high);
    };
    word(0x15, 640, 0xffff);
    // KiB above 1 MiB; 64 KiB above 16 MiB; 64 KiB above 4 GiB.
    let extended = memory.low.saturating_sub(MEBIBYTE) / KIBIBYTE;
    word(0x17, extended, 0xffff);
    word(0x30, extended, 0xffff);
    word(0x34, memory.low.saturating_sub(16 * MEBIBYTE) >> 16, 0xffff);
    let high = (memory.high >> 16).to_le_bytes();
    for (register, byte) in (0x5b..=0x5d).zip(high) {
        rtc.store(register, byte);
    }
    rtc.store(0x5f, processors.saturating_sub(1).min(255) as u8);
    // Coprocessor, PS/2 mouse, one floppy drive of 1.44 MB.
    rtc.store(0x14, 0x07);
    rtc.store(0x10, 0x40);
    // Two bits per disk: shift heads (logical block addresses) where there are more than 1024
    // cylinders of 16 heads and 63 sectors.
    let translation = disks.iter().enumerate().fold(0, |flags, (i, sectors)| {
        let large = sectors.is_some_and(|sectors| sectors > 1024 * 16 * 63);
        flags | u8::from(large) << (2 * i)
    });
    rtc.store(0x39, translation);
}

/// What the BIOS can boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// The diskette.
    Floppy = 1,
    /// The first disk.
    Disk = 2,
    /// The discs in DVD drives.
    Dvd = 3,
    /// What an option ROM offers: the network.
    Network = 4,
}

impl BootDevice {
    /// All of them, in the usual order.
    pub const ALL: [Self; 4] = [Self::Disk, Self::Dvd, Self::Floppy, Self::Network];
}

/// Stores the boot order; no signature is wanted from a floppy. There is room for three devices, the fourth
/// one is tried last.
pub fn store_boot_order(rtc: &mut Rtc, first: &[BootDevice]) {
    let mut order = first.to_vec();
    order.extend(
        BootDevice::ALL
            .iter()
            .filter(|device| !first.contains(device)),
    );
    let place = |i: usize| order.get(i).map_or(0, |device| *device as u8);
    rtc.store(0x3d, place(0) | place(1) << 4);
    rtc.store(0x38, 1 | place(2) << 4);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupts::Interrupts;

    #[test]
    fn sizes_are_where_firmware_reads_them() {
        let mut rtc = Rtc::new(0);
        let memory = MemorySize {
            low: 3 << 30,
            high: 5 << 30,
        };
        store(
            &mut rtc,
            memory,
            4,
            &[Some(100 << 20), Some(1000), None, None],
        );
        let mut interrupts = Interrupts::default();
        let mut get = |register: u8| {
            rtc.write(0x70, register, 0, &mut interrupts);
            u64::from(rtc.read(0x71, 0, &mut interrupts))
        };
        assert_eq!((get(0x34) << 16 | get(0x35) << 24) + (16 << 20), 3 << 30);
        assert_eq!(get(0x5b) << 16 | get(0x5c) << 24 | get(0x5d) << 32, 5 << 30);
        assert_eq!(get(0x30) | get(0x31) << 8, 0xffff);
        assert_eq!((get(0x5f), get(0x39)), (3, 1));
    }

    #[test]
    fn what_is_named_boots_first_and_the_rest_as_usual() {
        let mut interrupts = Interrupts::default();
        for (first, low, high) in [
            (&[][..], 0x32, 0x11),
            (&[BootDevice::Network], 0x24, 0x31),
            (&[BootDevice::Dvd, BootDevice::Network], 0x43, 0x21),
        ] {
            let mut rtc = Rtc::new(0);
            store_boot_order(&mut rtc, first);
            let mut get = |register: u8| {
                rtc.write(0x70, register, 0, &mut interrupts);
                rtc.read(0x71, 0, &mut interrupts)
            };
            assert_eq!((get(0x3d), get(0x38)), (low, high), "{first:?}");
        }
    }
}
