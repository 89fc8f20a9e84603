//! What a guest that means harm does to its processor: the body of the fuzz target `processor` in `fuzz/`, of which the
//! test here replays the corpus.
//!
//! Any bytes become steps: hypercalls, model-specific registers, the local APIC's page, CPUID, messages and events
//! from the vmm, interrupts, halts, time. Faults are fine. Not fine: a panic, a malformed call that goes on
//! to the vmm, a vector that no processor takes, a timer that is due again at once for ever.
//!
//! What is absent: any use outside of tests, chance.
#![forbid(unsafe_code)]

mod steps;

use hypervisor_abi::Vendor;
use hypervisor_core::apic::{Arrival, DeliveryMode, Destination, Ipi};
use hypervisor_core::hal::CodeMode;
use hypervisor_core::hyperv::Partition;
use hypervisor_core::processor::{Context, HypercallAnswer, Page, VirtualProcessor};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
pub use steps::{Step, Steps};

const TSC_HZ: u64 = 2_000_000_000;
const APIC_HZ: u64 = 200_000_000;
const EPOCH: u64 = 5_000_000_000;

/// The processor's pages live as long as the program; one input at a time has them.
static PAGES: [Page; 3] = [const { [const { AtomicU64::new(0) }; 512] }; 3];
static IN_USE: Mutex<()> = Mutex::new(());

/// Runs the steps that `input` holds on a processor with its local APIC on.
pub fn processor(input: &[u8]) {
    let _in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    for word in PAGES.iter().flatten() {
        word.store(0, Relaxed);
    }
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let vendor = match first & 1 {
        0 => Vendor::Svm,
        _ => Vendor::Vmx,
    };
    let partition = Partition::new(vendor, 2, TSC_HZ, APIC_HZ, EPOCH, first & 2 == 0);
    let index = u32::from(first >> 2 & 1);
    let [messages, events, assist] = &PAGES;
    let processor = VirtualProcessor::new(&partition, index, index, messages, events, assist);
    let mut guest = Guest {
        partition,
        processor,
        tsc: EPOCH,
    };
    for step in Steps::new(rest).take(4096) {
        guest.take(step);
    }
}

struct Guest {
    partition: Partition,
    processor: VirtualProcessor,
    tsc: u64,
}

impl Guest {
    fn take(&mut self, step: Step) {
        let (partition, processor) = (&self.partition, &mut self.processor);
        let context = |choice: u64| Context {
            tsc: self.tsc,
            cr4: choice,
            xcr0: choice | 1,
            efer: choice,
        };
        match step {
            Step::Hypercall {
                registers,
                mode,
                level,
            } => {
                let mode =
                    [CodeMode::Bits16, CodeMode::Bits32, CodeMode::Bits64][usize::from(mode % 3)];
                let gpr = |index: usize| registers[index % registers.len()];
                let cr0 = u64::from(level >> 2);
                let answer = processor.hypercall(partition, gpr, mode, level & 3, cr0);
                check(answer, level);
            }
            // Of most registers the answer is a fault.
            Step::WriteMsr(msr, value) => {
                discard(processor.wrmsr(partition, msr, value, &context(value)))
            }
            Step::ReadMsr(msr) => discard(processor.rdmsr(partition, msr, &context(0))),
            Step::WriteApic(offset, value) => {
                processor.write_apic(partition, offset & 0xfff, value, self.tsc);
            }
            Step::ReadApic(offset) => {
                processor.read_apic(partition, offset & 0xfff, self.tsc);
            }
            Step::Cpuid(leaf, subleaf) => {
                let host = |leaf: u32, subleaf: u32| [leaf, subleaf, !leaf, !subleaf];
                processor.cpuid(partition, leaf, subleaf, &context(u64::from(subleaf)), host);
                let _ = processor.xsetbv(subleaf & 1, leaf.into(), host);
            }
            Step::Message(sint, content) => discard(processor.post_message(sint & 15, &content)),
            Step::Event(sint, flag) => {
                processor.signal_event(sint & 15, flag & 2047);
            }
            Step::Page(index, value) => {
                PAGES[usize::from(index >> 9 & 1)][usize::from(index & 511)].store(value, Relaxed)
            }
            Step::Interrupt(mode, vector) => {
                let mode = DeliveryMode::from_field(mode.into()).unwrap_or(DeliveryMode::Fixed);
                let arrival = processor.deliver(&Ipi {
                    mode,
                    vector,
                    level: vector & 1 != 0,
                    destination: Destination::Myself,
                });
                assert!(mode == DeliveryMode::StartUp || !matches!(arrival, Arrival::StartUp(_)));
            }
            Step::Acknowledge => {
                let pending = processor.pending_interrupt();
                assert!(pending.is_none_or(|vector| vector >= 16));
                assert_eq!(processor.acknowledge(), pending);
            }
            Step::Halt(masked) if masked & 1 == 0 => processor.halt(),
            Step::Halt(_) => processor.halt_masked(),
            Step::Wait(ticks) => self.tsc = self.tsc.saturating_add(ticks),
            Step::Sleep => {
                let deadline = processor.next_deadline(partition);
                self.tsc = deadline.map_or(self.tsc, |deadline| deadline.max(self.tsc));
            }
        }
        self.processor.poll(&self.partition, self.tsc);
        // What is due has been done: nothing is due at once again.
        let deadline = self.processor.next_deadline(&self.partition);
        assert!(deadline.is_none_or(|deadline| deadline > self.tsc || self.tsc == u64::MAX));
    }
}

/// A fault of the guest's, or no room for a message: fine.
fn discard<T, E>(_: Result<T, E>) {}

/// What reaches the vmm is what the specification lets a caller say.
fn check(answer: HypercallAnswer, level: u8) {
    if let HypercallAnswer::ToVmm([input, first, _]) = answer {
        assert!(level & 3 == 0 && level & 4 != 0);
        let fast = input & 1 << 16 != 0;
        let length = match input as u16 {
            0x5c => 256,
            0x5d => 8,
            code => panic!("call {code:#x} goes to the vmm"),
        };
        assert!(fast || first & 7 == 0 && (first & 0xfff) + length <= 0x1000);
        assert_eq!(input >> 17, 0);
    }
}
