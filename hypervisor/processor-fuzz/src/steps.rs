//! Steps of a guest, read from any bytes: a byte that says which, and the fields that it has.

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A hypercall with these registers: bits 1:0 of the level are the privilege level, bit 2 is CR0.PE.
    Hypercall {
        /// RAX to R8 in turn.
        registers: [u64; 9],
        /// 16, 32 or 64 bits.
        mode: u8,
        /// Privilege.
        level: u8,
    },
    /// WRMSR.
    WriteMsr(u32, u64),
    /// RDMSR.
    ReadMsr(u32),
    /// A write to the local APIC's page.
    WriteApic(u32, u32),
    /// A read.
    ReadApic(u32),
    /// CPUID, and XSETBV with the same numbers.
    Cpuid(u32, u32),
    /// The vmm posts a message at a source.
    Message(u8, [u64; 32]),
    /// The vmm sets an event flag.
    Event(u8, u16),
    /// The guest writes a word of its SynIC pages.
    Page(u16, u64),
    /// An interrupt message: mode and vector.
    Interrupt(u8, u8),
    /// The interrupt that is pending goes into the guest.
    Acknowledge,
    /// HLT.
    Halt(u8),
    /// Ticks of the time stamp counter pass.
    Wait(u64),
    /// Time passes until something is due.
    Sleep,
}

/// Where a register number of one byte leads: banks of those that are emulated.
const BANKS: [u32; 8] = [
    0,
    0x800,
    0x4000_0000,
    0x4000_0080,
    0x4000_00b0,
    0x4000_0100,
    0xc000_0080,
    0xc001_0000,
];

/// The steps that bytes hold.
pub struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    /// All of them; what is cut off is no step.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn double(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn quad(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A bank and a number in it, or any number.
    fn register(&mut self) -> Option<u32> {
        let bank = self.byte()?;
        match BANKS.get(usize::from(bank)) {
            Some(first) => Some(first + u32::from(self.byte()?)),
            None => self.double(),
        }
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        Some(match self.byte()? % 14 {
            0 => {
                let [mode, level] = self.bytes()?;
                let mut registers = [0; 9];
                for index in [0, 1, 2, 3, 6, 7, 8] {
                    registers[index] = self.quad()?;
                }
                Step::Hypercall {
                    registers,
                    mode,
                    level,
                }
            }
            1 => Step::WriteMsr(self.register()?, self.quad()?),
            2 => Step::ReadMsr(self.register()?),
            3 => Step::WriteApic(self.double()?, self.double()?),
            4 => Step::ReadApic(self.double()?),
            5 => Step::Cpuid(self.double()?, self.double()?),
            6 => {
                let (sint, kind) = (self.byte()?, self.quad()?);
                let mut content = [0; 32];
                content[0] = kind;
                Step::Message(sint, content)
            }
            7 => Step::Event(self.byte()?, self.bytes().map(u16::from_le_bytes)?),
            8 => Step::Page(self.bytes().map(u16::from_le_bytes)?, self.quad()?),
            9 => Step::Interrupt(self.byte()?, self.byte()?),
            10 => Step::Acknowledge,
            11 => Step::Halt(self.byte()?),
            12 => Step::Wait(self.double()?.into()),
            _ => Step::Sleep,
        })
    }
}
