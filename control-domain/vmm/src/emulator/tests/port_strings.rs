//! INS and OUTS.

use super::*;

#[test]
fn port_strings_move_whole_buffers() {
    // rep insw
    let mut case = Case::new(&[0x66, 0xf3, 0x6d])
        .gpr(EDX, 0x1f0)
        .gpr(EDI, RAM)
        .gpr(ECX, 3);
    let mut next = 0x0100;
    emulate_port_string(&mut case.registers, &mut case.bus, |_, transfer| {
        let Transfer::In {
            port: 0x1f0,
            size: 2,
            data,
        } = transfer
        else {
            panic!("{transfer:?}")
        };
        for word in data.chunks_mut(2) {
            next += 1;
            word.copy_from_slice(&u16::to_le_bytes(next));
        }
    })
    .unwrap();
    assert_eq!(case.value(RAM, 6), 0x0103_0102_0101);
    assert_eq!(
        [
            case.registers.gpr[ECX],
            case.registers.gpr[EDI],
            case.registers.rip
        ],
        [0, RAM + 6, CODE + 3]
    );
    // rep outsb with an override of the segment
    let mut case = Case::real(&[0x26, 0xf3, 0x6e])
        .gpr(EDX, 0x402)
        .gpr(ESI, 1)
        .gpr(ECX, 2)
        .memory(RAM + 1, b"hi");
    let mut sent = Vec::new();
    emulate_port_string(&mut case.registers, &mut case.bus, |_, transfer| {
        let Transfer::Out {
            port: 0x402,
            size: 1,
            data,
        } = transfer
        else {
            panic!("{transfer:?}")
        };
        sent.extend_from_slice(data);
    })
    .unwrap();
    assert_eq!(sent, b"hi");
}

/// Lengths of the runs in which an instruction reads `count` elements, and what arrived at `to`.
fn runs_of_ins(case: Case, to: u64, count: u64, flags: u64) -> (Vec<usize>, Case) {
    let mut case = case.gpr(EDX, 0x1f0).gpr(EDI, to).gpr(ECX, count);
    case.registers.rflags |= flags;
    let mut runs = Vec::new();
    let mut next = 0_u8;
    let result = emulate_port_string(&mut case.registers, &mut case.bus, |_, transfer| {
        let Transfer::In { data, .. } = transfer else {
            panic!("{transfer:?}")
        };
        runs.push(data.len());
        for byte in data {
            next = next.wrapping_add(1);
            *byte = next;
        }
    });
    result.unwrap();
    (runs, case)
}

#[test]
fn port_strings_move_runs_that_are_memory_in_one_page_and_in_order() {
    let rep_insw = || Case::new(&[0x66, 0xf3, 0x6d]);
    // Up to the end of a page, with a word across it.
    let at = RAM + 0x1000 - 5;
    let (runs, case) = runs_of_ins(rep_insw(), at, 5, 0);
    assert_eq!(runs, [4, 2, 4]);
    assert_eq!(case.value(at, 8), 0x0807_0605_0403_0201);
    assert_eq!(case.registers.gpr[EDI], at + 10);
    // No more than a sector at once.
    let (runs, case) = runs_of_ins(rep_insw(), RAM, 300, 0);
    assert_eq!(runs, [512, 88]);
    assert_eq!(case.registers.gpr[ECX], 0);
    // Downwards, and into a device, one by one.
    let (runs, case) = runs_of_ins(rep_insw(), RAM + 8, 2, 1 << 10);
    assert_eq!(runs, [2, 2]);
    assert_eq!(case.value(RAM + 6, 4), 0x0201_0403);
    let (runs, case) = runs_of_ins(rep_insw(), DEVICE, 2, 0);
    assert_eq!(runs, [2, 2]);
    assert_eq!(case.bus.accesses.len(), 2);
    // An index of 16 bits starts again at 0.
    let mut real = Case::real(&[0xf3, 0x6d]);
    real.registers.es.base = 0;
    let (runs, case) = runs_of_ins(real, 0xfffc, 3, 0);
    assert_eq!(runs, [4, 2]);
    assert_eq!(case.registers.gpr[EDI], 2);
}
