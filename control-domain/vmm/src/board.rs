//! What answers where no memory is: the chipset of a machine, or the few ports of a test payload.

use crate::keyboard::Key;
use crate::memory::BusMemory;
use devices::{Disc, LinearMode, Outputs, Picture, Reception, Region};

/// Everything outside the processors and the memory. Calls are made under one lock; none blocks
/// for long except for a disk.
pub trait Board: Send {
    /// `IN` of 1, 2 or 4 bytes.
    fn port_read(&mut self, port: u16, size: u8, now_ns: u64, memory: &BusMemory) -> u32;
    /// `OUT` of 1, 2 or 4 bytes.
    fn port_write(&mut self, port: u16, size: u8, value: u32, now_ns: u64, memory: &BusMemory);
    /// `INS`: elements of `size` bytes, one after the other. Answers whether it did that.
    fn port_read_run(
        &mut self,
        _port: u16,
        _size: u8,
        _data: &mut [u8],
        _now_ns: u64,
        _memory: &BusMemory,
    ) -> bool {
        false
    }
    /// `OUTS`: the same the other way.
    fn port_write_run(
        &mut self,
        _port: u16,
        _size: u8,
        _data: &[u8],
        _now_ns: u64,
        _memory: &BusMemory,
    ) -> bool {
        false
    }
    /// A read of 1 to 8 bytes where nothing is mapped.
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64);
    /// A write of 1 to 8 bytes where nothing writable is mapped.
    fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64, memory: &BusMemory);
    /// The local APICs ended a level-triggered interrupt.
    fn end_of_interrupt(&mut self, vector: u8);
    /// The line from the 8259s.
    fn interrupt_pending(&self) -> bool;
    /// The bootstrap processor takes the interrupt of the 8259s.
    fn acknowledge_interrupt(&mut self) -> u8;
    /// Lets time pass.
    fn advance(&mut self, now_ns: u64);
    /// When `advance` must be called next.
    fn next_deadline_ns(&self) -> Option<u64>;
    /// Whether something became due since the last time.
    fn has_outputs(&self) -> bool;
    /// What became due since the last time.
    fn take_outputs(&mut self) -> Outputs;
    /// Nothing to do after a use of the board: no output, the line from the 8259s as told, and
    /// nothing due before `timer_ns`.
    fn is_settled(&self, line: bool, timer_ns: Option<u64>) -> bool {
        !self.has_outputs()
            && self.interrupt_pending() == line
            && !is_before(self.next_deadline_ns(), timer_ns)
    }
    /// Frequency of the local APICs' timers before their dividers: the one Hyper-V's guests see, unless the
    /// board's firmware expects another one. Guests are told.
    fn apic_hz(&self) -> u64 {
        200_000_000
    }
    /// What lies where now.
    fn memory_layout(&self) -> Vec<Region>;
    /// Bytes for COM1 (0) or COM2 (1). Answers how many it took; the rest must be offered again.
    fn receive(&mut self, port: usize, bytes: &[u8]) -> usize {
        let _ = port;
        bytes.len()
    }
    /// The rows of the text screen, where there is one.
    fn text_screen(&self) -> Option<Vec<String>> {
        None
    }
    /// What the screen shows, where there is one that is on.
    fn picture(&self) -> Option<Picture> {
        None
    }
    /// The guest's driver of the screen wants its memory at `gpa`. Answers whether it can be there.
    fn place_screen(&mut self, gpa: u64) -> bool {
        let _ = gpa;
        false
    }
    /// The guest's driver of the screen has set a mode, or turned the screen off.
    fn set_screen_mode(&mut self, mode: Option<LinearMode>) {
        let _ = mode;
    }
    /// The state of the devices in words, by name.
    fn inspect(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// Puts another disc into the DVD drive at an IDE location, or none. `false`: there is no such drive.
    fn insert_disc(&mut self, location: usize, disc: Option<Disc>) -> bool {
        drop(disc);
        let _ = location;
        false
    }
    /// A frame from the network for a card of the chipset.
    fn receive_frame(&mut self, card: usize, frame: &[u8], memory: &BusMemory) -> Reception {
        let _ = (card, frame, memory);
        Reception::Unwanted
    }
    /// The TPM's answer to a command, where there is one.
    fn respond_tpm(&mut self, number: u64, response: &[u8]) {
        let _ = (number, response);
    }
    /// A key was pressed and released.
    fn press(&mut self, key: Key) {
        let _ = key;
    }
    /// The person, or the control domain, wants the guest to shut down. Answers whether it listens.
    fn press_power_button(&mut self) -> bool {
        false
    }
    /// The processor and the SINT at which messages and events for a connection arrive that the
    /// board sends back; nothing for a connection that does not exist.
    fn echo(&self, connection: u32) -> Option<(u32, u32)> {
        let _ = connection;
        None
    }
    /// What the machine says about its end, when it powered off.
    fn exit_code(&self) -> u8 {
        0
    }
}

/// Is the one time before the other? `None` is never.
pub fn is_before(one: Option<u64>, other: Option<u64>) -> bool {
    one.is_some_and(|one| other.is_none_or(|other| one < other))
}
