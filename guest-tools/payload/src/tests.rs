//! The tests, by the mode that the command line names.

mod clocks;
mod debug;
mod enlightenments;
mod exits;
mod hostile;
mod interrupts;
mod ports;
mod prefixes;
mod synic;
mod timers;
mod world_switch;

use crate::cpu::{cpuid, set_interrupts};
use crate::options::Options;
use crate::report::{Outcome, finish, run};
use crate::say;

type Test = (&'static str, fn() -> Outcome);

/// What a well-behaved guest relies on.
const ALL: &[Test] = &[
    ("cpuid", enlightenments::cpuid),
    ("faults", interrupts::faults),
    ("int1", debug::int1),
    ("int1-in-shadow", debug::int1_in_shadow),
    ("step-over-sti", debug::step_over_sti),
    ("general-detect", debug::general_detect),
    ("echo-port", ports::echo),
    ("string-port", ports::string),
    ("string-fault", ports::string_fault),
    ("unmapped-memory", ports::unmapped_memory),
    ("prefixes", prefixes::lengths),
    ("guest-os-id", enlightenments::guest_os_id),
    ("hypercall-page", enlightenments::hypercall_page),
    ("vp-index", enlightenments::vp_index),
    ("reference-counter", clocks::reference_counter),
    ("frequencies", clocks::frequencies),
    ("reference-tsc-page", clocks::reference_tsc_page),
    ("x2apic", interrupts::x2apic),
    ("self-ipi", interrupts::self_ipi),
    ("untold-end", interrupts::untold_end),
    ("apic-timer", timers::apic_timer),
    ("synic-message", synic::message),
    ("synic-queue", synic::queue),
    ("synic-event", synic::event),
    ("stimer-message", timers::stimer_message),
    ("stimer-direct", timers::stimer_direct),
    ("stimer-periodic", timers::stimer_periodic),
    ("processors", interrupts::processors),
    ("ipi", interrupts::ipi),
    ("ipi-halted", interrupts::ipi_to_halted),
    ("remote-event", synic::remote_event),
];

/// Runs what the command line asks for, modes joined by `+` one after the other, and ends the
/// machine.
pub fn run_mode() -> ! {
    Options::get().mode().split('+').for_each(run_one);
    finish()
}

fn run_one(mode: &str) {
    match mode {
        "" | "all" => ALL.iter().for_each(|(name, test)| run(name, *test)),
        "exits" => run("exits", exits::exits),
        "timer-busy" => run("timer-busy", timers::busy),
        "random-gpa" => run("random-gpa", hostile::random_gpa),
        "msr-sweep" => run("msr-sweep", hostile::msr_sweep),
        "port-sweep" => run("port-sweep", hostile::port_sweep),
        "patterns" => run("patterns", hostile::patterns),
        "triple-fault" => hostile::triple_fault(),
        "spin" => for_ever(core::hint::spin_loop),
        "exit-for-ever" => for_ever(|| {
            cpuid(0, 0);
        }),
        other => match ALL.iter().find(|(name, _)| *name == other) {
            Some((name, test)) => run(name, *test),
            None => say!("payload: there is no mode {other}"),
        },
    }
}

/// With interrupts on: Bochs gives a CPU none while its guest has them off (docs/decisions/0005).
fn for_ever(f: impl Fn()) -> ! {
    set_interrupts(true);
    loop {
        f();
    }
}
