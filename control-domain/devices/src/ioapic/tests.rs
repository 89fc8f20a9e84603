use super::*;

fn program(apic: &mut IoApic, pin: u8, entry: u64) -> Vec<Message> {
    let mut messages = Vec::new();
    apic.write(0, (0x11 + 2 * pin).into(), &mut messages);
    apic.write(0x10, (entry >> 32) as u32, &mut messages);
    apic.write(0, (0x10 + 2 * pin).into(), &mut messages);
    apic.write(0x10, entry as u32, &mut messages);
    messages
}

fn line(apic: &mut IoApic, pin: u8, asserted: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    apic.set_line(pin, asserted, &mut messages);
    messages
}

#[test]
fn version_and_entries_read_back() {
    let mut apic = IoApic::default();
    apic.write(0, 1, &mut Vec::new());
    assert_eq!(apic.read(0x10), 0x0017_0011);
    program(&mut apic, 23, 0x0300_0000_0000_5931);
    assert_eq!(
        apic.read(0x10),
        0x0000_0931,
        "delivery status and remote IRR are read only"
    );
    apic.write(0, 0x3f, &mut Vec::new());
    assert_eq!(apic.read(0x10), 0x0300_0000);
    apic.write(0, 0x40, &mut Vec::new());
    assert_eq!(apic.read(0x10), 0);
}

#[test]
fn edge_delivers_once_per_rise_and_not_while_masked() {
    let mut apic = IoApic::default();
    program(&mut apic, 4, 0x0100_0000_0000_0034);
    assert_eq!(
        line(&mut apic, 4, true),
        [Message {
            address: 0xfee0_1000,
            data: 0x4034
        }]
    );
    assert_eq!(line(&mut apic, 4, true), []);
    line(&mut apic, 4, false);
    program(&mut apic, 4, 0x0100_0000_0001_0034);
    assert_eq!(line(&mut apic, 4, true), []);
    assert_eq!(program(&mut apic, 4, 0x0100_0000_0000_0034), []);
}

#[test]
fn level_waits_for_end_of_interrupt() {
    let mut apic = IoApic::default();
    let message = Message {
        address: 0xfee0_0000 | 0xff << 12 | 1 << 2 | 1 << 3,
        data: 0xc141,
    };
    program(&mut apic, 11, 0xff00_0000_0000_8941);
    assert_eq!(line(&mut apic, 11, true), [message]);
    line(&mut apic, 11, false);
    assert_eq!(line(&mut apic, 11, true), [], "remote IRR is set");
    let mut messages = Vec::new();
    apic.end_of_interrupt(0x40, &mut messages);
    assert_eq!(messages, []);
    apic.end_of_interrupt(0x41, &mut messages);
    assert_eq!(messages, [message], "the line is still up");
    line(&mut apic, 11, false);
    messages.clear();
    apic.end_of_interrupt(0x41, &mut messages);
    assert_eq!(messages, []);
}

#[test]
fn unmasking_a_raised_level_delivers() {
    let mut apic = IoApic::default();
    line(&mut apic, 9, true);
    assert_eq!(
        program(&mut apic, 9, 0x8030),
        [Message {
            address: 0xfee0_0000,
            data: 0xc030
        }]
    );
    assert_eq!(
        program(&mut apic, 9, 0x0030),
        [],
        "edge mode clears remote IRR"
    );
    assert_eq!(program(&mut apic, 9, 0x8030).len(), 1);
}
