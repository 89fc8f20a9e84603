use super::*;

const BYTES: usize = 16 << 20;

fn adapter() -> Vga {
    Vga::new(Box::new(vec![0; BYTES]))
}

fn indexed(vga: &mut Vga, port: u16, values: &[(u8, u8)]) {
    for (index, value) in values {
        vga.write_port(port, *index);
        vga.write_port(port + 1, *value);
    }
}

/// What a BIOS programs for 80 columns and 25 rows, as far as it matters.
fn text_mode(vga: &mut Vga) {
    vga.write_port(0x3c2, 0x67);
    indexed(vga, 0x3c4, &[(1, 0), (2, 3), (4, 2)]);
    indexed(
        vga,
        0x3ce,
        &[
            (0, 0),
            (1, 0),
            (3, 0),
            (4, 0),
            (5, 0x10),
            (6, 0x0e),
            (8, 0xff),
        ],
    );
    indexed(
        vga,
        0x3d4,
        &[
            (1, 79),
            (7, 0x1f),
            (9, 0x4f),
            (0x0c, 0),
            (0x0d, 0),
            (0x12, 0x8f),
            (0x13, 40),
        ],
    );
    vga.read_port(0x3da, 0);
    vga.write_port(0x3c0, 0x30);
    vga.write_port(0x3c0, 0x0c);
    vga.write_port(0x3c0, 0x20);
}

fn write_text(vga: &mut Vga, at: u32, text: &str) {
    for (i, byte) in (0..).zip(text.bytes()) {
        vga.write_memory(0x1_8000 + at + 2 * i, byte);
        vga.write_memory(0x1_8000 + at + 2 * i + 1, 7);
    }
}

#[test]
fn text_is_linear_and_mappable() {
    let mut vga = adapter();
    assert_eq!(vga.text_window(), None);
    text_mode(&mut vga);
    assert!(vga.take_layout_change());
    assert_eq!(
        vga.text_window(),
        Some(TextWindow {
            start: 0xb_8000,
            length: 0x8000,
            offset: 0
        })
    );
    write_text(&mut vga, 160, "hello");
    let mut memory = [0; 4];
    vga.memory.read(160, &mut memory);
    assert_eq!(
        &memory, b"h\x07e\x07",
        "the handler and the mapping see the same bytes"
    );
    assert_eq!(vga.read_memory(0x1_8000 + 162), b'e');
    assert_eq!(vga.read_memory(0x1_8000 + 163), 7);
    let lines = vga.text_lines().expect("a text screen");
    assert_eq!((lines.len(), lines[1].trim_end()), (25, "hello"));
    indexed(&mut vga, 0x3d4, &[(0x0d, 80)]);
    assert_eq!(
        vga.text_lines().expect("a text screen")[0].trim_end(),
        "hello",
        "scrolled"
    );
}

#[test]
fn loading_a_font_leaves_text_alone() {
    let mut vga = adapter();
    text_mode(&mut vga);
    write_text(&mut vga, 0, "kept");
    vga.take_layout_change();
    indexed(&mut vga, 0x3c4, &[(2, 4), (4, 6)]);
    indexed(&mut vga, 0x3ce, &[(4, 2), (5, 0), (6, 4)]);
    assert!(vga.take_layout_change());
    assert_eq!(vga.text_window(), None);
    for offset in 0..0x2000 {
        vga.write_memory(offset, offset as u8);
    }
    assert_eq!(vga.read_memory(0x1234), 0x34);
    text_mode(&mut vga);
    assert!(vga.text_lines().expect("a text screen")[0].starts_with("kept"));
}

#[test]
fn planar_write_modes() {
    let mut vga = adapter();
    vga.write_port(0x3c2, 3);
    indexed(&mut vga, 0x3c4, &[(2, 0x0f), (4, 6)]);
    indexed(
        &mut vga,
        0x3ce,
        &[(0, 0x05), (1, 0x0f), (3, 0), (5, 0), (6, 5), (8, 0xf0)],
    );
    vga.write_memory(100, 0);
    let plane = |vga: &mut Vga, plane: u8| {
        indexed(vga, 0x3ce, &[(4, plane), (5, 0)]);
        vga.read_memory(100)
    };
    let planes: Vec<u8> = (0..4).map(|i| plane(&mut vga, i)).collect();
    assert_eq!(planes, [0xf0, 0, 0xf0, 0], "set/reset under the bit mask");

    indexed(&mut vga, 0x3ce, &[(5, 2), (8, 0x0f)]);
    vga.write_memory(100, 0x0a);
    let planes: Vec<u8> = (0..4).map(|i| plane(&mut vga, i)).collect();
    assert_eq!(planes, [0xf0, 0x0f, 0xf0, 0x0f], "mode 2 over the latches");

    indexed(&mut vga, 0x3ce, &[(5, 1)]);
    vga.write_memory(200, 0x77);
    indexed(&mut vga, 0x3ce, &[(5, 8), (2, 0x05), (7, 0x0f)]);
    assert_eq!(
        vga.read_memory(200),
        0xf0,
        "compare: these four pixels have colour 5"
    );

    indexed(&mut vga, 0x3ce, &[(0, 0x0f), (3, 0x18), (5, 3), (8, 0xff)]);
    vga.read_memory(100);
    vga.write_memory(100, 0x3c);
    assert_eq!(plane(&mut vga, 0), 0xf0 ^ 0x3c, "mode 3 with exclusive or");
}

#[test]
fn mode_13h_is_linear() {
    let mut vga = adapter();
    vga.write_port(0x3c2, 0x63);
    indexed(&mut vga, 0x3c4, &[(2, 0x0f), (4, 0x0e)]);
    indexed(&mut vga, 0x3ce, &[(5, 0x40), (6, 5), (8, 0xff)]);
    for i in 0..8 {
        vga.write_memory(i, i as u8 + 1);
    }
    let mut memory = [0; 8];
    vga.memory.read(0, &mut memory);
    assert_eq!(memory, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(vga.read_memory(5), 6);
}

fn vbe(vga: &mut Vga, index: u16, value: u16) {
    vga.write_vbe(0x1ce, index);
    vga.write_vbe(0x1cf, value);
}

fn vbe_read(vga: &mut Vga, index: u16) -> u16 {
    vga.write_vbe(0x1ce, index);
    vga.read_vbe(0x1cf)
}

#[test]
fn large_mode_with_banks() {
    let mut vga = adapter();
    text_mode(&mut vga);
    vga.memory.write(5000, &[0x55]);
    assert_eq!(
        (vbe_read(&mut vga, 0), vbe_read(&mut vga, 10)),
        (0xb0c5, 256)
    );
    for (index, value) in [(3, 32), (1, 1024), (2, 768), (4, 0x41)] {
        vbe(&mut vga, index, value);
    }
    assert_eq!(vga.text_window(), None);
    assert_eq!(vga.text_lines(), None);
    assert_eq!((vbe_read(&mut vga, 6), vbe_read(&mut vga, 7)), (1024, 4096));
    let mut byte = [1];
    vga.memory.read(5000, &mut byte);
    assert_eq!(byte, [0], "cleared");
    vbe(&mut vga, 1, 800);
    assert_eq!(vbe_read(&mut vga, 1), 1024, "fixed while it is on");
    indexed(&mut vga, 0x3c4, &[(4, 0x0e)]);
    indexed(&mut vga, 0x3ce, &[(6, 5)]);
    vbe(&mut vga, 5, 3);
    vga.write_memory(7, 0xaa);
    vga.memory.read(3 * 65536 + 7, &mut byte);
    assert_eq!(byte, [0xaa]);
    vbe(&mut vga, 5, 256);
    assert_eq!(vbe_read(&mut vga, 5), 3, "behind the memory");
    vbe(&mut vga, 4, 0);
    assert!(vga.take_layout_change() | vga.text_window().is_none());
}

#[test]
fn a_picture_of_what_lies_behind_the_memory_is_black() {
    let mut vga = Vga::new(Box::new(vec![0xff; 1 << 20]));
    for (index, value) in [(3, 32), (1, 8), (2, 1), (4, 0xc1), (6, 0xfff8)] {
        vbe(&mut vga, index, value);
    }
    assert_eq!(vga.picture().unwrap().rgb, [0xff; 24]);
    for offset in [8, 9] {
        vbe(&mut vga, offset, 0xffff);
    }
    assert_eq!(vga.picture().unwrap().rgb, [0; 24]);
}

#[test]
fn capabilities_and_impossible_modes() {
    let mut vga = Vga::new(Box::new(vec![0; 1 << 20]));
    vbe(&mut vga, 4, 2);
    assert_eq!(
        [1, 2, 3].map(|index| vbe_read(&mut vga, index)),
        [2560, 1600, 32]
    );
    vbe(&mut vga, 4, 0);
    for (index, value) in [(3, 32), (1, 1024), (2, 768), (4, 1)] {
        vbe(&mut vga, index, value);
    }
    assert_eq!(vbe_read(&mut vga, 4), 0);
}

#[test]
fn palette_steps_through_its_components() {
    let mut vga = adapter();
    vga.write_port(0x3c8, 7);
    for value in [1, 2, 0xff, 4] {
        vga.write_port(0x3c9, value);
    }
    vga.write_port(0x3c7, 7);
    let read: Vec<u8> = (0..4).map(|_| vga.read_port(0x3c9, 0)).collect();
    assert_eq!(read, [1, 2, 0x3f, 4]);
}

#[test]
fn protected_crtc_registers_and_monochrome_ports() {
    let mut vga = adapter();
    vga.write_port(0x3c2, 1);
    indexed(
        &mut vga,
        0x3d4,
        &[(1, 79), (0x11, 0x80), (1, 39), (7, 0xff)],
    );
    vga.write_port(0x3d4, 1);
    assert_eq!(vga.read_port(0x3d5, 0), 79);
    vga.write_port(0x3d4, 7);
    assert_eq!(vga.read_port(0x3d5, 0), 0x10);
    assert_eq!(vga.read_port(0x3b5, 0), 0xff);
    vga.write_port(0x3c2, 0);
    assert_eq!(vga.read_port(0x3b5, 0), 0x10);
}

#[test]
fn retrace_comes_and_goes() {
    let mut vga = adapter();
    vga.write_port(0x3c2, 1);
    assert_eq!(vga.read_port(0x3da, 0) & 9, 0);
    assert_eq!(vga.read_port(0x3da, 30_000) & 9, 1);
    assert_eq!(vga.read_port(0x3da, 13_000_000) & 9, 9);
}

#[test]
fn any_access_is_survived() {
    let mut vga = Vga::new(Box::new(vec![0; 512 << 10]));
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..100_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let value = (seed >> 40) as u16;
        match seed >> 61 {
            0..=2 => vga.write_port(0x3b0 + (seed as u16 % 0x30), value as u8),
            3 => {
                vga.read_port(0x3b0 + (seed as u16 % 0x30), seed);
            }
            4 => vga.write_memory(seed as u32 % 0x2_0000, value as u8),
            5 => {
                vga.read_memory(seed as u32 % 0x2_0000);
            }
            6 => vbe(&mut vga, seed as u16 % 12, value % 3000),
            _ => {
                vga.text_lines();
            }
        }
    }
}

#[test]
fn a_picture_shows_text_in_the_font_that_the_guest_has_loaded() {
    let mut vga = adapter();
    text_mode(&mut vga);
    // Nine dots a cell, no cursor, colour 7 of the attribute controller is colour 2 of the palette: blue.
    indexed(&mut vga, 0x3d4, &[(0x0a, 0x20), (0x12, 0x8f)]);
    vga.write_port(0x3c8, 2);
    for value in [0, 0, 63] {
        vga.write_port(0x3c9, value);
    }
    vga.write_port(0x3c6, 0xff);
    vga.read_port(0x3da, 0);
    vga.write_port(0x3c0, 7);
    vga.write_port(0x3c0, 2);
    vga.write_port(0x3c0, 0x20);
    write_text(&mut vga, 0, "A");
    // The font, as BIOSes write it: plane 2, straight addresses.
    indexed(&mut vga, 0x3c4, &[(2, 4), (4, 6)]);
    indexed(&mut vga, 0x3ce, &[(5, 0), (6, 4)]);
    vga.write_memory(u32::from(b'A') * 32 + 1, 0b1000_0001);
    indexed(&mut vga, 0x3c4, &[(2, 3), (4, 2)]);
    indexed(&mut vga, 0x3ce, &[(5, 0x10), (6, 0x0e)]);
    let picture = vga.picture().expect("text");
    assert_eq!((picture.width, picture.height), (720, 400));
    let pixel = |x: usize, y: usize| &picture.rgb[(y * 720 + x) * 3..][..3];
    for (x, y) in [(0, 1), (7, 1)] {
        assert_eq!(pixel(x, y), [0, 0, 255], "{x} {y}");
    }
    for (x, y) in [(1, 1), (8, 1), (0, 0), (9, 1)] {
        assert_eq!(pixel(x, y), [0, 0, 0], "{x} {y}");
    }
}
