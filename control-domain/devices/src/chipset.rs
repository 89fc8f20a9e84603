//! All devices together, behind one address decoder.

mod inspect;
mod mmio;
mod network;
mod ports;

use crate::acpi;
use crate::acpi_pm::AcpiPm;
use crate::bus::{ByteSink, Context, GuestMemory, Outputs, VideoMemory};
use crate::cmos::{self, BootDevice};
use crate::debug_port::DebugPort;
use crate::dec21140::{Dec21140, NetworkCard};
use crate::dma::Dma;
use crate::floppy::{Diskette, Floppy};
use crate::fw_cfg::{self, FwCfg};
use crate::i8042::I8042;
use crate::ide::{Disc, Drive, Ide};
use crate::interrupts::Interrupts;
use crate::layout::{self, MemorySize, Region};
use crate::network_boot::NetworkBoot;
use crate::pci::{Effects, Pci};
use crate::pic::Pic;
use crate::pit::Pit;
use crate::rtc::Rtc;
use crate::smbios;
use crate::smbus::SmBus;
use crate::uart::Uart;
use crate::vga::Vga;
use ports::Decoder;
use std::collections::BTreeMap;

/// What a machine consists of.
pub struct Config {
    /// Number of processors, 1 to 64; their local APICs are numbered from 0.
    pub processor_count: u32,
    /// Size of the memory in bytes, a multiple of 1 MiB, at least 16 MiB. The first
    /// [`crate::LOW_MEMORY_LIMIT`] bytes lie from address 0 on, the rest from 4 GiB on.
    pub memory_bytes: u64,
    /// Size of the BIOS image in bytes. It ends at 4 GiB.
    pub bios_bytes: u64,
    /// Seconds since 1970-01-01 UTC when `now_ns` is 0.
    pub utc_seconds: u64,
    /// The machine's GUID, as its bytes lie in a Windows GUID structure.
    pub guid: [u8; 16],
    /// What changes when the machine goes on from another point of its life, likewise.
    pub generation_id: [u8; 16],
    /// The VGA BIOS: SeaVGABIOS's "stdvga" build.
    pub vga_bios: Vec<u8>,
    /// The memory of the video adapter.
    pub video_memory: Box<dyn VideoMemory>,
    /// Where COM1 and COM2 send to.
    pub serial: [Option<Box<dyn ByteSink>>; 2],
    /// Where the log of the BIOS goes.
    pub bios_log: Option<Box<dyn ByteSink>>,
    /// Primary master and slave, secondary master and slave.
    pub drives: [Option<Drive>; 4],
    /// What lies in the floppy drive, which every machine has.
    pub diskette: Option<Diskette>,
    /// Network cards, at most four.
    pub network_cards: Vec<NetworkCard>,
    /// What the BIOS starts when it boots from the network.
    pub network_boot: Option<NetworkBoot>,
    /// What the BIOS tries to boot from, in this order; then what is missing here, in the usual order.
    pub boot_order: Vec<BootDevice>,
    /// Show the host bridge as Hyper-V's once the BIOS is through. No guest of today needs it.
    pub identity_flip: bool,
    /// Whether its operating system may hibernate.
    pub hibernation: bool,
}

/// The chipset of one machine.
///
/// After each call, and before the guest runs on, the vmm looks at [`Chipset::take_outputs`] and at
/// [`Chipset::interrupt_pending`]; it sleeps at the longest until [`Chipset::next_deadline_ns`].
///
/// Gate A20 can be read and set but masks nothing: no operating system that runs on this machine
/// depends on addresses wrapping at 1 MiB.
pub struct Chipset {
    now_ns: u64,
    interrupts: Interrupts,
    outputs: Outputs,
    decoder: Decoder,
    memory_size: MemorySize,
    bios_bytes: u64,
    pit: Pit,
    rtc: Rtc,
    i8042: I8042,
    uarts: [Uart; 2],
    pci: Pci,
    acpi_pm: AcpiPm,
    smbus: SmBus,
    ide: Ide,
    dma: Dma,
    floppy: Floppy,
    network: Vec<Dec21140>,
    vga: Vga,
    fw_cfg: FwCfg,
    debug_port: DebugPort,
    reset_control: u8,
}

impl Chipset {
    /// A machine at power-on.
    pub fn new(config: Config) -> Self {
        let memory_size = MemorySize::of(config.memory_bytes);
        let mut rtc = Rtc::new(config.utc_seconds);
        let sizes = config.drives.each_ref().map(|drive| match drive {
            Some(Drive::Disk(disk)) => Some(disk.size_sectors()),
            Some(Drive::Dvd(_)) | None => None,
        });
        cmos::store(&mut rtc, memory_size, config.processor_count, &sizes);
        cmos::store_boot_order(&mut rtc, &config.boot_order);
        let video_bytes = config.video_memory.size();
        let [com1, com2] = config.serial;
        let mut files = firmware_files(
            &config.vga_bios,
            config.processor_count,
            memory_size,
            config.guid,
            config.generation_id,
            config.hibernation,
        );
        if let Some(boot) = &config.network_boot {
            files.insert(NetworkBoot::ROM_FILE.into(), boot.rom.clone());
        }
        let mut fw_cfg = FwCfg::new(files);
        for (item, content) in config.network_boot.iter().flat_map(NetworkBoot::items) {
            fw_cfg.set_item(item, &content);
        }
        let processors = (config.processor_count as u16).to_le_bytes();
        fw_cfg.set_item(fw_cfg::ITEM_PROCESSORS, &processors);
        fw_cfg.set_item(fw_cfg::ITEM_MAX_PROCESSORS, &processors);
        fw_cfg.set_item(fw_cfg::ITEM_IRQ0_OVERRIDE, &[1]);
        Chipset {
            now_ns: 0,
            interrupts: Interrupts::default(),
            outputs: Outputs::default(),
            decoder: Decoder::default(),
            memory_size,
            bios_bytes: config.bios_bytes,
            pit: Pit::new(),
            rtc,
            i8042: I8042::default(),
            uarts: [Uart::new(4, com1), Uart::new(3, com2)],
            pci: Pci::new(
                video_bytes,
                config.identity_flip,
                config.network_cards.len(),
            ),
            acpi_pm: AcpiPm::default(),
            smbus: SmBus::default(),
            ide: Ide::new(config.drives),
            dma: Dma::default(),
            floppy: Floppy::new(config.diskette),
            network: config
                .network_cards
                .into_iter()
                .map(Dec21140::new)
                .collect(),
            vga: Vga::new(config.video_memory),
            fw_cfg,
            debug_port: DebugPort::new(config.bios_log),
            reset_control: 0,
        }
    }

    /// The machine is reset, as after [`Outputs::reset`]. Memory, disks and the clock stay; the
    /// memory layout is that of power-on.
    pub fn reset(&mut self, now_ns: u64, memory: &dyn GuestMemory) {
        self.tick(now_ns);
        self.interrupts.pic = Pic::default();
        self.interrupts.ioapic = Default::default();
        self.pci.reset();
        self.apply(Effects {
            layout: true,
            ports: true,
            routing: true,
        });
        self.pit = Pit::new();
        self.rtc.reset(&mut self.interrupts);
        self.i8042.reset(&mut self.interrupts);
        for uart in &mut self.uarts {
            uart.reset(&mut self.interrupts);
        }
        self.acpi_pm.reset(self.now_ns, &mut self.interrupts);
        self.smbus = SmBus::default();
        self.vga.reset();
        for card in 0..self.network.len() {
            self.network[card].reset();
            self.network_changed(card);
        }
        self.fw_cfg.reset();
        self.reset_control = 0;
        let mut context = Context {
            memory,
            interrupts: &mut self.interrupts,
        };
        self.ide.reset(&mut context);
        self.floppy.reset(&mut context);
        self.dma = Dma::default();
        self.interrupts.set_isa(0, false);
        self.interrupts.messages.clear();
        self.outputs = Outputs {
            layout_changed: true,
            ..Outputs::default()
        };
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
    pub fn advance(&mut self, now_ns: u64) {
        self.tick(now_ns);
        self.pit.advance(self.now_ns, &mut self.interrupts);
        self.rtc.advance(self.now_ns, &mut self.interrupts);
        self.acpi_pm.advance(self.now_ns, &mut self.interrupts);
        for card in 0..self.network.len() {
            self.network[card].advance(self.now_ns);
            self.network_changed(card);
        }
    }

    /// When [`Chipset::advance`] must be called next, in nanoseconds of the machine's time.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        [
            self.pit.next_deadline_ns(),
            self.rtc.next_deadline_ns(),
            self.acpi_pm.next_deadline_ns(),
        ]
        .into_iter()
        .chain(self.network.iter().map(Dec21140::next_deadline_ns))
        .flatten()
        .min()
    }

    /// Whether [`Chipset::take_outputs`] would answer anything.
    pub fn has_outputs(&self) -> bool {
        !self.outputs.is_empty() || !self.interrupts.messages.is_empty()
    }

    /// What became due since the last time.
    pub fn take_outputs(&mut self) -> Outputs {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.messages = std::mem::take(&mut self.interrupts.messages);
        outputs
    }

    /// What lies where now, all of guest-physical memory.
    pub fn memory_layout(&self) -> Vec<Region> {
        layout::memory_layout(
            self.memory_size,
            self.bios_bytes,
            &self.pci.host_bridge,
            self.pci.vga.window(),
            self.vga.memory_bytes(),
            self.text_window(),
        )
    }

    /// Bytes that came in for COM1 (0) or COM2 (1). Answers how many were taken; the rest must be
    /// offered again after the guest has read some.
    pub fn serial_input(&mut self, port: usize, bytes: &[u8]) -> usize {
        match self.uarts.get_mut(port) {
            Some(uart) => uart.receive(bytes, &mut self.interrupts),
            None => bytes.len(),
        }
    }

    /// A key was pressed or released; `code` is its make code of scan code set 1, without E0h,
    /// which `extended` stands for.
    pub fn key(&mut self, code: u8, extended: bool, pressed: bool) {
        self.i8042
            .key(code, extended, pressed, &mut self.interrupts);
    }

    /// The mouse moved by `dx` to the right and `dy` down, its wheel turned by `dz` towards the
    /// person, and `buttons` are down: bit 0 left, 1 right, 2 middle.
    pub fn pointer(&mut self, dx: i32, dy: i32, dz: i32, buttons: u8) {
        self.i8042
            .pointer(dx, dy, dz, buttons, &mut self.interrupts);
    }

    /// A person presses the power button. Answers whether an operating system listens to it.
    pub fn press_power_button(&mut self) -> bool {
        self.acpi_pm.press_power_button(&mut self.interrupts);
        self.acpi_pm.power_button_enabled()
    }

    /// Puts another diskette into the floppy drive, or none. Answers what lay in it.
    pub fn insert_diskette(&mut self, diskette: Option<Diskette>) -> Option<Diskette> {
        self.floppy.insert(diskette)
    }

    /// Puts another disc into the DVD drive at `place`, 0 to 3 as in [`Config::drives`], or none.
    /// Answers what was in it.
    ///
    /// # Errors
    /// The disc, if no DVD drive is there.
    pub fn insert_disc(
        &mut self,
        place: usize,
        disc: Option<Disc>,
    ) -> Result<Option<Disc>, Option<Disc>> {
        self.ide.insert_disc(place, disc)
    }

    /// The video adapter, to see what is on the screen.
    pub fn vga(&self) -> &Vga {
        &self.vga
    }

    /// Time never runs backwards, whatever the callers' clocks say.
    fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The part of the legacy video window that is plain memory now, if its function is on.
    fn text_window(&self) -> Option<layout::TextWindow> {
        self.vga
            .text_window()
            .filter(|_| self.pci.vga.legacy_enabled().1)
    }

    fn apply(&mut self, effects: Effects) {
        if effects.ports {
            self.decoder.update(&self.pci);
        }
        if effects.routing {
            for line in 0..4 {
                self.interrupts.route(line, self.pci.isa_bridge.route(line));
            }
        }
        self.outputs.layout_changed |= effects.layout;
    }
}

/// Everything that firmware fetches by name.
fn firmware_files(
    vga_bios: &[u8],
    processor_count: u32,
    memory_size: MemorySize,
    guid: [u8; 16],
    generation_id: [u8; 16],
    hibernation: bool,
) -> BTreeMap<String, Vec<u8>> {
    let mut files = acpi::generation_1::files(acpi::Machine {
        processor_count,
        low_memory_end: memory_size.low,
        high_memory_end: memory_size.high_end(),
        generation_id,
        tpm: false,
        hibernation,
    });
    files.extend(smbios::files(smbios::Machine {
        generation: smbios::Generation::One,
        processor_count,
        memory_bytes: [memory_size.low, memory_size.high],
        guid,
    }));
    files.insert("etc/e820".into(), layout::e820(memory_size));
    // By this name SeaBIOS takes it for the adapter's ROM.
    files.insert("pci1234,1111.rom".into(), vga_bios.to_vec());
    files
}

#[cfg(test)]
#[path = "chipset/tests.rs"]
mod tests;
