//! The chipset of a Generation 2 machine as its board.

use crate::board::Board;
use crate::keyboard::Key;
use crate::memory::BusMemory;
use devices::generation_2::Chipset;
use devices::{LinearMode, Outputs, Picture, Reception, Region};

impl Board for Chipset {
    fn port_read(&mut self, port: u16, size: u8, now_ns: u64, _: &BusMemory) -> u32 {
        Chipset::port_read(self, port, size, now_ns)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32, now_ns: u64, memory: &BusMemory) {
        Chipset::port_write(self, port, size, value, now_ns, memory);
    }

    fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64) {
        Chipset::mmio_read(self, gpa, data, now_ns);
    }

    fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64, _: &BusMemory) {
        Chipset::mmio_write(self, gpa, data, now_ns);
    }

    fn respond_tpm(&mut self, number: u64, response: &[u8]) {
        Chipset::respond_tpm(self, number, response);
    }

    fn end_of_interrupt(&mut self, vector: u8) {
        Chipset::end_of_interrupt(self, vector);
    }

    fn interrupt_pending(&self) -> bool {
        Chipset::interrupt_pending(self)
    }

    fn acknowledge_interrupt(&mut self) -> u8 {
        Chipset::acknowledge_interrupt(self)
    }

    fn advance(&mut self, now_ns: u64) {
        Chipset::advance(self, now_ns);
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        Chipset::next_deadline_ns(self)
    }

    fn has_outputs(&self) -> bool {
        Chipset::has_outputs(self)
    }

    fn take_outputs(&mut self) -> Outputs {
        Chipset::take_outputs(self)
    }

    /// OVMF takes it for granted (its `PcdFSBClock`).
    fn apic_hz(&self) -> u64 {
        1_000_000_000
    }

    fn memory_layout(&self) -> Vec<Region> {
        Chipset::memory_layout(self)
    }

    fn press_power_button(&mut self) -> bool {
        Chipset::press_power_button(self)
    }

    fn receive(&mut self, port: usize, bytes: &[u8]) -> usize {
        self.serial_input(port, bytes)
    }

    fn picture(&self) -> Option<Picture> {
        Chipset::picture(self)
    }

    fn receive_frame(&mut self, _: usize, frame: &[u8], memory: &BusMemory) -> Reception {
        Chipset::receive_frame(self, frame, memory)
    }

    fn press(&mut self, key: Key) {
        for stroke in key.strokes() {
            self.key(stroke.code, stroke.extended, stroke.down);
        }
    }

    fn place_screen(&mut self, gpa: u64) -> bool {
        Chipset::place_screen(self, gpa)
    }

    fn set_screen_mode(&mut self, mode: Option<LinearMode>) {
        Chipset::set_screen_mode(self, mode);
    }

    fn inspect(&self) -> Vec<(&'static str, String)> {
        Chipset::inspect(self)
    }
}
