//! From the boot crate's hand-over to the control domain, on every CPU.

use crate::handoff::{self, Handoff};
use crate::memory::{MAX_GUEST_RANGES, MemoryLayout, PhysicalMemory, PoolBox};
use crate::svm::features::Features;
use crate::svm::{self, Svm};
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use hypervisor_core::control::{self, Event, Hypervisor};
use hypervisor_core::fetch::Fetch;
use hypervisor_core::hal::{Hal, State};
use hypervisor_core::machine::Machines;
use hypervisor_core::memory::identity::IdentityTables;
use spin::Once;

/// What all CPUs share.
struct Shared {
    svm: &'static Svm,
    features: Features,
    hypervisor: Hypervisor<Svm>,
}

static SHARED: Once<Shared> = Once::new();

/// Refused accesses that are logged one by one; later ones are only counted.
const LOGGED_ACCESSES: u64 = 16;

/// Puts this CPU under the hypervisor and runs the control domain on it.
///
/// # Safety
/// Called once on each CPU, in the state that [`handoff`](crate::handoff) describes.
pub unsafe fn start(handoff: &'static Handoff, index: usize) -> ! {
    // Others wait for the first CPU's preparations, and then for the control domain's call.
    let shared = if index == 0 {
        // SAFETY: the caller's.
        SHARED.call_once(|| unsafe { prepare(handoff) })
    } else {
        SHARED.wait()
    };
    let entry = handoff.entry(index);
    if svm::features::check().is_err() {
        panic!("CPU {index} lacks what the first CPU has");
    }
    // SAFETY: (1) the caller's; (2) the identity tables hide image, private memory and pool;
    // (3) checked on this CPU.
    let cpu = unsafe {
        svm::start(
            shared.svm,
            index,
            shared.features,
            shared.hypervisor.identity.root(),
            &entry,
            handoff.crash_under_way,
        )
    };
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
/// That of [`start`], on the first CPU.
unsafe fn prepare(handoff: &'static Handoff) -> Shared {
    let features = svm::features::check().unwrap_or_else(|missing| panic!("{missing}"));
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
    let svm = Svm::new(memory, handoff.seed, handoff.cpus().len()).unwrap_or_else(|| too_small());
    let svm: &'static Svm =
        PoolBox::leak(PoolBox::new(memory.pool(), svm).unwrap_or_else(|| too_small()));
    let hidden: &'static [Range<u64>] = memory.hidden();
    let identity = IdentityTables::new::<Svm>(svm.memory(), hidden, features.gigabyte_pages);
    let hypervisor = Hypervisor {
        hal: svm,
        machines: Machines::new(svm.memory()).unwrap_or_else(|| too_small()),
        identity: identity.unwrap_or_else(|| too_small()),
        hidden,
        refused_accesses: AtomicU64::new(0),
    };
    (handoff.log)(format_args!(
        "SVM with {} tags{}{}, {} pages of pool free",
        features.tags,
        if features.next_rip { ", next RIP" } else { "" },
        if features.gigabyte_pages {
            ", 1 GiB pages"
        } else {
            ""
        },
        memory.pool().free_pages()
    ));
    Shared {
        svm,
        features,
        hypervisor,
    }
}
