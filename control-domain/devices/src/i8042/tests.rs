use super::*;

#[derive(Default)]
struct Bench {
    controller: I8042,
    interrupts: Interrupts,
    outputs: Outputs,
}

impl Bench {
    fn command(&mut self, value: u8) {
        self.controller
            .write(0x64, value, &mut self.interrupts, &mut self.outputs);
    }

    fn data(&mut self, value: u8) {
        self.controller
            .write(0x60, value, &mut self.interrupts, &mut self.outputs);
    }

    fn status(&mut self) -> u8 {
        self.controller.read(0x64, &mut self.interrupts)
    }

    /// Everything that waits, as (byte, from the mouse).
    fn drain(&mut self) -> Vec<(u8, bool)> {
        let mut bytes = Vec::new();
        loop {
            let status = self.status();
            if status & STATUS_OUTPUT_FULL == 0 {
                return bytes;
            }
            let byte = self.controller.read(0x60, &mut self.interrupts);
            bytes.push((byte, status & STATUS_FROM_MOUSE != 0));
        }
    }

    fn keyboard(&mut self, value: u8) -> Vec<u8> {
        self.data(value);
        self.drain()
            .into_iter()
            .filter(|(_, mouse)| !mouse)
            .map(|(byte, _)| byte)
            .collect()
    }

    fn mouse(&mut self, value: u8) -> Vec<u8> {
        self.command(0xd4);
        self.data(value);
        self.drain()
            .into_iter()
            .filter(|(_, mouse)| *mouse)
            .map(|(byte, _)| byte)
            .collect()
    }

    fn key(&mut self, code: u8, extended: bool, pressed: bool) -> Vec<u8> {
        self.controller
            .key(code, extended, pressed, &mut self.interrupts);
        self.drain().into_iter().map(|(byte, _)| byte).collect()
    }
}

#[test]
fn controller_tests_and_mode() {
    let mut bench = Bench::default();
    for (command, answer) in [(0xaa, 0x55), (0xab, 0x00), (0xa9, 0x00)] {
        bench.command(command);
        assert_eq!(bench.drain(), [(answer, false)]);
    }
    assert_eq!(bench.status() & STATUS_SYSTEM, STATUS_SYSTEM);
    bench.command(0x60);
    bench.data(0x47);
    bench.command(0x20);
    assert_eq!(bench.drain(), [(0x47, false)]);
    bench.command(0xa7);
    bench.command(0x20);
    assert_eq!(bench.drain(), [(0x67, false)]);
}

#[test]
fn loops_a_byte_through_the_mouse_port_with_its_interrupt() {
    let mut bench = Bench::default();
    bench.command(0x60);
    bench.data(0x42);
    bench.command(0xd3);
    bench.data(0xa5);
    assert_eq!(bench.interrupts.pic.read(0xa0) & 0x10, 0x10, "IRQ 12");
    assert_eq!(bench.drain(), [(0xa5, true)]);
    assert_eq!(bench.interrupts.pic.read(0xa0) & 0x10, 0);
}

#[test]
fn keyboard_answers_its_commands() {
    let mut bench = Bench::default();
    assert_eq!(bench.keyboard(0xff), [0xfa, 0xaa]);
    assert_eq!(bench.keyboard(0xf2), [0xfa, 0xab, 0x41], "translated");
    assert_eq!(bench.keyboard(0xed), [0xfa]);
    assert_eq!(bench.keyboard(0x02), [0xfa]);
    assert_eq!(bench.keyboard(0xee), [0xee]);
    assert_eq!(bench.keyboard(0xef), [0xfe]);
    assert_eq!(bench.keyboard(0xf5), [0xfa]);
    assert_eq!(bench.key(0x1e, false, true), []);
    assert_eq!(bench.keyboard(0xf4), [0xfa]);
    assert_eq!(bench.key(0x1e, false, true), [0x1e]);
}

#[test]
fn keys_arrive_in_either_set() {
    let mut bench = Bench::default();
    assert_eq!(bench.key(0x48, true, true), [0xe0, 0x48]);
    assert_eq!(bench.key(0x48, true, false), [0xe0, 0xc8]);
    bench.command(0x60);
    bench.data(0x01);
    assert_eq!(bench.key(0x48, true, false), [0xe0, 0xf0, 0x75]);
    bench
        .controller
        .key(0x1e, false, true, &mut bench.interrupts);
    assert_eq!(bench.interrupts.pic.read(0x20) & 2, 2, "IRQ 1");
}

#[test]
fn each_byte_raises_its_own_edge() {
    let mut bench = Bench::default();
    for (port, value) in [(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0)] {
        bench.interrupts.pic.write(port, value);
    }
    bench
        .controller
        .key(0x48, true, true, &mut bench.interrupts);
    for expected in [0xe0, 0x48] {
        assert_eq!(bench.interrupts.pic.acknowledge(), 9);
        assert_eq!(bench.controller.read(0x60, &mut bench.interrupts), expected);
        bench.interrupts.pic.write(0x20, 0x20);
    }
    assert!(!bench.interrupts.pic.output());
}

#[test]
fn mouse_is_found_with_its_wheel_and_moves() {
    let mut bench = Bench::default();
    assert_eq!(bench.mouse(0xff), [0xfa, 0xaa, 0x00]);
    assert_eq!(bench.mouse(0xf2), [0xfa, 0x00]);
    for byte in [0xf3, 200, 0xf3, 100, 0xf3, 80] {
        assert_eq!(bench.mouse(byte), [0xfa]);
    }
    assert_eq!(bench.mouse(0xf2), [0xfa, 0x03]);
    bench.controller.pointer(5, 5, 0, 0, &mut bench.interrupts);
    assert_eq!(bench.drain(), [], "reporting is off");
    assert_eq!(bench.mouse(0xf4), [0xfa]);
    bench
        .controller
        .pointer(300, -2, 1, 1, &mut bench.interrupts);
    let packets: Vec<u8> = bench.drain().into_iter().map(|(byte, _)| byte).collect();
    assert_eq!(packets, [0x09, 255, 2, 1, 0x09, 45, 0, 0]);
    assert_eq!(bench.mouse(0xe9), [0xfa, 0x24, 2, 80]);
}

#[test]
fn reset_and_gate_a20() {
    let mut bench = Bench::default();
    bench.command(0xd0);
    assert_eq!(bench.drain()[0].0 & 3, 3);
    bench.command(0xd1);
    bench.data(0xdd);
    assert_eq!(bench.controller.read(0x92, &mut bench.interrupts) & 2, 0);
    bench
        .controller
        .write(0x92, 2, &mut bench.interrupts, &mut bench.outputs);
    assert_eq!(bench.controller.read(0x92, &mut bench.interrupts) & 2, 2);
    assert!(!bench.outputs.reset);
    bench.command(0xfe);
    assert!(bench.outputs.reset);
}
