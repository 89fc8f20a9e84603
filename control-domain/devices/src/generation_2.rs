//! The Generation 2 chipset: what stock OVMF needs to start an operating system, and what is left of it
//! for the operating system, which finds Hyper-V's Generation 2: no PCI, no 8259, no 8254, no 8042.
//!
//! The first access to the power management block at the ports that the ACPI tables name is the operating
//! system's: the firmware has placed the same block elsewhere for itself. From then on the firmware's
//! devices are gone, until the machine is reset, which makes a new chipset ([`FirmwareDevices`],
//! `docs/decisions/0007-the-firmwares-own-bus.md`).

mod firmware_devices;
mod layout;
mod ports;
#[cfg(test)]
mod tests;

use crate::acpi;
use crate::acpi_pm::AcpiPm;
use crate::bus::{ByteSink, GuestMemory, Outputs, VideoMemory};
use crate::cmos::BootDevice;
use crate::debug_port::DebugPort;
use crate::dec21140::{NetworkCard, Reception};
use crate::flash::{Flash, FlashMemory};
use crate::fw_cfg::{self, FwCfg};
use crate::interrupts::Interrupts;
use crate::ioapic;
use crate::layout::{MemorySize, Region, e820};
use crate::rtc::Rtc;
use crate::smbios;
use crate::tpm::{self, Tpm};
use crate::uart::Uart;
use crate::vga::{LinearMode, Picture, Vga};
use crate::virtio_block::{FirmwareDisk, VirtioBlock};
use crate::virtio_network::VirtioNetwork;
use firmware_devices::FirmwareDevices;

/// First port of the power management block, as the ACPI tables say and Hyper-V has it.
pub const PM_BASE: u16 = 0x400;
/// The reset register, and what to write there.
pub const RESET_PORT: u16 = 0x433;
/// See [`RESET_PORT`].
pub const RESET_VALUE: u8 = 1;

/// What a machine consists of.
pub struct Config {
    /// Number of processors, 1 to 64; their local APICs are numbered from 0.
    pub processor_count: u32,
    /// Size of the memory in bytes, a multiple of 1 MiB, at least 64 MiB. The first
    /// [`crate::LOW_MEMORY_LIMIT`] bytes lie from address 0 on, the rest from 4 GiB on.
    pub memory_bytes: u64,
    /// Size of the ROM in bytes: the variables, and behind them the firmware's code. It ends at 4 GiB.
    pub rom_bytes: u64,
    /// The variables: the first bytes of the ROM.
    pub variables: Box<dyn FlashMemory>,
    /// Seconds since 1970-01-01 UTC when `now_ns` is 0.
    pub utc_seconds: u64,
    /// The machine's GUID, as its bytes lie in a Windows GUID structure.
    pub guid: [u8; 16],
    /// What changes when the machine goes on from another point of its life, likewise.
    pub generation_id: [u8; 16],
    /// The memory of the screen.
    pub video_memory: Box<dyn VideoMemory>,
    /// Where COM1 and COM2 send to.
    pub serial: [Option<Box<dyn ByteSink>>; 2],
    /// Where the log of the firmware goes; release builds write none.
    pub firmware_log: Option<Box<dyn ByteSink>>,
    /// What the firmware may boot from, disks and discs each in this order; at most [`MOST_DISKS`].
    pub disks: Vec<FirmwareDisk>,
    /// The card for booting from the network.
    pub network: Option<NetworkCard>,
    /// What the firmware tries to boot from first, in this order.
    pub boot_order: Vec<BootDevice>,
    /// The TPM, if the machine has one.
    pub tpm: Option<Tpm>,
    /// Whether its operating system may hibernate.
    pub hibernation: bool,
}

/// Disks that the firmware has slots for.
pub const MOST_DISKS: usize = 24;

/// The chipset of one machine, from power-on to its reset. Used as [`crate::Chipset`] is.
pub struct Chipset {
    now_ns: u64,
    interrupts: Interrupts,
    outputs: Outputs,
    memory_size: MemorySize,
    rom_bytes: u64,
    rtc: Rtc,
    uarts: [Uart; 2],
    acpi_pm: AcpiPm,
    flash: Flash,
    screen: Vga,
    tpm: Option<Tpm>,
    /// Where the screen's memory lies: where the firmware put it and told the operating system.
    frame_buffer: Option<u64>,
    /// What the operating system's driver of the screen says; nothing: the firmware's mode stands.
    mode: Option<Option<LinearMode>>,
    /// Until the operating system takes over.
    firmware: Option<FirmwareDevices>,
}

impl Chipset {
    /// A machine at power-on.
    pub fn new(config: Config) -> Self {
        let memory_size = MemorySize::of(config.memory_bytes);
        let mut fw_cfg = firmware_files(&config, memory_size);
        let processors = (config.processor_count as u16).to_le_bytes();
        fw_cfg.set_item(fw_cfg::ITEM_PROCESSORS, &processors);
        fw_cfg.set_item(fw_cfg::ITEM_MAX_PROCESSORS, &processors);
        let [com1, com2] = config.serial;
        let disks = config.disks.into_iter().take(MOST_DISKS);
        let firmware = FirmwareDevices::new(
            fw_cfg,
            DebugPort::new(config.firmware_log),
            config.video_memory.size(),
            disks.map(VirtioBlock::new).collect(),
            config.network.map(VirtioNetwork::new),
        );
        Chipset {
            now_ns: 0,
            interrupts: Interrupts::default(),
            outputs: Outputs::default(),
            memory_size,
            rom_bytes: config.rom_bytes,
            rtc: Rtc::new(config.utc_seconds),
            uarts: [Uart::new(4, com1), Uart::new(3, com2)],
            acpi_pm: AcpiPm::always_on(),
            flash: Flash::new(config.variables),
            screen: Vga::new(config.video_memory),
            tpm: config.tpm,
            frame_buffer: None,
            mode: None,
            firmware: Some(firmware),
        }
    }

    /// The local APICs ended the level-triggered interrupt `vector`.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        self.interrupts
            .ioapic
            .end_of_interrupt(vector, &mut self.interrupts.messages);
    }

    /// The line from the 8259s to the bootstrap processor's LINT0, as long as they are there.
    pub fn interrupt_pending(&self) -> bool {
        self.firmware.is_some() && self.interrupts.pic.output()
    }

    /// The bootstrap processor takes the interrupt of the 8259s: its vector.
    pub fn acknowledge_interrupt(&mut self) -> u8 {
        self.interrupts.pic.acknowledge()
    }

    /// Lets time pass: timers that are due fire.
    pub fn advance(&mut self, now_ns: u64) {
        self.tick(now_ns);
        if let Some(firmware) = &mut self.firmware {
            firmware.pit.advance(self.now_ns, &mut self.interrupts);
        }
        self.rtc.advance(self.now_ns, &mut self.interrupts);
        self.acpi_pm.advance(self.now_ns, &mut self.interrupts);
    }

    /// When [`Chipset::advance`] must be called next, in nanoseconds of the machine's time.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let pit = self.firmware.as_ref();
        let times = [
            pit.and_then(|firmware| firmware.pit.next_deadline_ns()),
            self.rtc.next_deadline_ns(),
            self.acpi_pm.next_deadline_ns(),
        ];
        times.into_iter().flatten().min()
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
            self.rom_bytes,
            (u64::from(self.flash.size()), self.flash.is_mapped()),
            self.frame_buffer.map(|at| (at, self.screen.memory_bytes())),
        )
    }

    /// A read of 1 to 8 bytes at a guest-physical address that is not mapped.
    pub fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64) {
        self.tick(now_ns);
        data.fill(0xff);
        if let Some(offset) = ioapic::offset(gpa) {
            self.interrupts.ioapic.read_bytes(offset, data);
        } else if let Some(offset) = self.flash_offset(gpa) {
            self.flash.read(offset, data);
        } else if let (Some(offset), Some(tpm)) = (tpm::offset(gpa), &self.tpm) {
            tpm.read(offset, data);
        }
    }

    /// A write of 1 to 8 bytes at a guest-physical address that is not mapped, or mapped read only.
    pub fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64) {
        self.tick(now_ns);
        if let Some(offset) = ioapic::offset(gpa) {
            let Interrupts {
                ioapic, messages, ..
            } = &mut self.interrupts;
            ioapic.write_bytes(offset, data, messages);
        } else if let Some(offset) = self.flash_offset(gpa) {
            let mapped = self.flash.is_mapped();
            self.flash.write(offset, data);
            self.outputs.layout_changed |= mapped != self.flash.is_mapped();
        } else if let (Some(offset), Some(tpm)) = (tpm::offset(gpa), &mut self.tpm) {
            tpm.write(offset, data);
        }
    }

    fn flash_offset(&self, gpa: u64) -> Option<u32> {
        let offset = gpa.checked_sub(layout::rom_start(self.rom_bytes))?;
        let offset = u32::try_from(offset).ok()?;
        (offset < self.flash.size()).then_some(offset)
    }

    /// Bytes that came in for COM1 (0) or COM2 (1). Answers how many were taken; the rest must be
    /// offered again after the guest has read some.
    pub fn serial_input(&mut self, port: usize, bytes: &[u8]) -> usize {
        match self.uarts.get_mut(port) {
            Some(uart) => uart.receive(bytes, &mut self.interrupts),
            None => bytes.len(),
        }
    }

    /// A key was pressed or released, as [`crate::Chipset::key`] has it, on the keyboard that the firmware has;
    /// the operating system's is on VMBus.
    pub fn key(&mut self, code: u8, extended: bool, pressed: bool) {
        if let Some(firmware) = &mut self.firmware {
            let interrupts = &mut self.interrupts;
            firmware.i8042.key(code, extended, pressed, interrupts);
        }
    }

    /// A frame from the network for the firmware's card, from its Ethernet header on, without checksum at its end.
    pub fn receive_frame(&mut self, frame: &[u8], memory: &dyn GuestMemory) -> Reception {
        let firmware = self.firmware.as_mut();
        let network = firmware.and_then(|firmware| firmware.network.as_mut());
        network.map_or(Reception::Unwanted, |card| card.receive(frame, memory))
    }

    /// The response to a command of the TPM's.
    pub fn respond_tpm(&mut self, number: u64, response: &[u8]) {
        if let Some(tpm) = &mut self.tpm {
            tpm.respond(number, response);
        }
    }

    /// A person presses the power button. Answers whether an operating system listens to it.
    pub fn press_power_button(&mut self) -> bool {
        self.acpi_pm.press_power_button(&mut self.interrupts);
        self.acpi_pm.power_button_enabled()
    }

    /// What the screen shows, once the firmware has turned it on.
    pub fn picture(&self) -> Option<Picture> {
        match self.mode {
            None => self.screen.picture(),
            Some(mode) => self.screen.linear_picture(mode?),
        }
    }

    /// The driver of the screen maps its memory here. Answers whether it can be there.
    pub fn place_screen(&mut self, gpa: u64) -> bool {
        let free = layout::holds_screen(self.memory_size, (gpa, self.screen.memory_bytes()));
        if free && self.frame_buffer != Some(gpa) {
            self.frame_buffer = Some(gpa);
            self.outputs.layout_changed = true;
        }
        free
    }

    /// The driver of the screen has set a mode, or turned the screen off.
    pub fn set_screen_mode(&mut self, mode: Option<LinearMode>) {
        self.mode = Some(mode);
    }

    /// Each device's state in words, by its name.
    pub fn inspect(&self) -> Vec<(&'static str, String)> {
        let [com1, com2] = self.uarts.each_ref().map(|uart| uart.inspect());
        let who = match self.firmware {
            Some(_) => "the firmware's devices are there",
            None => "the operating system's alone",
        };
        let tpm = self.tpm.iter().map(|tpm| ("tpm", tpm.inspect()));
        let mut devices = vec![
            ("machine", who.into()),
            ("ioapic", format!("{:?}", self.interrupts.ioapic)),
            ("rtc", format!("{:?}", self.rtc)),
            ("com1", com1),
            ("com2", com2),
            ("acpi_pm", format!("{:?}", self.acpi_pm)),
            ("variables", format!("{:?}", self.flash)),
            ("screen", self.screen.inspect()),
        ];
        devices.extend(tpm);
        devices
    }

    /// Time never runs backwards, whatever the callers' clocks say.
    fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }
}

/// Everything that the firmware fetches by name.
fn firmware_files(config: &Config, memory: MemorySize) -> FwCfg {
    let mut files = acpi::generation_2::files(acpi::Machine {
        processor_count: config.processor_count,
        low_memory_end: memory.low,
        high_memory_end: memory.high_end(),
        generation_id: config.generation_id,
        tpm: config.tpm.is_some(),
        hibernation: config.hibernation,
    });
    files.extend(smbios::files(smbios::Machine {
        generation: smbios::Generation::Two,
        processor_count: config.processor_count,
        memory_bytes: [memory.low, memory.high],
        guid: config.guid,
    }));
    files.insert("etc/e820".into(), e820(memory));
    let disks = &config.disks[..config.disks.len().min(MOST_DISKS)];
    let order = firmware_devices::boot_order(disks, &config.boot_order);
    files.insert("bootorder".into(), order);
    FwCfg::new(files)
}
