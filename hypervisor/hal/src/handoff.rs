//! What the boot crate hands to the hypervisor when it has left the firmware behind.
//!
//! The boot crate calls the hypervisor once on each CPU, with this record and the CPU's index, on
//! a stack of [`STACK_SIZE`] bytes of its own, in 64-bit mode with interrupts off, on host page
//! tables that map all physical memory at its own address (so a physical address *is* a pointer),
//! with its own GDT, IDT and TSS. `EFER.NXE` is set; nothing of SVM or VMX is touched yet.
//! A panic on any CPU ends in the crash screen.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Most CPUs that are started; those that the MADT lists beyond are left alone and reported.
pub const MAX_CPUS: usize = 256;

/// Most ranges that the guest pool consists of.
pub const MAX_POOL_RANGES: usize = 8;

/// Size in bytes of the stack that each CPU arrives on.
pub const STACK_SIZE: usize = 64 << 10;

/// A range of physical addresses, `end` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

impl Range {
    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
    /// Whether the range holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether `address` lies inside.
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}

/// One CPU of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Local APIC id as the MADT gives it: 8 bits in xAPIC mode, 32 in x2APIC mode.
    pub apic_id: u32,
}

/// How the control domain is entered on a CPU. Beyond these: CR0 = PG, NE, ET, PE; CR4 = PAE;
/// EFER = NXE, LME, LMA (Linux loads page tables with no-execute bits on the other CPUs before it
/// sets NXE itself); RFLAGS = 2; CS = [`BOOT_CS`] (64-bit, ring 0), DS, ES, SS = [`BOOT_DS`] (flat,
/// writable), FS and GS null with base 0, all other general registers 0.
/// (Linux `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol"; ACPI 6.4 §5.2.12.19.)
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryState {
    /// Instruction pointer, identity-mapped by `cr3`.
    pub rip: u64,
    /// Address of the boot parameters on the first CPU, 0 on the others.
    pub rsi: u64,
    /// A small stack on the first CPU, which the control domain may overwrite later; 0 on the others.
    pub rsp: u64,
    /// Page tables that map all physical memory at its own address; in memory that is reserved,
    /// but not hidden from the control domain.
    pub cr3: u64,
    /// Base of a GDT with [`BOOT_CS`] and [`BOOT_DS`], likewise reserved and not hidden.
    pub gdt_base: u64,
    /// Limit of that GDT in bytes.
    pub gdt_limit: u16,
}

/// Code selector at entry (Linux `__BOOT_CS`).
pub const BOOT_CS: u16 = 0x10;
/// Data selector at entry (Linux `__BOOT_DS`).
pub const BOOT_DS: u16 = 0x18;

/// The linear framebuffer that the firmware left, for the crash screen.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer {
    /// Physical address.
    pub base: u64,
    /// Visible width in pixels.
    pub width: u32,
    /// Visible height in pixels.
    pub height: u32,
    /// Distance of two lines in pixels; a pixel is 4 bytes.
    pub stride: u32,
}

/// Everything that the hypervisor learns from the boot crate. Lies in hidden memory.
#[derive(Debug)]
pub struct Handoff {
    /// The hypervisor's code and data, whole 4 KiB pages. Hidden: the control domain must not
    /// reach it.
    pub image: Range,
    /// Memory behind the host: stacks, page tables, this record and [`Self::page_pool`]. Hidden.
    /// Starts and ends on 2 MiB.
    pub private: Range,
    /// The part of `private` that the hypervisor takes its pages from, zeroed, whole 4 KiB pages.
    pub page_pool: Range,
    /// The guests' memory: [`Self::guest_pool`] reads it.
    pub guest_pool_ranges: [Range; MAX_POOL_RANGES],
    /// How many of `guest_pool_ranges` are used.
    pub guest_pool_count: usize,
    /// The CPUs; [`Self::cpus`] reads it.
    pub cpu_list: [Cpu; MAX_CPUS],
    /// How many of `cpu_list` are used.
    pub cpu_count: usize,
    /// End of the highest RAM in the memory map; the host tables map at least up to here and
    /// at least the first 4 GiB.
    pub memory_end: u64,
    /// Root of the host page tables.
    pub host_cr3: u64,
    /// How the first CPU enters the control domain's kernel; [`Self::entry`] for all.
    pub kernel: EntryState,
    /// Where the control domain wakes the other CPUs.
    pub mailbox: &'static Mailbox,
    /// Physical address of the RSDP that the control domain is given.
    pub acpi_rsdp: u64,
    /// The firmware's framebuffer, if it has one of 4 bytes a pixel.
    pub framebuffer: Option<Framebuffer>,
    /// Reserved RAM for the crash record, hidden; empty if none was to be had.
    pub crash_record: Range,
    /// 32 bytes from the firmware's random number generator mixed with RDRAND and the time stamp
    /// counter, for machine handles. Never shown to anybody.
    pub seed: [u8; 32],
    /// Whether CPUs forget before a guest runs what it could learn by timing; `mitigations=off` on the
    /// kernel's command line says no, to the kernel as to the hypervisor.
    pub mitigations: bool,
    /// Writes one line to the serial port; callable on any CPU.
    pub log: fn(core::fmt::Arguments<'_>),
    /// Whether a CPU reports a crash of the hypervisor. It has sent an NMI to all others; whoever
    /// sees this shall stop for good, so that the report stays readable.
    pub crash_under_way: fn() -> bool,
}

impl Handoff {
    /// The ranges of the guest pool, ascending, each starting and ending on 2 MiB.
    pub fn guest_pool(&self) -> &[Range] {
        self.guest_pool_ranges
            .get(..self.guest_pool_count)
            .unwrap_or(&[])
    }

    /// The CPUs that run the hypervisor, the boot CPU first.
    pub fn cpus(&self) -> &[Cpu] {
        self.cpu_list.get(..self.cpu_count).unwrap_or(&[])
    }

    /// The state in which CPU `index` enters the control domain. On any but the first CPU this
    /// waits until the control domain asks for it through the mailbox.
    pub fn entry(&self, index: usize) -> EntryState {
        match self.cpus().get(index) {
            Some(cpu) if index != 0 => {
                let rip = self.mailbox.wait(cpu.apic_id);
                EntryState {
                    rip,
                    rsi: 0,
                    rsp: 0,
                    ..self.kernel
                }
            }
            _ => self.kernel,
        }
    }
}

/// The multiprocessor wake-up mailbox (ACPI 6.4 §5.2.12.19, table 5.44): one page of reserved
/// memory that the control domain writes and the waiting CPUs read.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Mailbox {
    command: AtomicU16,
    reserved: AtomicU16,
    apic_id: AtomicU32,
    wakeup_vector: AtomicU64,
    operating_system: [AtomicU8; 2032],
    firmware: [AtomicU8; 2048],
}

/// [`Mailbox`] command: wake the CPU with this APIC id at this vector.
const COMMAND_WAKEUP: u16 = 1;

impl Mailbox {
    /// Waits until the control domain asks for the CPU `apic_id`, takes the address it shall
    /// start at, and acknowledges by clearing the command.
    pub fn wait(&self, apic_id: u32) -> u64 {
        loop {
            if let Some(vector) = self.take(apic_id) {
                return vector;
            }
            core::hint::spin_loop();
        }
    }

    /// One look at the mailbox: the wake-up vector, if the command is for `apic_id`.
    pub fn take(&self, apic_id: u32) -> Option<u64> {
        if self.command.load(Ordering::Acquire) != COMMAND_WAKEUP
            || self.apic_id.load(Ordering::Relaxed) != apic_id
        {
            return None;
        }
        let vector = self.wakeup_vector.load(Ordering::Relaxed);
        self.command.store(0, Ordering::Release);
        Some(vector)
    }
}

const _: () = assert!(size_of::<Mailbox>() == 4096);
const _: () = assert!(core::mem::offset_of!(Mailbox, wakeup_vector) == 8);
const _: () = assert!(core::mem::offset_of!(Mailbox, firmware) == 2048);

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as the control domain writes it: apart from the atomics, all zero.
    fn mailbox(command: u16, apic_id: u32, vector: u64) -> Mailbox {
        Mailbox {
            command: AtomicU16::new(command),
            reserved: AtomicU16::new(0),
            apic_id: AtomicU32::new(apic_id),
            wakeup_vector: AtomicU64::new(vector),
            operating_system: [const { AtomicU8::new(0) }; 2032],
            firmware: [const { AtomicU8::new(0) }; 2048],
        }
    }

    #[test]
    fn only_the_addressed_cpu_takes_the_vector_and_acknowledges() {
        let mailbox = mailbox(COMMAND_WAKEUP, 5, 0x9_a130);
        assert_eq!(mailbox.take(4), None);
        assert_eq!(mailbox.command.load(Ordering::Relaxed), COMMAND_WAKEUP);
        assert_eq!(mailbox.take(5), Some(0x9_a130));
        assert_eq!(mailbox.command.load(Ordering::Relaxed), 0);
        assert_eq!(mailbox.take(5), None);
    }

    #[test]
    fn no_other_command_wakes() {
        for command in [0, 2, u16::MAX] {
            let mailbox = mailbox(command, 1, 0x1000);
            assert_eq!(mailbox.take(1), None);
            assert_eq!(mailbox.command.load(Ordering::Relaxed), command);
        }
    }

    #[test]
    fn ranges_end_before_their_end() {
        let range = Range {
            start: 0x1000,
            end: 0x3000,
        };
        assert!(range.contains(0x1000) && range.contains(0x2fff) && !range.contains(0x3000));
        assert_eq!(range.len(), 0x2000);
        assert!(Range { start: 2, end: 1 }.is_empty());
    }
}
