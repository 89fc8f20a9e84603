//! Instructions with the results that the manuals give, on a bus of RAM and one device page.

use super::arithmetic::{AF, CF, DF, OF, PF, SF, ZF};
use super::*;
use hypervisor_abi::Segment;

mod port_strings;

const CODE: u64 = 0x1000;
const RAM: u64 = 0x4000;
/// A page that is no memory: it keeps what is written and counts the accesses.
const DEVICE: u64 = 0xa000;

struct TestBus {
    memory: Vec<u8>,
    accesses: Vec<(bool, u64, usize)>,
}

impl Bus for TestBus {
    fn read(&mut self, gpa: u64, data: &mut [u8]) {
        if gpa & !0xfff == DEVICE {
            self.accesses.push((false, gpa, data.len()));
        }
        data.copy_from_slice(&self.memory[gpa as usize..][..data.len()]);
    }
    fn write(&mut self, gpa: u64, data: &[u8]) {
        if gpa & !0xfff == DEVICE {
            self.accesses.push((true, gpa, data.len()));
        }
        self.memory[gpa as usize..][..data.len()].copy_from_slice(data);
    }
    fn is_memory(&self, gpa: u64, _: bool) -> bool {
        gpa & !0xfff != DEVICE
    }
    fn read_memory(&self, gpa: u64, data: &mut [u8]) -> bool {
        let Some(source) = self
            .memory
            .get(gpa as usize..)
            .and_then(|m| m.get(..data.len()))
        else {
            return false;
        };
        data.copy_from_slice(source);
        gpa & !0xfff != DEVICE
    }
}

struct Case {
    registers: Registers,
    bus: TestBus,
}

fn flat(attributes: u16) -> Segment {
    Segment {
        selector: 8,
        attributes,
        limit: u32::MAX,
        base: 0,
    }
}

impl Case {
    /// 32-bit protected mode without paging, flat segments.
    fn new(code: &[u8]) -> Self {
        let mut memory = vec![0; 0x10000];
        memory[CODE as usize..][..code.len()].copy_from_slice(code);
        let mut registers = Registers {
            rip: CODE,
            rflags: 2,
            cr0: 1,
            cs: flat(0xc9b),
            ..Registers::default()
        };
        for segment in [
            &mut registers.ds,
            &mut registers.es,
            &mut registers.ss,
            &mut registers.fs,
            &mut registers.gs,
        ] {
            *segment = flat(0xc93);
        }
        Self {
            registers,
            bus: TestBus {
                memory,
                accesses: Vec::new(),
            },
        }
    }

    fn long(code: &[u8]) -> Self {
        let mut case = Self::new(code);
        case.registers.cs = flat(0xa9b);
        // 1 GiB from 0 on, mapped to itself by one large page.
        case.bus.memory[0x2000..0x2008].copy_from_slice(&0x3007u64.to_le_bytes());
        case.bus.memory[0x3000..0x3008].copy_from_slice(&0x87u64.to_le_bytes());
        case.registers.cr0 = 0x8000_0001;
        case.registers.cr3 = 0x2000;
        case.registers.cr4 = 0x20;
        case.registers.efer = 0x500;
        case
    }

    fn real(code: &[u8]) -> Self {
        let mut case = Self::new(code);
        case.registers.cr0 = 0;
        case.registers.cs = Segment {
            selector: 0x100,
            attributes: 0x9b,
            limit: 0xffff,
            base: CODE,
        };
        case.registers.rip = 0;
        case.registers.ds = Segment {
            selector: 0xa00,
            attributes: 0x93,
            limit: 0xffff,
            base: DEVICE,
        };
        case.registers.es = Segment {
            selector: 0x400,
            attributes: 0x93,
            limit: 0xffff,
            base: RAM,
        };
        case
    }

    fn gpr(mut self, n: usize, value: u64) -> Self {
        self.registers.gpr[n] = value;
        self
    }

    fn memory(mut self, address: u64, bytes: &[u8]) -> Self {
        self.bus.memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    fn run(mut self) -> Self {
        let before = self.registers.rip;
        emulate(&mut self.registers, &mut self.bus).unwrap();
        assert_ne!(self.registers.rip, before);
        self
    }

    fn value(&self, address: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.bus.memory[address as usize..][..size]);
        u64::from_le_bytes(bytes)
    }

    fn flags(&self) -> u64 {
        self.registers.rflags & super::arithmetic::ARITHMETIC
    }
}

const EAX: usize = 0;
const ECX: usize = 1;
const EDX: usize = 2;
const EBX: usize = 3;
const ESI: usize = 6;
const EDI: usize = 7;

#[test]
fn moves_of_every_size_and_form() {
    // mov [ebx], eax
    let case = Case::new(&[0x89, 0x03])
        .gpr(EBX, DEVICE)
        .gpr(EAX, 0x1122_3344)
        .run();
    assert_eq!(
        (case.value(DEVICE, 4), case.registers.rip),
        (0x1122_3344, CODE + 2)
    );
    assert_eq!(case.bus.accesses, [(true, DEVICE, 4)]);
    // mov ah, [ebx+4]
    let case = Case::new(&[0x8a, 0x63, 0x04])
        .gpr(EBX, DEVICE)
        .gpr(EAX, 0x1234)
        .memory(DEVICE + 4, &[0x99])
        .run();
    assert_eq!(case.registers.gpr[EAX], 0x9934);
    // mov word [0xa010], 0x55aa
    let case = Case::new(&[0x66, 0xc7, 0x05, 0x10, 0xa0, 0, 0, 0xaa, 0x55]).run();
    assert_eq!(case.value(DEVICE + 0x10, 4), 0x55aa);
    // mov al, [0xa011] (moffs)
    let case = Case::new(&[0xa0, 0x11, 0xa0, 0, 0])
        .memory(DEVICE + 0x11, &[0x77])
        .run();
    assert_eq!(case.registers.gpr[EAX], 0x77);
    // movzx ecx, word [ebx]; movsx edx, byte [ebx]
    let case = Case::new(&[0x0f, 0xb7, 0x0b])
        .gpr(EBX, DEVICE)
        .gpr(ECX, u64::MAX)
        .memory(DEVICE, &[1, 0xf2, 3])
        .run();
    assert_eq!(case.registers.gpr[ECX], 0xf201);
    let case = Case::new(&[0x0f, 0xbe, 0x13])
        .gpr(EBX, DEVICE)
        .memory(DEVICE, &[0x80])
        .run();
    assert_eq!(case.registers.gpr[EDX], 0xffff_ff80);
}

#[test]
fn long_mode_moves_translate_and_extend() {
    // mov eax, [rbx]: the upper half is cleared
    let case = Case::long(&[0x8b, 0x03])
        .gpr(EBX, DEVICE)
        .gpr(EAX, u64::MAX)
        .memory(DEVICE, &[1, 2, 3, 4])
        .run();
    assert_eq!(case.registers.gpr[EAX], 0x0403_0201);
    // mov [rbx+rcx*8-8], r9
    let mut case = Case::long(&[0x4c, 0x89, 0x4c, 0xcb, 0xf8])
        .gpr(EBX, DEVICE)
        .gpr(ECX, 2);
    case.registers.gpr[9] = 0x8877_6655_4433_2211;
    let case = case.run();
    assert_eq!(case.value(DEVICE + 8, 8), 0x8877_6655_4433_2211);
    // mov qword [rbx], -2 (sign-extended immediate)
    let case = Case::long(&[0x48, 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff])
        .gpr(EBX, DEVICE)
        .run();
    assert_eq!(case.value(DEVICE, 8), u64::MAX - 1);
    // mov eax, gs:[0x20]
    let mut case = Case::long(&[0x65, 0x8b, 0x04, 0x25, 0x20, 0, 0, 0]).memory(DEVICE + 0x20, &[5]);
    case.registers.gs.base = DEVICE;
    assert_eq!(case.run().registers.gpr[EAX], 5);
    // mov [rip+0x8ffa], cl
    let case = Case::long(&[0x88, 0x0d, 0xfa, 0x8f, 0, 0])
        .gpr(ECX, 0x42)
        .run();
    assert_eq!(case.value(DEVICE, 1), 0x42);
}

#[test]
fn arithmetic_sets_memory_and_flags() {
    let at_device = |code: &[u8], memory: &[u8], eax: u64| {
        Case::new(code)
            .gpr(EBX, DEVICE)
            .gpr(EAX, eax)
            .memory(DEVICE, memory)
            .run()
    };
    // add byte [ebx], al: 0x7f + 1 = 0x80
    let case = at_device(&[0x00, 0x03], &[0x7f], 1);
    assert_eq!((case.value(DEVICE, 1), case.flags()), (0x80, OF | SF | AF));
    // sub byte [ebx], al: 0 - 1
    let case = at_device(&[0x28, 0x03], &[0], 1);
    assert_eq!(
        (case.value(DEVICE, 1), case.flags()),
        (0xff, CF | SF | AF | PF)
    );
    // and dword [ebx], 0xf0
    let case = at_device(&[0x81, 0x23, 0xf0, 0, 0, 0], &[0x0f], 0);
    assert_eq!((case.value(DEVICE, 1), case.flags()), (0, ZF | PF));
    // or [ebx], eax
    let case = at_device(&[0x09, 0x03], &[1, 0, 0, 0x80], 2);
    assert_eq!(
        (case.value(DEVICE, 4), case.flags()),
        (0x8000_0003, SF | PF)
    );
    // xor eax, [ebx]
    let case = at_device(&[0x33, 0x03], &[0xff], 0xf0);
    assert_eq!((case.registers.gpr[EAX], case.flags()), (0x0f, PF));
    // cmp dword [ebx], 5: 3 - 5; nothing is written
    let case = at_device(&[0x83, 0x3b, 5], &[3], 0);
    assert_eq!((case.value(DEVICE, 1), case.flags()), (3, CF | SF | AF));
    assert_eq!(case.bus.accesses, [(false, DEVICE, 4)]);
    // test byte [ebx], 0x80
    let case = at_device(&[0xf6, 0x03, 0x80], &[0x80], 0);
    assert_eq!(case.flags(), SF);
    // not, neg, inc, dec
    assert_eq!(at_device(&[0xf6, 0x13], &[0x55], 0).value(DEVICE, 1), 0xaa);
    let case = at_device(&[0xf6, 0x1b], &[1], 0);
    assert_eq!(
        (case.value(DEVICE, 1), case.flags()),
        (0xff, CF | SF | AF | PF)
    );
    let case = at_device(&[0xfe, 0x03], &[0xff], 0);
    assert_eq!((case.value(DEVICE, 1), case.flags()), (0, ZF | AF | PF));
    let case = at_device(&[0xfe, 0x0b], &[0x80], 0);
    assert_eq!((case.value(DEVICE, 1), case.flags()), (0x7f, OF | AF));
}

#[test]
fn carries_are_used_and_kept() {
    // adc byte [ebx], 0 with CF; inc keeps CF
    let mut case = Case::new(&[0x80, 0x13, 0])
        .gpr(EBX, DEVICE)
        .memory(DEVICE, &[0xff]);
    case.registers.rflags |= CF;
    let case = case.run();
    assert_eq!(
        (case.value(DEVICE, 1), case.flags()),
        (0, CF | ZF | AF | PF)
    );
    let mut case = Case::new(&[0xfe, 0x03]).gpr(EBX, DEVICE);
    case.registers.rflags |= CF;
    assert_eq!(case.run().flags(), CF);
    // sbb byte [ebx], 0xff with CF: 0 - 0x100
    let mut case = Case::new(&[0x80, 0x1b, 0xff]).gpr(EBX, DEVICE);
    case.registers.rflags |= CF;
    let case = case.run();
    assert_eq!(
        (case.value(DEVICE, 1), case.flags()),
        (0, CF | ZF | AF | PF)
    );
}

#[test]
fn exchanges() {
    // xchg [ebx], cx
    let case = Case::new(&[0x66, 0x87, 0x0b])
        .gpr(EBX, DEVICE)
        .gpr(ECX, 0xaaaa_1111)
        .memory(DEVICE, &[2, 2])
        .run();
    assert_eq!(
        (case.value(DEVICE, 2), case.registers.gpr[ECX]),
        (0x1111, 0xaaaa_0202)
    );
    // lock cmpxchg [ebx], ecx: equal, then not
    let code = [0xf0, 0x0f, 0xb1, 0x0b];
    let case = Case::new(&code)
        .gpr(EBX, DEVICE)
        .gpr(EAX, 7)
        .gpr(ECX, 9)
        .memory(DEVICE, &[7])
        .run();
    assert_eq!(
        (case.value(DEVICE, 4), case.registers.gpr[EAX], case.flags()),
        (9, 7, ZF | PF)
    );
    let case = Case::new(&code)
        .gpr(EBX, DEVICE)
        .gpr(EAX, 7)
        .gpr(ECX, 9)
        .memory(DEVICE, &[6])
        .run();
    assert_eq!(
        (case.value(DEVICE, 4), case.registers.gpr[EAX], case.flags()),
        (6, 6, 0)
    );
    // xadd [ebx], ecx
    let case = Case::new(&[0x0f, 0xc1, 0x0b])
        .gpr(EBX, DEVICE)
        .gpr(ECX, 3)
        .memory(DEVICE, &[4])
        .run();
    assert_eq!((case.value(DEVICE, 4), case.registers.gpr[ECX]), (7, 4));
}

#[test]
fn bits_reach_beyond_their_operand() {
    // bts [ebx], ecx with index 37: bit 5 of the next dword
    let case = Case::new(&[0x0f, 0xab, 0x0b])
        .gpr(EBX, DEVICE)
        .gpr(ECX, 37)
        .run();
    assert_eq!((case.value(DEVICE + 4, 4), case.flags()), (32, 0));
    // btr [ebx], ecx with index -1: bit 31 of the dword before
    let case = Case::new(&[0x0f, 0xb3, 0x0b])
        .gpr(EBX, DEVICE + 8)
        .gpr(ECX, 0xffff_ffff)
        .memory(DEVICE + 4, &[0, 0, 0, 0x81])
        .run();
    assert_eq!((case.value(DEVICE + 4, 4), case.flags()), (0x0100_0000, CF));
    // bt dword [ebx], 33: an immediate is taken modulo 32
    let case = Case::new(&[0x0f, 0xba, 0x23, 33])
        .gpr(EBX, DEVICE)
        .memory(DEVICE, &[2])
        .run();
    assert_eq!(case.flags(), CF);
}

#[test]
fn runs_of_string_instructions_go_through_at_once() {
    // rep movsd from RAM to the device
    let case = Case::new(&[0xf3, 0xa5])
        .gpr(ESI, RAM)
        .gpr(EDI, DEVICE)
        .gpr(ECX, 3)
        .memory(RAM, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
        .run();
    assert_eq!(
        (case.value(DEVICE + 4, 8), case.value(DEVICE + 12, 1)),
        (0x0c0b_0a09_0807_0605, 0)
    );
    assert_eq!(
        [
            case.registers.gpr[ECX],
            case.registers.gpr[ESI],
            case.registers.gpr[EDI]
        ],
        [0, RAM + 12, DEVICE + 12]
    );
    assert_eq!(case.bus.accesses.len(), 3);
    // std; stosw backwards, without prefix
    let mut case = Case::new(&[0x66, 0xab])
        .gpr(EDI, DEVICE + 2)
        .gpr(EAX, 0xbeef)
        .gpr(ECX, 5);
    case.registers.rflags |= DF;
    let case = case.run();
    assert_eq!(
        [
            case.value(DEVICE + 2, 2),
            case.registers.gpr[EDI],
            case.registers.gpr[ECX]
        ],
        [0xbeef, DEVICE, 5]
    );
    // rep lodsb
    let case = Case::new(&[0xf3, 0xac])
        .gpr(ESI, DEVICE)
        .gpr(ECX, 2)
        .memory(DEVICE, &[8, 9])
        .run();
    assert_eq!(
        (case.registers.gpr[EAX], case.registers.gpr[ESI]),
        (9, DEVICE + 2)
    );
    // rep stosb with a count of 0 does nothing
    let case = Case::new(&[0xf3, 0xaa]).gpr(EDI, DEVICE).run();
    assert!(case.bus.accesses.is_empty());
}

#[test]
fn compares_stop_where_they_should() {
    // repe cmpsb
    let case = Case::new(&[0xf3, 0xa6])
        .gpr(ESI, DEVICE)
        .gpr(EDI, RAM)
        .gpr(ECX, 10)
        .memory(DEVICE, b"abcd")
        .memory(RAM, b"abxd")
        .run();
    assert_eq!(
        [case.registers.gpr[ECX], case.registers.gpr[ESI]],
        [7, DEVICE + 3]
    );
    // 'c' - 'x'
    assert_eq!(case.flags() & (ZF | CF), CF);
    // repne scasb
    let case = Case::new(&[0xf2, 0xae])
        .gpr(EDI, DEVICE)
        .gpr(ECX, 10)
        .gpr(EAX, 5)
        .memory(DEVICE, &[1, 2, 5])
        .run();
    assert_eq!(
        [case.registers.gpr[ECX], case.registers.gpr[EDI]],
        [7, DEVICE + 3]
    );
    assert_eq!(case.flags(), ZF | PF);
}

#[test]
fn real_mode_uses_bases_and_16_bit_registers() {
    // mov [bx+si+2], al
    let case = Case::real(&[0x88, 0x40, 0x02])
        .gpr(EBX, 0xffff)
        .gpr(ESI, 0x11)
        .gpr(EAX, 0x5a)
        .run();
    assert_eq!(
        (case.value(DEVICE + 0x12, 1), case.registers.rip),
        (0x5a, 3)
    );
    // es: rep movsw from DS:SI to ES:DI; the upper halves stay
    let case = Case::real(&[0xf3, 0xa5])
        .gpr(ECX, 0xdead_0002)
        .gpr(ESI, 0xbeef_0004)
        .gpr(EDI, 0x6)
        .memory(DEVICE + 4, &[1, 2, 3, 4])
        .run();
    assert_eq!(case.value(RAM + 6, 4), 0x0403_0201);
    assert_eq!(
        [
            case.registers.gpr[ECX],
            case.registers.gpr[ESI],
            case.registers.gpr[EDI]
        ],
        [0xdead_0000, 0xbeef_0008, 0xa]
    );
}

#[test]
fn accesses_cross_pages() {
    let case = Case::new(&[0x89, 0x03])
        .gpr(EBX, DEVICE + 0xffe)
        .gpr(EAX, 0x4433_2211)
        .run();
    assert_eq!(case.value(DEVICE + 0xffe, 4), 0x4433_2211);
    assert_eq!(case.bus.accesses, [(true, DEVICE + 0xffe, 2)]);
}

#[test]
fn page_faults_leave_what_was_done_and_name_the_address() {
    // rep movsb from the device to a page that is mapped and one that is not
    let mut case = Case::long(&[0xf3, 0xa4])
        .gpr(ESI, DEVICE)
        .gpr(EDI, 0x1f_fffe)
        .gpr(ECX, 4);
    case.bus.memory.resize(0x20_0000, 0);
    // Only the first 2 MiB are mapped.
    let mut case = case
        .memory(0x3000, &0x5003u64.to_le_bytes())
        .memory(0x5000, &0x83u64.to_le_bytes());
    let error = emulate(&mut case.registers, &mut case.bus).unwrap_err();
    assert_eq!(
        error,
        EmulationError::PageFault(Fault {
            address: 0x20_0000,
            error_code: 2
        })
    );
    assert_eq!([case.registers.gpr[ECX], case.registers.rip], [2, CODE]);
}

#[test]
fn unknown_instructions_are_named() {
    // movups [ebx], xmm0
    let mut case = Case::new(&[0x0f, 0x11, 0x03]).gpr(EBX, DEVICE);
    let error = emulate(&mut case.registers, &mut case.bus).unwrap_err();
    assert_eq!(
        error.to_string(),
        "instruction 0f 11 03 at 0x1000 is not supported on device memory"
    );
    let mut case = Case::new(&[0xff, 0xff]);
    assert!(matches!(
        emulate(&mut case.registers, &mut case.bus),
        Err(EmulationError::Unknown { .. })
    ));
    case.registers.rip = DEVICE;
    assert_eq!(
        emulate(&mut case.registers, &mut case.bus),
        Err(EmulationError::Fetch { linear: DEVICE })
    );
}
