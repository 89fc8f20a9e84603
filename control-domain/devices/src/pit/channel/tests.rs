use super::*;

fn loaded(control: u8, count: u16) -> Channel {
    let mut channel = Channel::default();
    channel.set_gate(true, 0);
    channel.set_mode(control);
    channel.write(count as u8, 0);
    channel.write((count >> 8) as u8, 0);
    channel
}

#[test]
fn new_count_waits_for_the_end_of_the_period() {
    let mut channel = loaded(0x34, 100);
    channel.write(50, 30);
    channel.write(0, 30);
    assert_eq!(channel.next_rise(30), Some(100));
    assert_eq!(channel.next_rise(100), Some(150));
    assert_eq!(channel.next_rise(160), Some(200));
}

#[test]
fn gate_suspends_mode_0_and_restarts_mode_2() {
    let mut channel = loaded(0x30, 100);
    channel.set_gate(false, 40);
    assert_eq!(channel.count(90), 60);
    channel.set_gate(true, 90);
    assert_eq!(channel.next_rise(90), Some(150));

    let mut channel = loaded(0x34, 100);
    channel.set_gate(false, 40);
    assert!(channel.output(99));
    channel.set_gate(true, 90);
    assert_eq!(channel.next_rise(90), Some(190));
}

#[test]
fn hardware_one_shot_is_triggered_by_the_gate() {
    let mut channel = Channel::default();
    channel.set_mode(0x32);
    channel.write(10, 0);
    channel.write(0, 0);
    assert!(channel.output(5));
    channel.set_gate(true, 20);
    assert!(!channel.output(25));
    assert!(channel.output(30));
}

#[test]
fn decimal_counting() {
    let mut channel = loaded(0x31, 0x1000);
    assert_eq!(channel.count(1), 0x0999);
    assert_eq!(channel.next_rise(1), Some(1000));
}

#[test]
fn one_shot_counts_on_below_zero() {
    let channel = loaded(0x30, 10);
    assert_eq!(channel.count(11), 0xffff);
}

#[test]
fn single_byte_access() {
    let mut channel = Channel::default();
    channel.set_gate(true, 0);
    channel.set_mode(0x14);
    channel.write(0x20, 0);
    assert_eq!(channel.read(0), 0x20);
    assert_eq!(channel.read(1), 0x1f);
}
