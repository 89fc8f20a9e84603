//! A machine of plain arrays, with processors that play back a script of exits.

mod caller;

pub use caller::Caller;

use super::*;
use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const GUEST_BASE: u64 = 1 << 32;
const POOL_BASE: u64 = 0x1000;

/// Pool pages and guest frames.
pub struct FakeMemory {
    pool: Vec<&'static [AtomicU64; 512]>,
    free: Mutex<Vec<usize>>,
    guest: &'static [[AtomicU64; 512]],
    /// The control domain's page tables, by address.
    pub control_domain: Mutex<HashMap<u64, u64>>,
}

fn zeroed_pages(count: usize) -> &'static [[AtomicU64; 512]] {
    let pages: Vec<[AtomicU64; 512]> = (0..count)
        .map(|_| [const { AtomicU64::new(0) }; 512])
        .collect();
    pages.leak()
}

impl FakeMemory {
    /// A pool of `pages`, and `frames` of 2 MiB for guests.
    pub fn leaked(pages: usize, frames: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            pool: zeroed_pages(pages).iter().collect(),
            free: Mutex::new((0..pages).collect()),
            guest: zeroed_pages(frames * 512),
            control_domain: Mutex::new(HashMap::new()),
        }))
    }

    pub fn guest_base(&self) -> Hpa {
        Hpa(GUEST_BASE)
    }

    /// Address of a frame.
    pub fn frame(&self, index: usize) -> Hpa {
        Hpa(GUEST_BASE + index as u64 * hypervisor_abi::FRAME_SIZE)
    }

    pub fn free_pages(&self) -> usize {
        self.free.lock().unwrap().len()
    }

    /// Lets the caller see `frames` frames from `frame` on at `linear` (2 MiB aligned), in the
    /// tables at `cr3`, with these rights.
    pub fn map_for_caller(&self, cr3: u64, linear: u64, frame: usize, frames: usize, rights: u64) {
        let mut tables = self.control_domain.lock().unwrap();
        tables.insert(cr3 + (linear >> 39 & 511) * 8, (cr3 + 0x1000) | 7);
        tables.insert(cr3 + 0x1000 + (linear >> 30 & 511) * 8, (cr3 + 0x2000) | 7);
        for i in 0..frames {
            let address = GUEST_BASE + (frame + i) as u64 * hypervisor_abi::FRAME_SIZE;
            let linear = linear + i as u64 * hypervisor_abi::FRAME_SIZE;
            tables.insert(
                cr3 + 0x2000 + (linear >> 21 & 511) * 8,
                address | 0x80 | rights,
            );
        }
    }

    fn take_page(&self) -> Option<usize> {
        self.free.lock().unwrap().pop()
    }

    fn give_page(&self, index: usize) {
        let mut free = self.free.lock().unwrap();
        assert!(!free.contains(&index), "freed twice");
        free.push(index);
    }

    fn guest_words(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]> {
        self.guest
            .get((address.0.checked_sub(GUEST_BASE)? / 4096) as usize)
    }
}

/// Shared structures that tests make beside the page at the same address.
fn shared<T: Default + Send + Sync>(
    map: &'static Mutex<HashMap<u64, &'static T>>,
    key: u64,
) -> &'static T {
    map.lock()
        .unwrap()
        .entry(key)
        .or_insert_with(|| Box::leak(Box::default()))
}

/// An object that holds as many pages of the pool as it would take.
pub struct FakeBox<T> {
    value: Box<T>,
    memory: &'static FakeMemory,
    pages: Vec<usize>,
}

impl<T> Deref for FakeBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for FakeBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for FakeBox<T> {
    fn drop(&mut self) {
        self.pages.drain(..).for_each(|p| self.memory.give_page(p));
    }
}

impl Memory for &'static FakeMemory {
    type Box<T: Send + 'static> = FakeBox<T>;

    fn allocate<T: Send + 'static>(&self, value: T) -> Option<FakeBox<T>> {
        let mut object = FakeBox {
            value: Box::new(value),
            memory: self,
            pages: Vec::new(),
        };
        for _ in 0..size_of::<T>().div_ceil(4096) {
            object.pages.push(self.take_page()?);
        }
        Some(object)
    }
    fn allocate_page(&self) -> Option<Hpa> {
        let index = self.take_page()?;
        self.pool[index].iter().for_each(|w| w.store(0, Relaxed));
        Some(Hpa(POOL_BASE + index as u64 * 4096))
    }
    fn free_page(&self, page: Hpa) {
        self.give_page(((page.0 - POOL_BASE) / 4096) as usize);
    }
    fn free_pages(&self) -> usize {
        self.free.lock().unwrap().len()
    }
    fn page(&self, page: Hpa) -> &'static [AtomicU64; 512] {
        self.pool[((page.0 - POOL_BASE) / 4096) as usize]
    }
    fn frame_count(&self) -> usize {
        self.guest.len() / 512
    }
    fn frame_index(&self, address: Hpa) -> Option<usize> {
        let index = (address.0.checked_sub(GUEST_BASE)? / hypervisor_abi::FRAME_SIZE) as usize;
        (index < self.frame_count()).then_some(index)
    }
    fn guest_page(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]> {
        self.guest_words(address)
    }
    fn run_page(&self, address: Hpa) -> Option<&'static RunPage> {
        static PAGES: std::sync::LazyLock<Mutex<HashMap<u64, &'static RunPage>>> =
            std::sync::LazyLock::new(Default::default);
        self.guest_words(address)?;
        let key = std::ptr::from_ref(*self) as u64 ^ address.0 << 8;
        Some(shared(&PAGES, key))
    }
    fn config(&self, address: Hpa) -> Option<&'static MachineConfig> {
        static CONFIGS: std::sync::LazyLock<Mutex<HashMap<u64, &'static MachineConfig>>> =
            std::sync::LazyLock::new(Default::default);
        self.guest_words(address)?;
        let key = std::ptr::from_ref(*self) as u64 ^ address.0 << 8;
        Some(shared(&CONFIGS, key))
    }
    fn read_control_domain(&self, address: Hpa) -> Option<u64> {
        Some(
            self.control_domain
                .lock()
                .unwrap()
                .get(&address.0)
                .copied()
                .unwrap_or(0),
        )
    }

    fn control_domain_page(&self, _: Hpa) -> Option<&'static [AtomicU64; 512]> {
        None
    }
}

/// A machine whose guests do what a test wrote down.
pub struct FakeHal {
    pub memory: &'static FakeMemory,
    pub tsc: AtomicU64,
    random: AtomicU64,
}

/// What a guest does between an entry and the exit it ends in.
pub type Step = Box<dyn FnOnce(&mut FakeVcpu) -> Exit + Send>;

impl FakeHal {
    pub fn leaked(pages: usize, frames: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            memory: FakeMemory::leaked(pages, frames),
            tsc: AtomicU64::new(1000),
            random: AtomicU64::new(1),
        }))
    }
}

impl Hal for FakeHal {
    type Memory = &'static FakeMemory;
    type Cpu = FakeCpu;
    type Vcpu = FakeVcpu;
    const VENDOR: Vendor = Vendor::Svm;

    fn memory(&self) -> &Self::Memory {
        &self.memory
    }
    fn tsc(&self) -> u64 {
        self.tsc.load(Relaxed)
    }
    fn random(&self) -> u64 {
        // Different each time is all a test needs.
        self.random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)
            .rotate_left(17)
    }
    fn cpuid(leaf: u32, _: u32) -> [u32; 4] {
        // Every feature, x87 and SSE state, and no leaf that the tests would have to know by heart.
        match leaf {
            0 | 1 => [u32::MAX; 4],
            0xd => [3, 0, 0, 0],
            _ => [0; 4],
        }
    }
    fn cpu_count(&self) -> usize {
        2
    }
    fn new_vcpu(&'static self, root: Hpa, tsc_offset: u64) -> Option<FakeVcpu> {
        Some(FakeVcpu {
            root,
            tsc_offset,
            ..Default::default()
        })
    }
    fn nested_entry(entry: NestedEntry) -> u64 {
        match entry {
            NestedEntry::Table(a) => a.0 | 1,
            NestedEntry::Page {
                address, writable, ..
            } => address.0 | 3 | u64::from(writable) << 2,
        }
    }
    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry> {
        match value & 3 {
            0 => None,
            1 => Some(NestedEntry::Table(Hpa(value & !0xfff))),
            _ => Some(NestedEntry::Page {
                address: Hpa(value & !0xfff),
                writable: value & 4 != 0,
                level,
            }),
        }
    }
}

/// The control domain's processor.
#[derive(Default)]
pub struct FakeCpu {
    pub index: usize,
    pub gpr: [u64; 16],
    pub rip: u64,
    pub cr3: u64,
    pub exception: Option<Exception>,
    pub efer: u64,
    pub code_mode: Option<CodeMode>,
    /// What the control domain does; it ends with an INIT.
    pub script: VecDeque<Exit>,
    /// Physical registers that were written, in order.
    pub written_msrs: Vec<(u32, u64)>,
    pub barriers: usize,
    pub xcr0: u64,
    pub cache_flushes: usize,
}

/// A guest's.
pub struct FakeVcpu {
    pub script: VecDeque<Step>,
    pub root: Hpa,
    pub tsc_offset: u64,
    pub gpr: [u64; 16],
    pub registers: Registers,
    pub attached: bool,
    /// STAR and its relatives, for all that lies in the CPU while attached.
    pub star_in_cpu: [u64; 4],
    pub interruptible: bool,
    pub nmi_masked: bool,
    pub injected: Vec<u8>,
    pub window: Option<u8>,
    pub exception: Option<Exception>,
    pub flushes: usize,
    pub directory_pointers: Vec<[u64; 4]>,
    pub extended: Vec<AtomicU64>,
}

impl Default for FakeVcpu {
    fn default() -> Self {
        Self {
            script: VecDeque::new(),
            root: Hpa(0),
            tsc_offset: 0,
            gpr: [0; 16],
            registers: Registers {
                xcr0: 1,
                ..Default::default()
            },
            attached: false,
            star_in_cpu: [0; 4],
            interruptible: true,
            nmi_masked: false,
            injected: Vec::new(),
            window: None,
            exception: None,
            flushes: 0,
            directory_pointers: Vec::new(),
            extended: (0..512).map(AtomicU64::new).collect(),
        }
    }
}

impl State for FakeCpu {
    fn gpr(&self, index: usize) -> u64 {
        self.gpr[index]
    }
    fn set_gpr(&mut self, index: usize, value: u64) {
        self.gpr[index] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn advance_to(&mut self, rip: u64) {
        self.rip = rip;
    }
    fn rflags(&self) -> u64 {
        2
    }
    fn set_rflags(&mut self, _: u64) {}
    fn next_rip(&self) -> Option<u64> {
        Some(self.rip + 3)
    }
    fn cpl(&self) -> u8 {
        3
    }
    fn code_mode(&self) -> CodeMode {
        self.code_mode.unwrap_or(CodeMode::Bits64)
    }
    fn cs_base(&self) -> u64 {
        0
    }
    fn paging(&self) -> Paging {
        Paging {
            cr0: 1 << 31 | 1,
            cr3: self.cr3,
            cr4: 1 << 5,
            efer: 1 << 10,
        }
    }
    fn inject_exception(&mut self, exception: Exception) {
        self.exception = Some(exception);
    }
}

impl Cpu for FakeCpu {
    fn index(&self) -> usize {
        self.index
    }
    fn enter(&mut self) -> Exit {
        self.script.pop_front().unwrap_or(Exit::Init)
    }
    fn efer(&self) -> u64 {
        self.efer
    }
    fn set_efer(&mut self, value: u64) -> bool {
        self.efer = value;
        true
    }
    fn read_msr(&self, _: u32) -> Option<u64> {
        Some(0xfee0_0900)
    }
    fn write_msr(&mut self, msr: u32, value: u64) -> bool {
        self.written_msrs.push((msr, value));
        true
    }
    fn prediction_barrier(&mut self) {
        self.barriers += 1;
    }
    fn set_xcr0(&mut self, value: u64) {
        self.xcr0 = value;
    }
    fn flush_caches(&mut self) {
        self.cache_flushes += 1;
    }
}

impl State for FakeVcpu {
    fn gpr(&self, index: usize) -> u64 {
        self.gpr[index]
    }
    fn set_gpr(&mut self, index: usize, value: u64) {
        self.gpr[index] = value;
    }
    fn rip(&self) -> u64 {
        self.registers.rip
    }
    fn advance_to(&mut self, rip: u64) {
        self.registers.rip = rip;
    }
    fn rflags(&self) -> u64 {
        self.registers.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.registers.rflags = value;
    }
    fn next_rip(&self) -> Option<u64> {
        Some(self.registers.rip + 2)
    }
    fn cpl(&self) -> u8 {
        0
    }
    fn code_mode(&self) -> CodeMode {
        CodeMode::Bits64
    }
    fn cs_base(&self) -> u64 {
        0
    }
    fn paging(&self) -> Paging {
        let Registers {
            cr0,
            cr3,
            cr4,
            efer,
            ..
        } = self.registers;
        Paging {
            // Always in protected mode.
            cr0: cr0 | 1,
            cr3,
            cr4,
            efer,
        }
    }
    fn inject_exception(&mut self, exception: Exception) {
        self.exception = Some(exception);
    }
}

impl Vcpu<FakeCpu> for FakeVcpu {
    fn attach(&mut self, _: &mut FakeCpu) {
        assert!(!self.attached);
        self.attached = true;
        self.star_in_cpu = self.registers.star;
    }
    fn detach(&mut self, _: &mut FakeCpu) {
        assert!(self.attached);
        self.attached = false;
        self.registers.star = self.star_in_cpu;
    }
    fn enter(&mut self, _: &mut FakeCpu) -> Exit {
        assert!(self.attached);
        match self.script.pop_front() {
            Some(step) => step(self),
            None => Exit::Interrupt,
        }
    }
    fn flush_translations(&mut self) {
        self.flushes += 1;
    }
    fn registers(&self) -> Registers {
        assert!(!self.attached);
        Registers {
            gpr: self.gpr,
            ..self.registers
        }
    }
    fn set_registers(&mut self, registers: &Registers) -> bool {
        assert!(!self.attached);
        if registers.cr8 > 15 {
            return false;
        }
        self.registers = *registers;
        self.gpr = registers.gpr;
        true
    }
    fn set_directory_pointers(&mut self, entries: [u64; 4]) -> bool {
        self.directory_pointers.push(entries);
        true
    }
    fn interruptible(&self) -> bool {
        self.interruptible
    }
    fn inject_interrupt(&mut self, vector: u8) {
        assert!(self.interruptible);
        self.injected.push(vector);
    }
    fn inject_nmi(&mut self) -> bool {
        let can = !self.nmi_masked;
        if can {
            self.injected.push(2);
            (self.nmi_masked, self.interruptible) = (true, false);
        }
        can
    }
    fn request_window(&mut self, priority_class: Option<u8>) {
        self.window = priority_class;
    }
    fn task_priority(&self) -> u8 {
        self.registers.cr8 as u8
    }
    fn set_task_priority(&mut self, cr8: u8) {
        self.registers.cr8 = u64::from(cr8);
    }
    fn reset(&mut self, startup: Option<u8>) {
        assert!(!self.attached);
        self.registers.star = [0; 4];
        self.registers.rip = startup.map_or(0xfff0, |page| u64::from(page) << 12);
    }
    fn efer(&self) -> u64 {
        self.registers.efer
    }
    fn set_efer(&mut self, value: u64) -> bool {
        let legal = value >> 12 == 0;
        if legal {
            self.registers.efer = value;
        }
        legal
    }
    fn xcr0(&self) -> u64 {
        self.registers.xcr0
    }
    fn set_xcr0(&mut self, value: u64) {
        self.registers.xcr0 = value;
    }
    fn set_pat(&mut self, value: u64) {
        self.registers.pat = value;
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn extended_state(&self) -> &[AtomicU64] {
        &self.extended
    }
    fn set_extended_state(&mut self, image: &[AtomicU64]) {
        for (own, other) in self.extended.iter().zip(image) {
            own.store(other.load(Relaxed), Relaxed);
        }
    }
}
