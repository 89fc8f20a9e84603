//! A vmm: what it maps, and its calls as registers hold them.

use super::{FakeCpu, FakeHal, FakeVcpu};
use crate::calls;
use crate::hal::Exit;
use crate::machine::{MachineGuard, Machines};
use hypervisor_abi::{
    ABI_VERSION, CALL_SIGNATURE, CONFIG_REFERENCE_TSC, Call, ExitReason, FRAME_SIZE, Handle,
    RunPage, Status,
};
use std::sync::atomic::Ordering::Relaxed;

/// Present, writable, user.
pub const ALL_RIGHTS: u64 = 7;
/// Where a caller sees frame 0.
const LINEAR_BASE: u64 = 0x7f00_0000_0000;

/// A thread of the control domain on a CPU of its own.
pub struct Caller {
    pub hal: &'static FakeHal,
    pub machines: &'static Machines<FakeHal>,
    pub cpu: FakeCpu,
}

impl Caller {
    /// A process that sees nothing yet; each has its own `number`.
    pub fn new(hal: &'static FakeHal, machines: &'static Machines<FakeHal>, number: usize) -> Self {
        let cpu = FakeCpu {
            index: number,
            cr3: 0x100_0000 * (number as u64 + 1),
            ..Default::default()
        };
        Self { hal, machines, cpu }
    }

    /// The only process of a new world with this many pool pages and frames, all of which it sees.
    pub fn alone(pages: usize, frames: usize) -> Self {
        let hal = FakeHal::leaked(pages, frames);
        let machines = Box::leak(Box::new(Machines::new(&hal.memory).unwrap()));
        let mut caller = Self::new(hal, machines, 0);
        caller.sees(0..frames);
        caller
    }

    /// Another thread of the same process.
    pub fn sibling(&self) -> Self {
        Self::new(self.hal, self.machines, self.cpu.index)
    }

    /// Maps frames, writable for the user.
    pub fn sees(&mut self, frames: std::ops::Range<usize>) {
        self.sees_with(frames, ALL_RIGHTS);
    }

    /// Maps frames with these rights.
    pub fn sees_with(&mut self, frames: std::ops::Range<usize>, rights: u64) {
        let (linear, count) = (Self::linear(frames.start), frames.len());
        let memory = self.hal.memory;
        memory.map_for_caller(self.cpu.cr3, linear, frames.start, count, rights);
    }

    /// Where frame `index` appears to a caller that sees it.
    pub fn linear(index: usize) -> u64 {
        LINEAR_BASE + index as u64 * FRAME_SIZE
    }

    /// A call with all its registers.
    pub fn call(
        &mut self,
        call: Call,
        handle: Handle,
        arguments: [u64; 4],
    ) -> Result<[u64; 2], Status> {
        self.raw(CALL_SIGNATURE | call as u64, handle, arguments)
    }

    /// A call with any number in RAX.
    pub fn raw(
        &mut self,
        rax: u64,
        handle: Handle,
        [a0, a1, a2, a3]: [u64; 4],
    ) -> Result<[u64; 2], Status> {
        let kept = [0x5a5a; 16];
        self.cpu.gpr = kept;
        for (register, value) in [
            (0, rax),
            (7, handle.0),
            (6, handle.1),
            (2, a0),
            (8, a1),
            (9, a2),
            (10, a3),
        ] {
            self.cpu.gpr[register] = value;
        }
        let before = self.cpu.gpr;
        calls::answer(self.hal, self.machines, &mut self.cpu);
        let after = self.cpu.gpr;
        let outputs_only = (0..16).all(|i| [0, 2, 8].contains(&i) || before[i] == after[i]);
        assert!(outputs_only, "a call changed a register it must keep");
        match Status::from_number(after[0]).expect("a status") {
            Status::Ok => Ok([after[2], after[8]]),
            status => {
                assert_eq!((before[2], before[8]), (after[2], after[8]));
                Err(status)
            }
        }
    }

    /// Writes a good configuration into control frame `frame`.
    pub fn configure(&self, frame: usize) {
        let memory = &self.hal.memory;
        let config = crate::hal::Memory::config(memory, memory.frame(frame)).unwrap();
        config.version.store(ABI_VERSION, Relaxed);
        config.processor_count.store(4, Relaxed);
        config.tsc_hz.store(1_000_000_000, Relaxed);
        config.apic_hz.store(1_000_000_000, Relaxed);
        config.flags.store(CONFIG_REFERENCE_TSC, Relaxed);
    }

    /// Creates a machine with this control frame.
    pub fn create(&mut self, frame: usize) -> Result<Handle, Status> {
        self.configure(frame);
        let none = Handle(0, 0);
        self.call(Call::CreateMachine, none, [Self::linear(frame), 0, 0, 0])
            .map(|[low, high]| Handle(low, high))
    }

    /// A machine over frame 0 with `processors` processors; APIC ids are their indices.
    pub fn machine(&mut self, processors: u64) -> Handle {
        let handle = self.create(0).unwrap();
        for index in 0..processors {
            self.call(Call::CreateProcessor, handle, [index, index, 0, 0])
                .unwrap();
        }
        handle
    }

    /// `Run`.
    pub fn run(&mut self, handle: Handle, index: u64) -> Result<ExitReason, Status> {
        let [reason, _] = self.call(Call::Run, handle, [index, 0, 0, 0])?;
        Ok(ExitReason::from_number(reason as u32).expect("a reason"))
    }

    /// The machine itself.
    pub fn find(&self, handle: Handle) -> MachineGuard<'static, FakeHal> {
        self.machines.find(handle).unwrap()
    }

    /// The run page of a processor.
    pub fn page(&self, handle: Handle, index: u64) -> &'static RunPage {
        let guard = self.find(handle);
        guard.as_deref().unwrap().processor(index).unwrap().page
    }

    /// Looks at a processor that does not run, or changes it.
    pub fn with<T>(&self, handle: Handle, index: u64, look: impl FnOnce(&mut FakeVcpu) -> T) -> T {
        let guard = self.find(handle);
        let slot = guard.as_deref().unwrap().processor(index).unwrap();
        look(&mut slot.body.try_lock().expect("not running").vcpu)
    }

    /// Appends to what a processor's guest does.
    pub fn then(
        &self,
        handle: Handle,
        index: u64,
        step: impl FnOnce(&mut FakeVcpu) -> Exit + Send + 'static,
    ) {
        self.with(handle, index, |vcpu| vcpu.script.push_back(Box::new(step)));
    }
}
