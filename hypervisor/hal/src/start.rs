//! From the boot crate's hand-over to the control domain, on every CPU.

use crate::cpu;
use crate::handoff::{self, Handoff};
use crate::machine::{Arrival, Extension, Machine};
use crate::memory::{MAX_GUEST_RANGES, MemoryLayout, PhysicalMemory, PoolBox};
use crate::svm::{self, Svm};
use crate::vmx::{self, Vmx};
use core::fmt::{self, Display};
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use hypervisor_abi::Vendor;
use hypervisor_core::control::{self, Event, Hypervisor};
use hypervisor_core::fetch::Fetch;
use hypervisor_core::hal::{Hal, State};
use hypervisor_core::machine::Machines;
use hypervisor_core::memory::identity::IdentityTables;
use spin::Once;

/// What all CPUs share.
pub struct Shared<E: Extension> {
    machine: &'static Machine<E>,
    features: E::Features,
    hypervisor: Hypervisor<Machine<E>>,
}

/// Why this machine can't run the hypervisor, and what a person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// On a CPU of AMD or its kind.
    Svm(svm::features::Missing),
    /// On any other.
    Vmx(vmx::features::Missing),
}

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svm(missing) => missing.fmt(f),
            Self::Vmx(missing) => missing.fmt(f),
        }
    }
}

/// Whose extension this CPU would have, by its vendor string: SVM is AMD's and Hygon's.
fn vendor() -> Vendor {
    let [_, b, c, d] = cpu::cpuid(0, 0);
    match [b, d, c].map(u32::to_le_bytes).as_flattened() {
        b"AuthenticAMD" | b"HygonGenuine" => Vendor::Svm,
        _ => Vendor::Vmx,
    }
}

/// Looks whether the CPU that this runs on can run the hypervisor. Changes nothing, so the caller
/// can still leave the machine to somebody else.
///
/// # Errors
/// What it lacks.
pub fn check() -> Result<(), Missing> {
    match vendor() {
        Vendor::Svm => Svm::check().map(|_| ()).map_err(Missing::Svm),
        Vendor::Vmx => Vmx::check().map(|_| ()).map_err(Missing::Vmx),
    }
}

/// Refused accesses that are logged one by one; later ones are only counted.
const LOGGED_ACCESSES: u64 = 16;

/// Puts this CPU under the hypervisor and runs the control domain on it.
///
/// # Safety
/// Called once on each CPU, in the state that [`handoff`](crate::handoff) describes.
pub unsafe fn start(handoff: &'static Handoff, index: usize) -> ! {
    match vendor() {
        // SAFETY: the caller's.
        Vendor::Svm => unsafe { start_on::<Svm>(handoff, index) },
        // SAFETY: the caller's.
        Vendor::Vmx => unsafe { start_on::<Vmx>(handoff, index) },
    }
}

/// An NMI was taken by the hypervisor on CPU `index`, where this runs. It was nobody's signal to stop,
/// so the control domain gets it. (On AMD none is ever taken: see `svm`.)
pub fn nmi_arrived(index: usize) {
    if vendor() == Vendor::Vmx {
        vmx::nmi::arrived(index);
    }
}

/// # Safety
/// That of [`start`], on a CPU of the extension's vendor.
unsafe fn start_on<E: Extension>(handoff: &'static Handoff, index: usize) -> ! {
    // Others wait for the first CPU's preparations, and then for the control domain's call.
    let shared = if index == 0 {
        // SAFETY: the caller's.
        E::shared().call_once(|| unsafe { prepare(handoff) })
    } else {
        E::shared().wait()
    };
    let entry = handoff.entry(index);
    // A guest's processor is made for one kind of CPU, and must run on each.
    match E::check() {
        Ok(features) if features == shared.features => {}
        Ok(features) => panic!(
            "CPU {index} has {features}, the first CPU {}: their controls must be the same",
            shared.features
        ),
        Err(missing) => panic!("CPU {index}, unlike the first: {missing}"),
    }
    let arrival = Arrival {
        index,
        root: shared.hypervisor.identity.root(),
        entry: &entry,
        crash_under_way: handoff.crash_under_way,
    };
    // SAFETY: (1) the caller's; (2) the identity tables hide image, private memory and pool;
    // (3) checked on this CPU.
    let cpu = unsafe { E::start(shared.machine, &shared.features, &arrival) };
    let mut cpu = cpu.unwrap_or_else(|| panic!("the page pool is too small for CPU {index}"));
    (handoff.log)(format_args!("CPU {index} is under the hypervisor"));
    let mut fetch = Fetch::default();
    loop {
        match control::serve(&shared.hypervisor, &mut *cpu, &mut fetch) {
            Event::RefusedAccess {
                address,
                write,
                count,
            } => {
                if count <= LOGGED_ACCESSES {
                    let kind = if write { "write" } else { "read" };
                    (handoff.log)(format_args!(
                        "refused {kind} of {:#x} on CPU {index} ({count} so far)",
                        address.0
                    ));
                }
            }
            Event::Init => (handoff.log)(format_args!("INIT on CPU {index} ignored")),
            Event::Fatal(exit) => {
                let (rip, mode, paging) = (cpu.rip(), cpu.code_mode(), cpu.paging());
                panic!(
                    "the control domain died on CPU {index}: {exit:x?} at {rip:#x}, {mode:?}, {paging:x?}"
                )
            }
        }
    }
}

/// # Safety
/// That of [`start_on`], on the first CPU.
unsafe fn prepare<E: Extension>(handoff: &'static Handoff) -> Shared<E> {
    let features = E::check().unwrap_or_else(|missing| panic!("{missing}"));
    let range = |r: handoff::Range| r.start..r.end;
    let mut guest = [const { 0..0 }; MAX_GUEST_RANGES];
    for (to, from) in guest.iter_mut().zip(handoff.guest_pool()) {
        *to = range(*from);
    }
    let layout = MemoryLayout {
        pool: range(handoff.page_pool),
        guest,
        hidden: [
            range(handoff.image),
            range(handoff.private),
            range(handoff.crash_record),
        ],
        top: handoff.memory_end,
    };
    // SAFETY: (1), (4) the host tables map all RAM and stay; (2) the page pool is the
    // hypervisor's alone; (3) the guest pool is set aside, 2 MiB aligned.
    let memory = unsafe { PhysicalMemory::new(layout) };
    // Its pool must outlive every box in it: it lies in the image, not in itself.
    static MEMORY: Once<PhysicalMemory> = Once::new();
    let memory: &'static PhysicalMemory = MEMORY.call_once(|| memory);
    let too_small = || -> ! { panic!("the page pool is too small: add memory") };
    let machine = Machine::<E>::new(memory, handoff, &features);
    let machine: &'static Machine<E> = PoolBox::leak(
        PoolBox::new(memory.pool(), machine.unwrap_or_else(|| too_small()))
            .unwrap_or_else(|| too_small()),
    );
    let hidden: &'static [Range<u64>] = memory.hidden();
    let identity = IdentityTables::new(machine, hidden, E::gigabyte_pages(&features));
    let hypervisor = Hypervisor {
        hal: machine,
        machines: Machines::new(machine.memory()).unwrap_or_else(|| too_small()),
        identity: identity.unwrap_or_else(|| too_small()),
        hidden,
        refused_accesses: AtomicU64::new(0),
    };
    (handoff.log)(format_args!(
        "{features}, {} pages of pool free",
        memory.pool().free_pages()
    ));
    Shared {
        machine,
        features,
        hypervisor,
    }
}
