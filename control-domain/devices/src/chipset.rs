//! All devices together, behind one address decoder.

use crate::block::BlockBackend;
use crate::bus::{ByteSink, GuestMemory, Outputs, VideoMemory};
use crate::interrupts::Interrupts;
use crate::layout::Region;

/// Guest-physical address where low memory ends at the latest; the rest of the memory begins at
/// 4 GiB. Between them lie the PCI window, the I/O APIC, the local APICs and the BIOS.
pub const LOW_MEMORY_LIMIT: u64 = 0xc000_0000;

/// What a machine consists of.
pub struct Config {
    /// Number of processors, 1 to 64; their local APICs are numbered from 0.
    pub processor_count: u32,
    /// Size of the memory in bytes, a multiple of 1 MiB, at least 16 MiB. The first
    /// [`LOW_MEMORY_LIMIT`] bytes lie from address 0 on, the rest from 4 GiB on.
    pub memory_bytes: u64,
    /// Size of the BIOS image in bytes. It ends at 4 GiB.
    pub bios_bytes: u64,
    /// Seconds since 1970-01-01 UTC when `now_ns` is 0.
    pub utc_seconds: u64,
    /// The VGA BIOS.
    pub vga_bios: Vec<u8>,
    /// The memory of the video adapter.
    pub video_memory: Box<dyn VideoMemory>,
    /// Where COM1 and COM2 send to.
    pub serial: [Option<Box<dyn ByteSink>>; 2],
    /// Where the log of the BIOS goes.
    pub bios_log: Option<Box<dyn ByteSink>>,
    /// Primary master and slave, secondary master and slave.
    pub disks: [Option<Box<dyn BlockBackend>>; 4],
}

/// The chipset of one machine.
///
/// After each call that takes `now_ns`, and before the guest runs on, the vmm looks at
/// [`Chipset::take_outputs`] and at [`Chipset::interrupt_pending`], and sleeps at the longest until
/// [`Chipset::next_deadline_ns`].
pub struct Chipset {
    interrupts: Interrupts,
    outputs: Outputs,
    now_ns: u64,
}

impl Chipset {
    /// A machine at power-on.
    pub fn new(config: Config) -> Self {
        let _ = config;
        Chipset {
            interrupts: Interrupts::default(),
            outputs: Outputs::default(),
            now_ns: 0,
        }
    }

    /// `IN` of `size` bytes (1, 2 or 4).
    pub fn port_read(&mut self, port: u16, size: u8, now_ns: u64, memory: &dyn GuestMemory) -> u32 {
        let _ = (now_ns, memory);
        let value = match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.interrupts.pic.read(port).into(),
            _ => u32::MAX,
        };
        value & mask(size)
    }

    /// `OUT` of `size` bytes (1, 2 or 4).
    pub fn port_write(
        &mut self,
        port: u16,
        size: u8,
        value: u32,
        now_ns: u64,
        memory: &dyn GuestMemory,
    ) {
        let _ = (now_ns, memory, size);
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                self.interrupts.pic.write(port, value as u8)
            }
            _ => {}
        }
    }

    /// A read of 1 to 8 bytes at a guest-physical address that is not mapped.
    pub fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64, memory: &dyn GuestMemory) {
        let _ = (now_ns, memory);
        let page = gpa & !(crate::ioapic::LENGTH - 1);
        match page {
            crate::ioapic::BASE => {
                let value = self.interrupts.ioapic.read(gpa - page).to_le_bytes();
                for (i, byte) in data.iter_mut().enumerate() {
                    *byte = value.get(i).copied().unwrap_or(0);
                }
            }
            _ => data.fill(0xff),
        }
    }

    /// A write of 1 to 8 bytes at a guest-physical address that is not mapped, or mapped read only.
    pub fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64, memory: &dyn GuestMemory) {
        let _ = (now_ns, memory);
        let page = gpa & !(crate::ioapic::LENGTH - 1);
        if page == crate::ioapic::BASE
            && let Some(value) = data.first_chunk()
        {
            self.interrupts.ioapic.write(
                gpa - page,
                u32::from_le_bytes(*value),
                &mut self.interrupts.messages,
            );
        }
    }

    /// The local APICs ended the level-triggered interrupt `vector`.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        self.interrupts
            .ioapic
            .end_of_interrupt(vector, &mut self.interrupts.messages);
    }

    /// The line from the 8259s to the bootstrap processor's LINT0.
    pub fn interrupt_pending(&self) -> bool {
        self.interrupts.pic.output()
    }

    /// The bootstrap processor takes the interrupt of the 8259s: its vector.
    pub fn acknowledge_interrupt(&mut self) -> u8 {
        self.interrupts.pic.acknowledge()
    }

    /// Lets time pass: timers that are due fire.
    pub fn advance(&mut self, now_ns: u64, memory: &dyn GuestMemory) {
        let _ = memory;
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// When [`Chipset::advance`] must be called next, in nanoseconds of the machine's time.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        None
    }

    /// What became due since the last time.
    pub fn take_outputs(&mut self) -> Outputs {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.messages = std::mem::take(&mut self.interrupts.messages);
        outputs
    }

    /// What lies where now, all of guest-physical memory.
    pub fn memory_layout(&self) -> Vec<Region> {
        Vec::new()
    }
}

fn mask(size: u8) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}
