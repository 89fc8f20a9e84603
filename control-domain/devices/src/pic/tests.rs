use super::*;

/// As PC firmware does it: vectors 08h and 70h, everything unmasked.
fn initialized() -> Pic {
    let mut pic = Pic::default();
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x08),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x70),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x21, 0),
        (0xa1, 0),
    ] {
        pic.write(port, value);
    }
    pic
}

#[test]
fn higher_priority_wins_and_blocks_lower_until_end_of_interrupt() {
    let mut pic = initialized();
    pic.set_line(4, true);
    pic.set_line(1, true);
    assert_eq!(pic.acknowledge(), 0x09);
    assert!(!pic.output(), "IRQ 4 waits for the end of IRQ 1");
    pic.write(0x20, 0x20);
    assert!(pic.output());
    assert_eq!(pic.acknowledge(), 0x0c);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 0x10, "in-service register");
}

#[test]
fn slave_interrupts_pass_through_the_cascade() {
    let mut pic = initialized();
    pic.set_line(14, true);
    pic.set_line(8, true);
    assert_eq!(pic.acknowledge(), 0x70);
    assert!(!pic.output());
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x76);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert!(!pic.output());
}

#[test]
fn edge_fires_once_and_level_until_it_falls() {
    let mut pic = initialized();
    pic.set_line(4, true);
    pic.acknowledge();
    pic.write(0x20, 0x20);
    assert!(!pic.output(), "no new edge");

    pic.write(0x4d1, 0xff);
    assert_eq!(pic.read(0x4d1), 0xde);
    pic.set_line(11, true);
    assert_eq!(pic.acknowledge(), 0x73);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert!(pic.output(), "still up");
    pic.set_line(11, false);
    assert!(!pic.output());
}

#[test]
fn vanished_request_is_spurious() {
    let mut pic = initialized();
    pic.set_line(3, true);
    pic.set_line(3, false);
    assert!(!pic.output());
    assert_eq!(pic.acknowledge(), 0x0f);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 0, "input 7 is not in service");
}

#[test]
fn masked_input_keeps_its_request() {
    let mut pic = initialized();
    pic.write(0x21, 0x10);
    pic.set_line(4, true);
    assert!(!pic.output());
    pic.write(0x20, 0x0a);
    assert_eq!(pic.read(0x20), 0x10);
    pic.write(0x21, 0);
    assert!(pic.output());
}

#[test]
fn automatic_end_of_interrupt_and_rotation() {
    let mut pic = initialized();
    for (port, value) in [(0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x03)] {
        pic.write(port, value);
    }
    pic.set_line(1, true);
    assert_eq!(pic.acknowledge(), 0x09);
    pic.set_line(6, true);
    assert_eq!(pic.acknowledge(), 0x0e, "nothing stays in service");

    let mut pic = initialized();
    pic.set_line(1, true);
    pic.acknowledge();
    pic.write(0x20, 0xa0);
    pic.set_line(1, false);
    pic.set_line(1, true);
    pic.set_line(3, true);
    assert_eq!(
        pic.acknowledge(),
        0x0b,
        "IRQ 1 rotated to the lowest priority"
    );
}

#[test]
fn poll_acknowledges() {
    let mut pic = initialized();
    pic.set_line(5, true);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0x85);
    assert!(!pic.output());
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0);
}

#[test]
fn special_mask_mode_lets_lower_requests_through() {
    let mut pic = initialized();
    pic.set_line(1, true);
    pic.acknowledge();
    pic.set_line(4, true);
    pic.write(0x21, 0x02);
    assert!(!pic.output());
    pic.write(0x20, 0x68);
    assert!(pic.output());
    assert_eq!(pic.acknowledge(), 0x0c);
}
