//! The chipset of a Generation 1 machine as its board.

use crate::board::Board;
use crate::keyboard::Key;
use crate::memory::BusMemory;
use devices::{Chipset, Disc, Outputs, Picture, Reception, Region};

impl Board for Chipset {
    fn port_read(&mut self, port: u16, size: u8, now_ns: u64, memory: &BusMemory) -> u32 {
        Chipset::port_read(self, port, size, now_ns, memory)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32, now_ns: u64, memory: &BusMemory) {
        Chipset::port_write(self, port, size, value, now_ns, memory);
    }

    fn port_read_run(
        &mut self,
        port: u16,
        size: u8,
        data: &mut [u8],
        now_ns: u64,
        memory: &BusMemory,
    ) -> bool {
        Chipset::port_read_run(self, port, size, data, now_ns, memory)
    }

    fn port_write_run(
        &mut self,
        port: u16,
        size: u8,
        data: &[u8],
        now_ns: u64,
        memory: &BusMemory,
    ) -> bool {
        Chipset::port_write_run(self, port, size, data, now_ns, memory)
    }

    fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64) {
        Chipset::mmio_read(self, gpa, data, now_ns);
    }

    fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64, memory: &BusMemory) {
        Chipset::mmio_write(self, gpa, data, now_ns, memory);
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

    fn memory_layout(&self) -> Vec<Region> {
        Chipset::memory_layout(self)
    }

    fn press_power_button(&mut self) -> bool {
        Chipset::press_power_button(self)
    }

    fn receive(&mut self, port: usize, bytes: &[u8]) -> usize {
        self.serial_input(port, bytes)
    }

    fn text_screen(&self) -> Option<Vec<String>> {
        self.vga().text_lines()
    }

    fn picture(&self) -> Option<Picture> {
        self.vga().picture()
    }

    fn inspect(&self) -> Vec<(&'static str, String)> {
        Chipset::inspect(self)
    }

    fn insert_disc(&mut self, location: usize, disc: Option<Disc>) -> bool {
        Chipset::insert_disc(self, location, disc).is_ok()
    }

    fn receive_frame(&mut self, card: usize, frame: &[u8], memory: &BusMemory) -> Reception {
        Chipset::receive_frame(self, card, frame, memory)
    }

    fn press(&mut self, key: Key) {
        for stroke in key.strokes() {
            self.key(stroke.code, stroke.extended, stroke.down);
        }
    }
}
