use super::*;
use crate::test_memory::Ram;

/// Programs channel 2: `count` is one less than the bytes.
fn program(dma: &mut Dma, mode: u8, page: u8, address: u16, count: u16) {
    dma.write(0x0c, 0);
    for value in address.to_le_bytes() {
        dma.write(4, value);
    }
    for value in count.to_le_bytes() {
        dma.write(5, value);
    }
    dma.write(0x81, page);
    dma.write(0x0b, mode | 2);
    dma.write(0x0a, 2);
}

#[test]
fn bytes_go_where_page_and_address_say_until_the_count_runs_out() {
    let (mut dma, ram) = (Dma::default(), Ram::new(0x4_0000));
    program(&mut dma, 0x44, 2, 0xfffe, 3);
    let moved = dma.transfer(2, Data::ToMemory(&[1, 2, 3, 4, 5, 6]), &ram);
    assert_eq!((moved.bytes, moved.terminal_count), (4, true));
    assert_eq!(ram.bytes(0x2_fffe, 2), [1, 2]);
    assert_eq!(ram.bytes(0x2_0000, 2), [3, 4], "the page doesn't carry");
    assert_eq!(dma.read(8), 4, "count ran out on channel 2");
    assert_eq!(dma.read(8), 0, "told once");
    let again = dma.transfer(2, Data::ToMemory(&[9]), &ram);
    assert_eq!(again.bytes, 0, "masked by its end");
}

#[test]
fn automatic_channels_start_over() {
    let (mut dma, ram) = (Dma::default(), Ram::new(0x1_0000));
    program(&mut dma, 0x54, 0, 0x10, 1);
    for round in 0..3 {
        let moved = dma.transfer(2, Data::ToMemory(&[round, round + 1]), &ram);
        assert_eq!((moved.bytes, moved.terminal_count), (2, true));
        assert_eq!(ram.bytes(0x10, 2), [round, round + 1]);
    }
}

#[test]
fn direction_and_mask_are_minded() {
    let (mut dma, ram) = (Dma::default(), Ram::new(0x1_0000));
    ram.write(0x20, &[7, 8, 9]).unwrap();
    program(&mut dma, 0x48, 0, 0x20, 9);
    assert_eq!(dma.transfer(2, Data::ToMemory(&[1]), &ram).bytes, 0);
    let mut data = [0; 3];
    assert_eq!(dma.transfer(2, Data::FromMemory(&mut data), &ram).bytes, 3);
    assert_eq!(data, [7, 8, 9]);
    dma.write(0x0c, 0);
    assert_eq!((dma.read(4), dma.read(4)), (0x23, 0), "current address");
    assert_eq!((dma.read(5), dma.read(5)), (6, 0), "current count");
    dma.write(0x0a, 6);
    assert_eq!(dma.transfer(2, Data::FromMemory(&mut data), &ram).bytes, 0);
    dma.write(0x0a, 2);
    dma.write(8, COMMAND_DISABLE);
    assert_eq!(dma.transfer(2, Data::FromMemory(&mut data), &ram).bytes, 0);
}

#[test]
fn second_controller_moves_words() {
    let (mut dma, ram) = (Dma::default(), Ram::new(0x4_0000));
    dma.write(0xd8, 0);
    for value in 0x8001u16.to_le_bytes() {
        dma.write(0xc4, value);
    }
    for value in [1, 0] {
        dma.write(0xc6, value);
    }
    dma.write(0x8b, 3);
    dma.write(0xd6, 0x45);
    dma.write(0xd4, 1);
    let moved = dma.transfer(5, Data::ToMemory(&[1, 2, 3, 4, 5]), &ram);
    assert_eq!((moved.bytes, moved.terminal_count), (4, true));
    // Bit 0 of the page is not wired for words.
    assert_eq!(ram.bytes(0x3_0002, 4), [1, 2, 3, 4]);
}

#[test]
fn memory_that_is_not_there_reads_as_ones() {
    let (mut dma, ram) = (Dma::default(), Ram::new(0x1000));
    program(&mut dma, 0x48, 0xff, 0, 1);
    let mut data = [0; 2];
    assert_eq!(dma.transfer(2, Data::FromMemory(&mut data), &ram).bytes, 2);
    assert_eq!(data, [0xff, 0xff]);
}
