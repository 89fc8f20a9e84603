//! The virtual machine control structure: its fields (SDM vol. 3 appendix B), and where it is.
//!
//! A CPU keeps what it likes of a VMCS in itself, so fields are only reached by VMREAD and VMWRITE
//! while the VMCS is the current one of a CPU; and it must be cleared before another CPU loads it.

use super::controls::{Controls, entry};
use super::switch;
use crate::memory::PoolBox;
use crate::pool::Pool;

/// The memory of a VMCS, of which only the first word has a known form.
#[repr(C, align(4096))]
struct Region {
    revision: u32,
    _rest: [u8; 4092],
}

/// Where a VMCS is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All of it in memory.
    Memory,
    /// In this CPU, which works on another one now.
    Shelved,
    /// The CPU's current one.
    Current,
}

/// A VMCS.
pub struct Vmcs {
    region: PoolBox<Region>,
    place: Place,
    /// It was entered since it was loaded: VMRESUME instead of VMLAUNCH.
    pub launched: bool,
}

/// Proof that the VMCS in question is the current one.
#[derive(Clone, Copy)]
pub struct Current(());

impl Current {
    /// A field's value.
    #[inline(always)]
    pub fn read(self, field: Field) -> u64 {
        switch::vmread(field.0)
    }

    /// Sets a field.
    #[inline(always)]
    pub fn write(self, field: Field, value: u64) {
        switch::vmwrite(field.0, value);
    }
}

impl Vmcs {
    /// An empty one; `None` when the pool is used up.
    pub fn new(pool: &'static Pool, revision: u32) -> Option<Self> {
        let region = PoolBox::new(
            pool,
            Region {
                revision,
                _rest: [0; 4092],
            },
        )?;
        // SAFETY: the region is a page that belongs to this VMCS alone, with its revision.
        unsafe { switch::vmclear(region.physical()) };
        Some(Self {
            region,
            place: Place::Memory,
            launched: false,
        })
    }

    /// Makes it this CPU's current one.
    pub fn load(&mut self) {
        // SAFETY: the region is a VMCS, and in no other CPU: `unload` took it out.
        unsafe { switch::vmptrld(self.region.physical()) };
        self.place = Place::Current;
    }

    /// Leaves it in this CPU, while another becomes the current one.
    pub fn shelve(&mut self) {
        self.place = Place::Shelved;
    }

    /// Brings all of it back into memory: it may go to another CPU.
    pub fn unload(&mut self) {
        // SAFETY: as in `new`.
        unsafe { switch::vmclear(self.region.physical()) };
        self.place = Place::Memory;
        self.launched = false;
    }

    /// Lets `f` at the fields, wherever they are.
    #[inline]
    pub fn with<T>(&self, f: impl FnOnce(Current) -> T) -> T {
        if self.place == Place::Current {
            return f(Current(()));
        }
        self.borrowed(f)
    }

    #[cold]
    fn borrowed<T>(&self, f: impl FnOnce(Current) -> T) -> T {
        let previous = switch::vmptrst();
        // SAFETY: the region is a VMCS, in no other CPU; the previous one becomes current again.
        unsafe {
            switch::vmptrld(self.region.physical());
            let result = f(Current(()));
            if self.place == Place::Memory {
                switch::vmclear(self.region.physical());
            }
            if previous != u64::MAX {
                switch::vmptrld(previous);
            }
            result
        }
    }

    /// Sets all control words, and the fields that are the same for every processor.
    pub fn set_controls(&mut self, controls: &Controls) {
        self.with(|vmcs| {
            for (field, value) in [
                (Field::PIN_CONTROLS, controls.pin),
                (Field::PRIMARY_CONTROLS, controls.primary),
                (Field::SECONDARY_CONTROLS, controls.secondary),
                (Field::EXIT_CONTROLS, controls.exit),
                (Field::ENTRY_CONTROLS, controls.entry),
            ] {
                vmcs.write(field, value.into());
            }
            for field in ZERO {
                vmcs.write(field, 0);
            }
            // No shadow VMCS.
            vmcs.write(Field::LINK_POINTER, u64::MAX);
        });
    }

    /// A field's value.
    #[inline]
    pub fn read(&self, field: Field) -> u64 {
        self.with(|vmcs| vmcs.read(field))
    }

    /// Sets a field.
    #[inline]
    pub fn write(&mut self, field: Field, value: u64) {
        self.with(|vmcs| vmcs.write(field, value));
    }
}

/// A field by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub u32);

impl Field {
    pub const VPID: Self = Self(0x0000);
    pub const HOST_ES: Self = Self(0x0c00);
    pub const HOST_CS: Self = Self(0x0c02);
    pub const HOST_SS: Self = Self(0x0c04);
    pub const HOST_DS: Self = Self(0x0c06);
    pub const HOST_FS: Self = Self(0x0c08);
    pub const HOST_GS: Self = Self(0x0c0a);
    pub const HOST_TR: Self = Self(0x0c0c);
    pub const MSR_BITMAP: Self = Self(0x2004);
    pub const TSC_OFFSET: Self = Self(0x2010);
    pub const VIRTUAL_APIC_PAGE: Self = Self(0x2012);
    pub const EPT_POINTER: Self = Self(0x201a);
    pub const XSS_EXITING: Self = Self(0x202c);
    pub const GUEST_PHYSICAL_ADDRESS: Self = Self(0x2400);
    pub const LINK_POINTER: Self = Self(0x2800);
    pub const DEBUGCTL: Self = Self(0x2802);
    pub const PAT: Self = Self(0x2804);
    pub const EFER: Self = Self(0x2806);
    pub const DIRECTORY_POINTERS: [Self; 4] =
        [Self(0x280a), Self(0x280c), Self(0x280e), Self(0x2810)];
    pub const HOST_PAT: Self = Self(0x2c00);
    pub const HOST_EFER: Self = Self(0x2c02);
    pub const PIN_CONTROLS: Self = Self(0x4000);
    pub const PRIMARY_CONTROLS: Self = Self(0x4002);
    pub const EXCEPTION_BITMAP: Self = Self(0x4004);
    pub const EXIT_CONTROLS: Self = Self(0x400c);
    pub const ENTRY_CONTROLS: Self = Self(0x4012);
    pub const ENTRY_EVENT: Self = Self(0x4016);
    pub const ENTRY_ERROR_CODE: Self = Self(0x4018);
    pub const TPR_THRESHOLD: Self = Self(0x401c);
    pub const SECONDARY_CONTROLS: Self = Self(0x401e);
    pub const PAUSE_GAP: Self = Self(0x4020);
    pub const PAUSE_WINDOW: Self = Self(0x4022);
    pub const INSTRUCTION_ERROR: Self = Self(0x4400);
    pub const EXIT_REASON: Self = Self(0x4402);
    pub const EXIT_EVENT: Self = Self(0x4404);
    pub const VECTORING_EVENT: Self = Self(0x4408);
    pub const VECTORING_ERROR_CODE: Self = Self(0x440a);
    pub const INSTRUCTION_LENGTH: Self = Self(0x440c);
    pub const GDTR_LIMIT: Self = Self(0x4810);
    pub const IDTR_LIMIT: Self = Self(0x4812);
    pub const INTERRUPTIBILITY: Self = Self(0x4824);
    pub const ACTIVITY: Self = Self(0x4826);
    pub const SYSENTER_CS: Self = Self(0x482a);
    pub const HOST_SYSENTER_CS: Self = Self(0x4c00);
    pub const CR0_MASK: Self = Self(0x6000);
    pub const CR4_MASK: Self = Self(0x6002);
    pub const CR0_SHADOW: Self = Self(0x6004);
    pub const CR4_SHADOW: Self = Self(0x6006);
    pub const QUALIFICATION: Self = Self(0x6400);
    pub const CR0: Self = Self(0x6800);
    pub const CR3: Self = Self(0x6802);
    pub const CR4: Self = Self(0x6804);
    pub const GDTR_BASE: Self = Self(0x6816);
    pub const IDTR_BASE: Self = Self(0x6818);
    pub const DR7: Self = Self(0x681a);
    pub const RSP: Self = Self(0x681c);
    pub const RIP: Self = Self(0x681e);
    pub const RFLAGS: Self = Self(0x6820);
    pub const PENDING_DEBUG: Self = Self(0x6822);
    pub const SYSENTER_ESP: Self = Self(0x6824);
    pub const SYSENTER_EIP: Self = Self(0x6826);
    pub const HOST_CR0: Self = Self(0x6c00);
    pub const HOST_CR3: Self = Self(0x6c02);
    pub const HOST_CR4: Self = Self(0x6c04);
    pub const HOST_FS_BASE: Self = Self(0x6c06);
    pub const HOST_GS_BASE: Self = Self(0x6c08);
    pub const HOST_TR_BASE: Self = Self(0x6c0a);
    pub const HOST_GDTR_BASE: Self = Self(0x6c0c);
    pub const HOST_IDTR_BASE: Self = Self(0x6c0e);
    pub const HOST_SYSENTER_ESP: Self = Self(0x6c10);
    pub const HOST_SYSENTER_EIP: Self = Self(0x6c12);
    pub const HOST_RSP: Self = Self(0x6c14);
    pub const HOST_RIP: Self = Self(0x6c16);
}

/// Fields that start as 0: page faults and events that nobody asked for, register lists, and state
/// that is none after a reset.
const ZERO: [Field; 12] = [
    Field::EXCEPTION_BITMAP,
    Field(0x4006), // Page-fault error code mask
    Field(0x4008), // and match.
    Field(0x400a), // Counts: CR3 targets,
    Field(0x400e), // registers stored and loaded by exits,
    Field(0x4010),
    Field(0x4014), // and by entries.
    Field::ENTRY_EVENT,
    Field::INTERRUPTIBILITY,
    Field::ACTIVITY,
    Field::DEBUGCTL,
    Field::PENDING_DEBUG,
];

/// A segment register, by its place in the field groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentField {
    Es = 0,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

impl SegmentField {
    pub const fn selector(self) -> Field {
        Field(0x0800 + 2 * self as u32)
    }
    pub const fn limit(self) -> Field {
        Field(0x4800 + 2 * self as u32)
    }
    pub const fn rights(self) -> Field {
        Field(0x4814 + 2 * self as u32)
    }
    pub const fn base(self) -> Field {
        Field(0x6806 + 2 * self as u32)
    }
}

/// Says in the entry controls whether the next entry is to long mode.
pub fn entry_long_mode(vmcs: Current, on: bool) {
    let controls = vmcs.read(Field::ENTRY_CONTROLS) & !u64::from(entry::LONG_MODE);
    let long_mode = if on { entry::LONG_MODE } else { 0 };
    vmcs.write(Field::ENTRY_CONTROLS, controls | u64::from(long_mode));
}

/// Bits of [`Field::INTERRUPTIBILITY`].
pub mod interruptibility {
    /// Behind STI, behind a load of SS.
    pub const SHADOW: u64 = 0b11;
    pub const NMI: u64 = 1 << 3;
}

/// [`Field::EXIT_EVENT`], [`Field::VECTORING_EVENT`] and [`Field::ENTRY_EVENT`] (§25.8.3, §25.9.2).
pub mod event {
    pub const INTERRUPT: u32 = 0 << 8;
    pub const NMI: u32 = 2 << 8;
    pub const EXCEPTION: u32 = 3 << 8;
    /// INT1's.
    pub const PRIVILEGED_SOFTWARE_EXCEPTION: u32 = 5 << 8;
    pub const TYPE: u32 = 7 << 8;
    pub const ERROR_CODE_VALID: u32 = 1 << 11;
    /// In [`super::Field::EXIT_EVENT`]: the IRET that faulted had unblocked NMIs already.
    pub const NMI_UNBLOCKED: u32 = 1 << 12;
    pub const VALID: u32 = 1 << 31;
}

/// Basic exit reasons (appendix C).
pub mod reason {
    pub const EXCEPTION_OR_NMI: u32 = 0;
    pub const EXTERNAL_INTERRUPT: u32 = 1;
    pub const TRIPLE_FAULT: u32 = 2;
    pub const INIT: u32 = 3;
    pub const INTERRUPT_WINDOW: u32 = 7;
    pub const NMI_WINDOW: u32 = 8;
    pub const TASK_SWITCH: u32 = 9;
    pub const CPUID: u32 = 10;
    pub const GETSEC: u32 = 11;
    pub const HLT: u32 = 12;
    pub const INVD: u32 = 13;
    pub const RDPMC: u32 = 15;
    pub const VMCALL: u32 = 18;
    pub const VMCLEAR: u32 = 19;
    pub const VMXON: u32 = 27;
    pub const CONTROL_REGISTER: u32 = 28;
    pub const IO: u32 = 30;
    pub const RDMSR: u32 = 31;
    pub const WRMSR: u32 = 32;
    pub const MWAIT: u32 = 36;
    pub const MONITOR: u32 = 39;
    pub const PAUSE: u32 = 40;
    pub const ENTRY_MACHINE_CHECK: u32 = 41;
    pub const TPR_BELOW_THRESHOLD: u32 = 43;
    pub const EPT_VIOLATION: u32 = 48;
    pub const INVEPT: u32 = 50;
    pub const INVVPID: u32 = 53;
    pub const WBINVD: u32 = 54;
    pub const XSETBV: u32 = 55;
    pub const VMFUNC: u32 = 59;
    /// See [`is_of_instruction`].
    const OF_INSTRUCTIONS: u64 = 1 << CPUID
        | 1 << HLT
        | 1 << INVD
        | 1 << RDPMC
        | 1 << VMCALL
        | 1 << IO
        | 1 << RDMSR
        | 1 << WRMSR
        | 1 << WBINVD
        | 1 << XSETBV;
    /// Whether an instruction caused the exit by what it is, which nothing else can.
    #[inline(always)]
    pub const fn is_of_instruction(exit_reason: u32) -> bool {
        exit_reason < u64::BITS && OF_INSTRUCTIONS >> exit_reason & 1 != 0
    }
    /// Set beside a basic reason when the entry failed.
    pub const ENTRY_FAILURE: u32 = 1 << 31;
    /// Ours: the entry instruction itself failed, and nothing was entered.
    pub const NOT_ENTERED: u32 = u32::MAX;
}
