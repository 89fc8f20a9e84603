//! What this crate asks of the machine it runs on.
//!
//! `hypervisor-hal` implements these traits for real hardware, once per vendor; tests implement
//! them with plain arrays. Nothing here names a vendor's register or structure.

#[cfg(test)]
pub(crate) mod fake;

use core::ops::DerefMut;
use core::sync::atomic::AtomicU64;
use hypervisor_abi::{MachineConfig, Registers, RunPage, Vendor};

/// A host-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hpa(pub u64);

/// A guest-physical address: a claim of a guest until translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gpa(pub u64);

/// Memory as the hypervisor may touch it: its own page pool, and the frames of the guest pool.
pub trait Memory: Sync + 'static {
    /// An owned object in pages of the pool.
    type Box<T: Send + 'static>: DerefMut<Target = T> + Send;

    /// Puts an object into pages of the pool; `None` when the pool is used up.
    fn allocate<T: Send + 'static>(&self, value: T) -> Option<Self::Box<T>>;
    /// A zeroed 4 KiB page of the pool for a table or an overlay.
    fn allocate_page(&self) -> Option<Hpa>;
    /// Gives back a page of [`Memory::allocate_page`].
    fn free_page(&self, page: Hpa);
    /// How many pages of the pool are free.
    fn free_pages(&self) -> usize;
    /// The 512 words of such a page, which the hardware or a guest may touch at the same time.
    fn page(&self, page: Hpa) -> &'static [AtomicU64; 512];

    /// Number of 2 MiB frames that the guest pool spans, holes included.
    fn frame_count(&self) -> usize;
    /// Index of the guest-pool frame that holds `address`; `None` outside the pool.
    fn frame_index(&self, address: Hpa) -> Option<usize>;
    /// A 4 KiB page of the guest pool as words; `None` outside the pool.
    fn guest_page(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]>;
    /// The run page at this address of a control frame; `None` outside the guest pool.
    fn run_page(&self, address: Hpa) -> Option<&'static RunPage>;
    /// The configuration at this address of a control frame; `None` outside the guest pool.
    fn config(&self, address: Hpa) -> Option<&'static MachineConfig>;
    /// Reads a page-table entry of the control domain; `None` where there is no RAM of its own.
    fn read_control_domain(&self, address: Hpa) -> Option<u64>;
    /// The 4 KiB page of the control domain's RAM that holds `address`, as words; `None` where
    /// there is none.
    fn control_domain_page(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]>;
}

/// The machine: memory, time and one vendor's virtual processors.
pub trait Hal: Sync + Sized + 'static {
    /// Its memory.
    type Memory: Memory;
    /// What one physical CPU keeps while it serves as a host of virtual processors.
    type Cpu: Cpu;
    /// A guest's processor.
    type Vcpu: Vcpu<Self::Cpu> + Send;
    /// Whose extension this is.
    const VENDOR: Vendor;

    /// Memory.
    fn memory(&self) -> &Self::Memory;
    /// The physical time stamp counter.
    fn tsc(&self) -> u64;
    /// A number that nobody can guess.
    fn random(&self) -> u64;
    /// Physical CPUID: EAX, EBX, ECX, EDX.
    fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4];
    /// Number of CPUs under the hypervisor.
    fn cpu_count(&self) -> usize;
    /// A new guest processor over the nested tables at `root`; `None` when the pool is used up.
    fn new_vcpu(&'static self, root: Hpa, tsc_offset: u64) -> Option<Self::Vcpu>;
    /// Encodes an entry of the vendor's nested tables.
    fn nested_entry(entry: NestedEntry) -> u64;
    /// Decodes one found at `level` (1 to 4); what is not present is `None`.
    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry>;
    /// The entry that shows the control domain the page at `address` as it is, memory type included;
    /// `None` if its parts have different types, so that smaller pages must do it (never at level 1).
    fn identity_entry(&self, address: Hpa, level: u32) -> Option<u64> {
        Some(Self::nested_entry(NestedEntry::Page {
            address,
            writable: true,
            level,
        }))
    }
}

/// An entry of nested page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedEntry {
    /// A lower table.
    Table(Hpa),
    /// A page.
    Page {
        /// Where it lies.
        address: Hpa,
        /// May be written.
        writable: bool,
        /// 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB.
        level: u32,
    },
}

/// Processor state that both the control domain's and a guest's processor have.
pub trait State {
    /// A general-purpose register by its encoding (0 RAX to 15 R15).
    fn gpr(&self, index: usize) -> u64;
    /// Sets one.
    fn set_gpr(&mut self, index: usize, value: u64);
    /// Instruction pointer, relative to CS.
    fn rip(&self) -> u64;
    /// Continues at `rip` with the interrupt shadow of the finished instruction gone.
    fn advance_to(&mut self, rip: u64);
    /// Flags.
    fn rflags(&self) -> u64;
    /// Sets them.
    fn set_rflags(&mut self, value: u64);
    /// Address behind the intercepted instruction, where the hardware says so.
    fn next_rip(&self) -> Option<u64>;
    /// Current privilege level.
    fn cpl(&self) -> u8;
    /// Mode of the code segment.
    fn code_mode(&self) -> CodeMode;
    /// Linear base of CS (0 in 64-bit mode).
    fn cs_base(&self) -> u64;
    /// What a page walk needs.
    fn paging(&self) -> Paging;
    /// Makes an exception pending at the current instruction.
    fn inject_exception(&mut self, exception: Exception);
}

/// How the code segment decodes instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeMode {
    /// 16-bit operands and addresses.
    Bits16,
    /// 32-bit.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// The registers that choose and root the page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
}

/// An exception to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// #UD
    InvalidOpcode,
    /// #GP(0)
    GeneralProtection,
    /// #PF
    PageFault {
        /// What the processor pushes.
        error_code: u32,
        /// What CR2 holds.
        address: u64,
    },
    /// #MC, found while a guest ran, handed to the control domain.
    MachineCheck,
}

/// A physical CPU with the control domain's processor on it.
pub trait Cpu: State {
    /// This CPU's number, 0 is the one that booted.
    fn index(&self) -> usize;
    /// Runs the control domain until it does what the hypervisor must see.
    fn enter(&mut self) -> Exit;
    /// The control domain's EFER without the bits of the hypervisor.
    fn efer(&self) -> u64;
    /// Sets it; `false` if the value is not legal.
    fn set_efer(&mut self, value: u64) -> bool;
    /// Reads a physical register that the policy table answers with the CPU's own; `None` if this
    /// code does not know it to exist.
    fn read_msr(&self, msr: u32) -> Option<u64>;
    /// Writes one.
    fn write_msr(&mut self, msr: u32, value: u64) -> bool;
    /// Loads XCR0 with a value that was checked.
    fn set_xcr0(&mut self, value: u64);
    /// Writes all caches back and empties them.
    fn flush_caches(&mut self);
    /// Executes an indirect branch prediction barrier, if the CPU has one.
    fn prediction_barrier(&mut self);
}

/// A guest's processor.
pub trait Vcpu<C>: State {
    /// Switches all state that world switches leave alone from the control domain to the guest.
    fn attach(&mut self, cpu: &mut C);
    /// The opposite. Afterwards the guest's state is in memory and may go to another CPU.
    fn detach(&mut self, cpu: &mut C);
    /// Runs the guest, attached before, until it exits.
    fn enter(&mut self, cpu: &mut C) -> Exit;
    /// Drops cached translations before the next entry.
    fn flush_translations(&mut self);
    /// All registers; only while detached.
    fn registers(&self) -> Registers;
    /// Sets all registers, only while detached; `false`, and nothing changed, if a value can't be legal.
    fn set_registers(&mut self, registers: &Registers) -> bool;
    /// Loads the four entries that PAE paging keeps in the processor; `false` if they can't be legal.
    fn set_directory_pointers(&mut self, _: [u64; 4]) -> bool {
        true
    }
    /// Can an external interrupt be injected now (flags, shadow, nothing pending before it)?
    fn interruptible(&self) -> bool;
    /// Injects an external interrupt; only when [`Vcpu::interruptible`].
    fn inject_interrupt(&mut self, vector: u8);
    /// Injects an NMI if none is being handled; `false` if it must wait.
    fn inject_nmi(&mut self) -> bool;
    /// Asks for [`Exit::InterruptWindow`] as soon as an interrupt of this priority class could be
    /// taken; `None` takes the wish back.
    fn request_window(&mut self, priority_class: Option<u8>);
    /// The task priority (CR8).
    fn task_priority(&self) -> u8;
    /// Sets it.
    fn set_task_priority(&mut self, cr8: u8);
    /// Back to the state after INIT (`startup` = `None`) or at a start-up vector; only while detached.
    fn reset(&mut self, startup: Option<u8>);
    /// EFER as the guest sees it.
    fn efer(&self) -> u64;
    /// Sets it; `false` if the guest must get #GP. Only bits that CPUID shows may be set.
    fn set_efer(&mut self, value: u64) -> bool;
    /// XCR0.
    fn xcr0(&self) -> u64;
    /// Sets XCR0 to a value that was checked.
    fn set_xcr0(&mut self, value: u64);
    /// PAT.
    fn set_pat(&mut self, value: u64);
    /// Guest TSC minus physical TSC.
    fn set_tsc_offset(&mut self, offset: u64);
    /// The extended state as words of the XSAVE image (standard format).
    fn extended_state(&self) -> &[AtomicU64];
    /// Takes the extended state from such an image; what can't be loaded is made harmless.
    fn set_extended_state(&mut self, image: &[AtomicU64]);
}

/// Why a world switch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The control domain is to have the CPU: an interrupt (or NMI, SMI) of it waits, or the guest does.
    Interrupt,
    /// A machine check was met; the control domain must have it.
    MachineCheck,
    /// Interrupts can be injected now.
    InterruptWindow,
    /// CPUID.
    Cpuid,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// The vendor's hypercall instruction.
    Hypercall,
    /// HLT.
    Halt,
    /// XSETBV.
    SetXcr,
    /// INVD or WBINVD.
    CacheFlush,
    /// An instruction that does not exist for whom executed it: #UD.
    Undefined,
    /// IN or OUT.
    Io {
        /// Port.
        port: u16,
        /// 1, 2 or 4.
        size_bytes: u8,
        /// IN.
        input: bool,
        /// INS or OUTS.
        string: bool,
        /// REP.
        repeat: bool,
        /// Address behind the instruction.
        next_rip: u64,
    },
    /// The nested tables refused an access.
    NestedFault {
        /// Where.
        address: Gpa,
        /// It wrote.
        write: bool,
        /// It fetched an instruction.
        fetch: bool,
        /// The address is mapped, with less access.
        present: bool,
    },
    /// A switch to another task by hardware.
    TaskSwitch {
        /// Of its state segment.
        selector: u16,
        /// 0 `CALL`, 1 `IRET`, 2 `JMP`, 3 a task gate.
        source: u8,
    },
    /// Triple fault.
    Shutdown,
    /// INIT reached the CPU.
    Init,
    /// The state can't be entered.
    InvalidState,
    /// Anything else, in the vendor's numbers.
    Other {
        /// Exit code.
        code: u64,
        /// First information field.
        info1: u64,
        /// Second.
        info2: u64,
    },
}
