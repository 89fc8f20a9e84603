//! Machines: their slots, handles, life cycle and memory.

use crate::apic::{Identity, Ipi};
use crate::fetch::{self, Words};
use crate::hal::{Gpa, Hal, Hpa, Memory, Paging};
use crate::hyperv::Partition;
use crate::inbox::{Duty, Inbox, Whereabouts};
use crate::memory::frames::{Frames, Owner};
use crate::memory::nested::{NestedTables, check_range};
use crate::memory::walk;
use crate::run::Processor;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use hypervisor_abi::{
    ABI_VERSION, CONFIG_REFERENCE_TSC, FRAME_SIZE, Handle, MAX_PROCESSORS, PAGE_SIZE, RunPage,
    Status, run_page_offset,
};
use spin::{Mutex, Once, RwLock, RwLockReadGuard};

/// Most machines at a time.
pub const MAX_MACHINES: usize = 32;
/// Bits of a handle's low half that name the slot; the other 123 are random.
const SLOT_MASK: u64 = MAX_MACHINES as u64 - 1;
/// Pages of the pool that a machine's nested tables may take: 64 GiB in 4 KiB pages takes 32,833,
/// in 2 MiB pages 66. Set so that a machine can have its low memory in small pages and no more.
const QUOTA_PAGES: usize = 1024;

/// All machines, and who owns which memory.
pub struct Machines<H: Hal> {
    frames: Frames,
    slots: [Slot<H>; MAX_MACHINES],
}

struct Slot<H: Hal> {
    /// Moves on when the slot's machine dies: its frames are free then.
    generation: AtomicU64,
    /// Read-locked by every call on the machine, for as long as a run lasts.
    machine: RwLock<Option<<H::Memory as Memory>::Box<Machine<H>>>>,
}

/// A machine of a slot, kept alive by the guard.
pub type MachineGuard<'a, H> =
    RwLockReadGuard<'a, Option<<<H as Hal>::Memory as Memory>::Box<Machine<H>>>>;

/// One machine. What every run looks at lies first, close together.
#[repr(C)]
pub struct Machine<H: Hal> {
    handle: Handle,
    /// Moves on when the map loses something: processors then drop their translations.
    pub map_generation: AtomicU64,
    /// Shared state of the Hyper-V interface.
    pub partition: Partition,
    processors: [Once<<H::Memory as Memory>::Box<ProcessorSlot<H>>>; MAX_PROCESSORS],
    owner: Owner,
    control_frame: Hpa,
    /// Root of `map`; never changes.
    pub root: Hpa,
    /// Pages laid over the guest's memory, once for the machine.
    pub hypercall_page: Hpa,
    /// The reference TSC page.
    pub reference_tsc_page: Hpa,
    /// Where the two lie in the guest.
    pub shared_overlays: Mutex<[Option<u64>; 2]>,
    /// What the guest sees where.
    pub map: Mutex<NestedTables<H>>,
}

/// A processor, and what others may touch of it while it runs. The end of the inbox and the start of
/// the processor are what every run looks at: they lie together, in one page.
#[repr(C)]
pub struct ProcessorSlot<H: Hal> {
    /// What others left for it.
    pub inbox: Inbox,
    /// [`Identity`], packed.
    pub identity: AtomicU64,
    /// The map generation it entered the guest with.
    pub entered_generation: AtomicU64,
    /// Its run page.
    pub page: &'static RunPage,
    /// Locked for as long as it runs.
    pub body: Mutex<Processor<H>>,
}

/// Processors to kick and to wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Those that run elsewhere.
    pub signal: u64,
    /// Those that are blocked.
    pub wake: u64,
}

impl Others {
    /// Adds what must be done for processor `index`.
    pub fn add(&mut self, index: usize, duty: Duty) {
        match duty {
            Duty::Nothing => {}
            Duty::Signal => self.signal |= 1 << index,
            Duty::Wake => self.wake |= 1 << index,
        }
    }
}

impl<H: Hal> Machines<H> {
    /// No machine yet; `None` when the pool can't hold the table of owners.
    pub fn new(memory: &H::Memory) -> Option<Self> {
        Some(Self {
            frames: Frames::new(memory)?,
            slots: [const {
                Slot {
                    generation: AtomicU64::new(1),
                    machine: RwLock::new(None),
                }
            }; MAX_MACHINES],
        })
    }

    /// The machine that `handle` names; it can't die while the guard lives.
    pub fn find(&self, handle: Handle) -> Result<MachineGuard<'_, H>, Status> {
        let slot = &self.slots[(handle.0 & SLOT_MASK) as usize];
        let guard = slot.machine.read();
        match guard.as_ref() {
            Some(machine) if same(machine.handle, handle) => Ok(guard),
            _ => Err(Status::StaleHandle),
        }
    }

    /// Creates a machine whose control frame the caller has mapped at `linear`.
    pub fn create(&self, hal: &'static H, caller: &Paging, linear: u64) -> Result<Handle, Status> {
        let memory = hal.memory();
        if !linear.is_multiple_of(FRAME_SIZE) {
            return Err(Status::InvalidArgument);
        }
        let (control_frame, _) = caller_frame(memory, caller, linear, FRAME_SIZE)?;
        let config = memory.config(control_frame).ok_or(Status::NotGuestMemory)?;
        let processor_count = config.processor_count.load(Relaxed);
        let (tsc_hz, apic_hz) = (config.tsc_hz.load(Relaxed), config.apic_hz.load(Relaxed));
        let (epoch, flags) = (config.tsc_epoch.load(Relaxed), config.flags.load(Relaxed));
        let known = config.version.load(Relaxed) == ABI_VERSION
            && (1..=MAX_PROCESSORS as u32).contains(&processor_count)
            && (1_000_000..=1 << 40).contains(&tsc_hz)
            && (1_000_000..=1 << 40).contains(&apic_hz)
            && flags & !CONFIG_REFERENCE_TSC == 0;
        if !known {
            return Err(Status::UnsupportedConfig);
        }

        for (index, slot) in self.slots.iter().enumerate() {
            let Some(mut place) = slot.machine.try_write() else {
                continue;
            };
            if place.is_some() {
                continue;
            }
            let owner = Owner {
                slot: index,
                generation: slot.generation.load(SeqCst),
            };
            self.claim(memory, control_frame, owner)?;
            let handle = Handle(hal.random() & !SLOT_MASK | index as u64, hal.random());
            let reference_tsc = flags & CONFIG_REFERENCE_TSC != 0;
            let partition = Partition::new(
                H::VENDOR,
                processor_count,
                tsc_hz,
                apic_hz,
                epoch,
                reference_tsc,
            );
            match Machine::<H>::create(memory, handle, owner, control_frame, partition) {
                Some(machine) => {
                    *place = Some(machine);
                    return Ok(handle);
                }
                None => {
                    slot.generation.fetch_add(1, SeqCst);
                    return Err(Status::OutOfPages);
                }
            }
        }
        Err(Status::TooManyMachines)
    }

    /// Ends the machine that `handle` names.
    pub fn destroy(&self, memory: &H::Memory, handle: Handle) -> Result<(), Status> {
        drop(self.find(handle)?);
        self.end((handle.0 & SLOT_MASK) as usize, memory, |m| {
            same(m.handle, handle)
        })
    }

    /// Ends the machine of `slot` if it is the one meant and nobody is inside it.
    fn end(
        &self,
        slot: usize,
        memory: &H::Memory,
        is_it: impl Fn(&Machine<H>) -> bool,
    ) -> Result<(), Status> {
        let slot = &self.slots[slot];
        // Short calls may hold the lock too; a run is what may last.
        let mut place = (0..1000)
            .find_map(|_| slot.machine.try_write())
            .ok_or(Status::Busy)?;
        match place.as_ref() {
            Some(machine) if is_it(machine) => {}
            _ => return Err(Status::StaleHandle),
        }
        if let Some(mut machine) = place.take() {
            machine.release(memory);
        }
        slot.generation.fetch_add(1, SeqCst);
        Ok(())
    }

    /// Takes a frame for `owner`. The machine that owns it now is ended, unless it is inside a guest.
    fn claim(&self, memory: &H::Memory, frame: Hpa, owner: Owner) -> Result<(), Status> {
        loop {
            let is_live = |o: Owner| {
                self.slots
                    .get(o.slot)
                    .is_some_and(|s| s.generation.load(SeqCst) == o.generation)
            };
            match self.frames.claim(memory, frame, owner, is_live) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Status::NotGuestMemory),
                Err(present) if present.slot == owner.slot => return Err(Status::Owned),
                Err(present) => match self.end(present.slot, memory, |m| m.owner == present) {
                    Ok(()) | Err(Status::StaleHandle) => {}
                    Err(_) => return Err(Status::Owned),
                },
            }
        }
    }

    /// Maps the caller's memory at `linear` into the guest; answers how many bytes it did.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the call's arguments and its context"
    )]
    pub fn add_memory(
        &self,
        hal: &H,
        machine: &Machine<H>,
        caller: &Paging,
        linear: u64,
        gpa: u64,
        length: u64,
        writable: bool,
    ) -> Result<u64, Status> {
        // Both keep the call short: frames in large pages, or the steps that small ones take.
        const FRAMES_PER_CALL: u64 = 16;
        const STEPS_PER_CALL: u64 = 1024;
        let memory = hal.memory();
        if !linear.is_multiple_of(PAGE_SIZE) {
            return Err(Status::InvalidArgument);
        }
        // Before any frame changes hands.
        check_range(Gpa(gpa), length)?;
        let (mut done, mut steps) = (0, 0);
        while done < length.min(FRAMES_PER_CALL * FRAME_SIZE) && steps < STEPS_PER_CALL {
            let at = linear.checked_add(done).ok_or(Status::InvalidArgument)?;
            // At most up to the next frame, so that one piece has one owner.
            let piece = (length - done).min(FRAME_SIZE - at % FRAME_SIZE);
            let one = || {
                let (host, walks) = caller_frame(memory, caller, at, piece)?;
                if host.0 / FRAME_SIZE == machine.control_frame.0 / FRAME_SIZE {
                    return Err(Status::InvalidArgument);
                }
                self.claim(memory, host, machine.owner)?;
                let gpa = Gpa(gpa + done);
                let mapped = machine.map.lock().map(memory, gpa, host, piece, writable)?;
                let large = mapped == FRAME_SIZE && gpa.0.is_multiple_of(FRAME_SIZE);
                Ok((mapped, walks + if large { 1 } else { mapped / PAGE_SIZE }))
            };
            match one() {
                Ok((bytes, taken)) => (done, steps) = (done + bytes, steps + taken),
                Err(status) if done == 0 => return Err(status),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// Physical address of `length` bytes of the caller's memory at `linear`, which lie within one
/// frame of the guest pool: user-writable and contiguous. And how many page walks that took.
fn caller_frame<M: Memory>(
    memory: &M,
    caller: &Paging,
    linear: u64,
    length: u64,
) -> Result<(Hpa, u64), Status> {
    let read = |a| memory.read_control_domain(a);
    let (start, mut contiguous) =
        walk::user_writable(caller, linear, read).ok_or(Status::NotMapped)?;
    let mut walks = 1;
    while contiguous < length {
        let next = linear
            .checked_add(contiguous)
            .ok_or(Status::InvalidArgument)?;
        let (address, more) = walk::user_writable(caller, next, read).ok_or(Status::NotMapped)?;
        if address.0 != start.0 + contiguous {
            return Err(Status::InvalidArgument);
        }
        contiguous += more;
        walks += 1;
    }
    let last = Hpa(start.0 + (length - 1));
    match (memory.frame_index(start), memory.frame_index(last)) {
        (Some(a), Some(b)) if a == b => Ok((start, walks)),
        _ => Err(Status::NotGuestMemory),
    }
}

/// Compares handles in a time that does not depend on where they differ.
fn same(a: Handle, b: Handle) -> bool {
    core::hint::black_box((a.0 ^ b.0) | (a.1 ^ b.1)) == 0
}

impl<H: Hal> Machine<H> {
    fn create(
        memory: &H::Memory,
        handle: Handle,
        owner: Owner,
        control_frame: Hpa,
        partition: Partition,
    ) -> Option<<H::Memory as Memory>::Box<Self>> {
        let hypercall_page = memory.allocate_page()?;
        let Some(reference_tsc_page) = memory.allocate_page() else {
            memory.free_page(hypercall_page);
            return None;
        };
        let mut root = None;
        let made = NestedTables::new(memory, QUOTA_PAGES).and_then(|map| {
            let root = *root.insert(map.root());
            memory.allocate(Self {
                handle,
                owner,
                control_frame,
                partition,
                map: Mutex::new(map),
                root,
                map_generation: AtomicU64::new(1),
                hypercall_page,
                reference_tsc_page,
                shared_overlays: Mutex::new([None; 2]),
                processors: [const { Once::new() }; MAX_PROCESSORS],
            })
        });
        if made.is_none() {
            [Some(hypercall_page), Some(reference_tsc_page), root]
                .into_iter()
                .flatten()
                .for_each(|page| memory.free_page(page));
        }
        made
    }

    /// Gives everything but the machine itself back. No processor is inside.
    fn release(&mut self, memory: &H::Memory) {
        for slot in &self.processors {
            if let Some(slot) = slot.get() {
                let pages = slot.body.lock().pages();
                pages.into_iter().for_each(|page| memory.free_page(page));
            }
        }
        self.map.get_mut().destroy(memory);
        memory.free_page(self.hypercall_page);
        memory.free_page(self.reference_tsc_page);
    }

    /// Creates processor `index`.
    pub fn create_processor(
        &self,
        hal: &'static H,
        index: usize,
        apic_id: u32,
    ) -> Result<(), Status> {
        let memory = hal.memory();
        let place = self.processors.get(index).ok_or(Status::InvalidArgument)?;
        if place.is_completed() {
            return Err(Status::ProcessorExists);
        }
        let page = memory
            .run_page(Hpa(self.control_frame.0 + run_page_offset(index) as u64))
            .ok_or(Status::NotGuestMemory)?;
        let body = Processor::new(hal, self, index, apic_id).ok_or(Status::OutOfPages)?;
        let identity = AtomicU64::new(body.identity().pack());
        let pages = body.pages();
        let slot = ProcessorSlot {
            body: Mutex::new(body),
            inbox: Inbox::default(),
            identity,
            entered_generation: AtomicU64::new(0),
            page,
        };
        let Some(slot) = memory.allocate(slot) else {
            pages.into_iter().for_each(|page| memory.free_page(page));
            return Err(Status::OutOfPages);
        };
        let mut slot = Some(slot);
        let _ = place.try_call_once(|| slot.take().ok_or(()));
        match slot {
            None => Ok(()),
            Some(late) => {
                drop(late);
                pages.into_iter().for_each(|page| memory.free_page(page));
                Err(Status::ProcessorExists)
            }
        }
    }

    /// Processor `index`.
    pub fn processor(&self, index: u64) -> Result<&ProcessorSlot<H>, Status> {
        let place = usize::try_from(index)
            .ok()
            .and_then(|i| self.processors.get(i))
            .ok_or(Status::NoProcessor)?;
        place.get().map(|slot| &**slot).ok_or(Status::NoProcessor)
    }

    /// All processors with their indices.
    pub fn processors(&self) -> impl Iterator<Item = (usize, &ProcessorSlot<H>)> {
        self.processors
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, &**slot.get()?)))
    }

    /// A page of the control frame as words; `offset` is page aligned.
    pub fn control_page(&self, memory: &H::Memory, offset: u64) -> Option<Words> {
        if offset >= FRAME_SIZE {
            return None;
        }
        memory.guest_page(Hpa(self.control_frame.0 + offset))
    }

    /// Sends an interrupt message to all it is for but `sender`; answers whether that is meant too.
    pub fn send(&self, sender: Option<usize>, ipi: &Ipi, others: &mut Others) -> bool {
        let identities = self
            .processors()
            .map(|(i, slot)| (i, Identity::unpack(slot.identity.load(Relaxed))));
        let mut targets = ipi.targets(sender, identities);
        let mut to_sender = false;
        while targets != 0 {
            let index = targets.trailing_zeros() as usize;
            targets &= targets - 1;
            if Some(index) == sender {
                to_sender = true;
            } else if let Ok(slot) = self.processor(index as u64) {
                others.add(index, slot.inbox.send(ipi));
            }
        }
        to_sender
    }

    /// Says that the map lost something. Answers who still runs under the old one.
    pub fn map_changed(&self) -> u64 {
        self.map_generation.fetch_add(1, SeqCst);
        self.running_under_old_map()
    }

    /// Processors that run under an older map than the present one.
    pub fn running_under_old_map(&self) -> u64 {
        let now = self.map_generation.load(SeqCst);
        self.processors()
            .filter(|(_, slot)| {
                slot.inbox.whereabouts() == Whereabouts::Running
                    && slot.entered_generation.load(SeqCst) < now
            })
            .fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// Eight bytes of the guest's memory at an aligned address.
    pub fn read_guest(&self, memory: &H::Memory, gpa: u64) -> Option<u64> {
        let page = self.guest_page(memory, gpa)?;
        Some(fetch::word(page, gpa))
    }

    /// The page of guest memory at `gpa`, until the map changes.
    pub fn guest_page(&self, memory: &H::Memory, gpa: u64) -> Option<Words> {
        self.map.lock().words(memory, Gpa(gpa))
    }
}

#[cfg(test)]
mod tests;
