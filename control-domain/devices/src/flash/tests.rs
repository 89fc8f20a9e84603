use super::*;
use std::sync::{Arc, Mutex};

struct Cells {
    now: Vec<u8>,
    /// What a power cut would leave.
    durable: Vec<u8>,
    /// Whether they can be made durable.
    works: bool,
}

#[derive(Clone)]
struct Chip(Arc<Mutex<Cells>>);

impl Chip {
    fn new() -> Self {
        let bytes = vec![ERASED; 3 * BLOCK_BYTES as usize];
        Chip(Arc::new(Mutex::new(Cells {
            now: bytes.clone(),
            durable: bytes,
            works: true,
        })))
    }

    fn durable(&self, offset: usize) -> u8 {
        self.0.lock().expect("a chip").durable[offset]
    }

    fn break_down(&self) {
        self.0.lock().expect("a chip").works = false;
    }
}

impl FlashMemory for Chip {
    fn size(&self) -> u32 {
        3 * BLOCK_BYTES
    }

    fn read(&self, offset: u32, data: &mut [u8]) {
        let start = offset as usize;
        data.copy_from_slice(&self.0.lock().expect("a chip").now[start..start + data.len()]);
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        let start = offset as usize;
        self.0.lock().expect("a chip").now[start..start + data.len()].copy_from_slice(data);
    }

    fn flush(&mut self) -> bool {
        let cells = &mut *self.0.lock().expect("a chip");
        cells.durable.clone_from(&cells.now);
        cells.works
    }
}

fn byte(flash: &Flash, offset: u32) -> u8 {
    let mut byte = [0];
    flash.read(offset, &mut byte);
    byte[0]
}

fn program(flash: &mut Flash, offset: u32, data: &[u8]) {
    for (offset, byte) in (offset..).zip(data) {
        flash.write(offset, &[PROGRAM_ALTERNATE]);
        flash.write(offset, &[*byte]);
    }
}

#[test]
fn stock_firmware_finds_a_flash_that_it_can_write() {
    let chip = Chip::new();
    let mut flash = Flash::new(Box::new(chip.clone()));
    program(&mut flash, 0, &[0x5a]);
    flash.write(0, &[0xff]);
    // As OVMF probes: neither memory nor ROM.
    flash.write(0, &[CLEAR_STATUS]);
    assert_eq!(byte(&flash, 0), 0x5a);
    flash.write(0, &[READ_STATUS]);
    assert!(!flash.is_mapped());
    assert_eq!(byte(&flash, 0), 0);
    program(&mut flash, 0, &[0x5a]);
    flash.write(0, &[READ_STATUS]);
    assert_eq!(byte(&flash, 0), READY);
    flash.write(0, &[0xff]);
    assert!(flash.is_mapped());
    assert_eq!(byte(&flash, 0), 0x5a);
}

#[test]
fn programming_clears_bits_and_erasure_sets_those_of_one_block() {
    let mut flash = Flash::new(Box::new(Chip::new()));
    for offset in [BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES] {
        program(&mut flash, offset, &[0x0f]);
        flash.write(offset, &[PROGRAM]);
        flash.write(offset, &[0xf3]);
    }
    flash.write(BLOCK_BYTES + 5, &[ERASE]);
    flash.write(BLOCK_BYTES + 5, &[ERASE_CONFIRM]);
    assert_eq!(byte(&flash, 0), READY, "the status, until it is told to");
    flash.write(7, &[0xff]);
    let seen = [BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES].map(|at| byte(&flash, at));
    assert_eq!(seen, [0x03, ERASED, 0x03]);
}

#[test]
fn bad_commands_change_nothing() {
    let chip = Chip::new();
    let mut flash = Flash::new(Box::new(chip.clone()));
    program(&mut flash, 9, &[0x42]);
    flash.write(9, &[ERASE]);
    flash.write(9, &[0x00]);
    assert_eq!(byte(&flash, 9), READY | ERASE_FAILED | PROGRAM_FAILED);
    flash.write(9, &[CLEAR_STATUS]);
    for unknown in [0x00, 0x01, 0x60, 0x90, 0x98, 0xb0, 0xc0, 0xd0, 0xe8] {
        flash.write(9, &[unknown]);
        assert!(flash.is_mapped(), "{unknown:#x}");
        assert_eq!(byte(&flash, 9), 0x42, "{unknown:#x}");
    }
    // At and behind the end.
    program(&mut flash, 3 * BLOCK_BYTES - 1, &[1]);
    flash.write(3 * BLOCK_BYTES - 1, &[0xff, ERASE, ERASE_CONFIRM]);
    flash.write(3 * BLOCK_BYTES, &[ERASE]);
    flash.write(u32::MAX, &[ERASE, ERASE]);
    let mut bytes = [0; 4];
    flash.read(3 * BLOCK_BYTES - 1, &mut bytes);
    assert_eq!(bytes, [1, ERASED, ERASED, ERASED]);
    flash.read(u32::MAX, &mut bytes);
    assert_eq!(bytes, [ERASED; 4]);
}

#[test]
fn wide_writes_are_a_cycle_for_each_byte() {
    let mut flash = Flash::new(Box::new(Chip::new()));
    flash.write(0, &[PROGRAM, 0x12, PROGRAM, 0x34]);
    let mut bytes = [0; 4];
    flash.read(0, &mut bytes);
    assert_eq!(bytes, [READY; 4]);
    flash.write(0, &[0xff]);
    flash.read(0, &mut bytes);
    assert_eq!(bytes, [ERASED, 0x12, ERASED, 0x34]);
}

#[test]
fn a_piece_is_durable_when_the_next_command_follows_it() {
    let chip = Chip::new();
    let mut flash = Flash::new(Box::new(chip.clone()));
    program(&mut flash, 0, &[1, 2]);
    assert_eq!(chip.durable(0), ERASED, "power off here loses the piece");
    flash.write(1, &[0xff]);
    assert_eq!((chip.durable(0), chip.durable(1)), (1, 2));
    program(&mut flash, 2, &[3]);
    flash.write(BLOCK_BYTES, &[ERASE]);
    assert_eq!(chip.durable(2), 3, "before the block is erased");
    flash.write(0, &[ERASE_CONFIRM]);
    assert_eq!(chip.durable(0), ERASED, "without a further command");
    program(&mut flash, 5, &[7]);
    drop(flash);
    assert_eq!(chip.durable(5), 7);
}

#[test]
fn a_file_that_fails_shows_in_the_status() {
    let chip = Chip::new();
    let mut flash = Flash::new(Box::new(chip.clone()));
    chip.break_down();
    program(&mut flash, 0, &[1]);
    flash.write(0, &[READ_STATUS]);
    assert_eq!(byte(&flash, 0), READY | PROGRAM_FAILED);
    flash.write(0, &[ERASE]);
    flash.write(0, &[ERASE_CONFIRM]);
    assert_eq!(byte(&flash, 0), READY | PROGRAM_FAILED | ERASE_FAILED);
}
