//! Two processes, each with a machine, want each other's memory while the other's processor is
//! inside the guest.
//!
//! A machine that has no processor inside a guest may be taken over: so a killed vmm's memory comes
//! back. The holder's processor is out for a moment at each interrupt; a claim that falls into such
//! a moment ends the machine, and its holder must then be told so at its next call.

use crate::instruction::Answer;
use crate::spinner::Spinner;
use crate::survive::{ask_each_cpu, describe};
use hypervisor_abi::{Access, Call, FRAME_SIZE, Handle, PAGE_SIZE, StateGroup, Status};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Claims of each kind.
const ROUNDS: usize = 200;

/// The attacker: `own` is its granule, `other` the holder's.
///
/// # Errors
/// What went another way than it should.
pub fn claims(own: &str, other: &str) -> Result<String, String> {
    let mut machine = Spinner::open(own)?;
    create(&mut machine)?;
    refusals(&machine)?;
    let busy = own_processor_elsewhere(&machine)?;
    let (refused, taken) = others_memory(&mut machine, other)?;
    after_the_end(&mut machine)?;
    ask_each_cpu().map(|cpus| {
        format!("{refused} claims refused, {taken} between two runs, {busy} calls found the processor busy; {cpus}")
    })
}

fn create(machine: &mut Spinner) -> Result<(), String> {
    machine
        .create()
        .map_err(|(call, answer)| format!("{call:?}: {answer:x?}"))
}

fn expect(what: &str, answer: Answer, status: Status) -> Result<(), String> {
    match answer.named() {
        Some(named) if named == status => Ok(()),
        _ => Err(format!("{what}: {answer:x?} instead of {status:?}")),
    }
}

/// What its own machine refuses.
fn refusals(machine: &Spinner) -> Result<(), String> {
    let frame = machine.mapping.user_address(0);
    let memory = machine.mapping.user_address(FRAME_SIZE);
    // A frame that was never touched is not in the page tables yet.
    let untouched = machine.mapping.user_address(4 * FRAME_SIZE);
    let behind = machine.mapping.user_address(machine.mapping.length()) + (1 << 40);
    let write = Access::Write as u64;
    let stack = 0u8;
    let stack = &raw const stack as u64 & !(PAGE_SIZE - 1);
    for (what, arguments, status) in [
        (
            "untouched memory",
            [untouched, 0, PAGE_SIZE, write],
            Status::NotMapped,
        ),
        (
            "memory outside the mapping",
            [behind, 0, PAGE_SIZE, write],
            Status::NotMapped,
        ),
        (
            "the stack",
            [stack, 0, PAGE_SIZE, write],
            Status::NotGuestMemory,
        ),
        (
            "the control frame",
            [frame, 0, PAGE_SIZE, write],
            Status::InvalidArgument,
        ),
        (
            "no rights",
            [memory, 0, PAGE_SIZE, 0],
            Status::InvalidArgument,
        ),
        ("no length", [memory, 0, 0, write], Status::InvalidArgument),
        (
            "an odd address",
            [memory + 1, 0, PAGE_SIZE, write],
            Status::InvalidArgument,
        ),
        (
            "a used place",
            [memory, (4 << 30) - PAGE_SIZE, PAGE_SIZE, write],
            Status::Overlap,
        ),
    ] {
        expect(what, machine.call(Call::AddMemory, arguments), status)?;
    }
    let groups = StateGroup::Registers as u64;
    for (what, call, arguments, status) in [
        (
            "a processor twice",
            Call::CreateProcessor,
            [0, 0, 0, 0],
            Status::ProcessorExists,
        ),
        (
            "processor 64",
            Call::CreateProcessor,
            [64, 0, 0, 0],
            Status::InvalidArgument,
        ),
        (
            "no such processor",
            Call::Run,
            [1, 0, 0, 0],
            Status::NoProcessor,
        ),
        (
            "a far processor",
            Call::Run,
            [u64::MAX, 0, 0, 0],
            Status::NoProcessor,
        ),
        (
            "state of none",
            Call::GetState,
            [7, groups, 0, 0],
            Status::NoProcessor,
        ),
        (
            "a state of no group",
            Call::GetState,
            [0, 99, 0, 0],
            Status::InvalidArgument,
        ),
        (
            "nothing to protect",
            Call::ProtectMemory,
            [0, PAGE_SIZE, Access::Read as u64, 0],
            Status::NotPresent,
        ),
        (
            "a message outside",
            Call::PostMessage,
            [0, 2, FRAME_SIZE, 0],
            Status::InvalidArgument,
        ),
        (
            "SINT 16",
            Call::SignalEvent,
            [0, 16, 0, 0],
            Status::InvalidArgument,
        ),
    ] {
        expect(what, machine.call(call, arguments), status)?;
    }
    Ok(())
}

/// Runs the processor on one CPU and calls for it on the other. Answers how often it was busy.
fn own_processor_elsewhere(machine: &Spinner) -> Result<usize, String> {
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let pinned = hypercall::pin_to_cpu(1);
            while !end.load(SeqCst) {
                match machine.call(Call::Run, [0; 4]).named() {
                    Some(Status::Ok | Status::Busy) => {}
                    other => return Err(format!("a run: {other:?}")),
                }
            }
            pinned.map_err(|e| format!("there is no second CPU: {e}"))
        });
        let caller = scope.spawn(|| call_for_it(machine));
        let called = caller.join();
        end.store(true, SeqCst);
        let panicked = |_| Err("a thread panicked".to_owned());
        runner.join().unwrap_or_else(panicked)?;
        called.unwrap_or_else(|_| Err("a thread panicked".to_owned()))
    })
}

fn call_for_it(machine: &Spinner) -> Result<usize, String> {
    hypercall::pin_to_cpu(0).map_err(|e| e.to_string())?;
    let group = StateGroup::Registers as u64;
    let mut busy = [0; 3];
    for _ in 0..ROUNDS {
        let calls = [
            (Call::Run, [0, 0, 0, 0]),
            (Call::GetState, [0, group, 0, 0]),
            (Call::AccessApic, [0, 0x20, 0, 0]),
        ];
        for (count, (call, arguments)) in busy.iter_mut().zip(calls) {
            match machine.call(call, arguments).named() {
                Some(Status::Busy) => *count += 1,
                Some(Status::Ok) => {}
                other => return Err(format!("{call:?} while it runs: {other:?}")),
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    match busy {
        [0, _, _] | [_, 0, _] | [_, _, 0] => Err(format!("busy {busy:?} times: never is too few")),
        counts => Ok(counts.iter().sum()),
    }
}

/// Claims over the memory of a machine in another process. Answers how many were refused, and how
/// many came while its processor was outside.
fn others_memory(machine: &mut Spinner, other: &str) -> Result<(usize, usize), String> {
    let mut holder = Holder::start(other)?;
    let mut theirs = Spinner::map(other)?;
    let frame = theirs.mapping.user_address(0);
    let memory = theirs.mapping.user_address(FRAME_SIZE);
    let (mut refused, mut taken) = ([0, 0], 0);
    for round in 0..ROUNDS {
        let which = round % 2;
        let answer = match which {
            0 => crate::instruction::call(Call::CreateMachine, Handle(0, 0), [frame, 0, 0, 0]),
            _ => machine.call(
                Call::AddMemory,
                [memory, 0, FRAME_SIZE, Access::Write as u64],
            ),
        };
        match answer.named() {
            Some(Status::Owned | Status::Busy) => refused[which] += 1,
            Some(Status::Ok) => {
                taken += 1;
                // Give it back, for the next round.
                theirs.handle = Handle(answer.outputs[0], answer.outputs[1]);
                let owner: &Spinner = if which == 0 { &theirs } else { machine };
                match owner.call(Call::DestroyMachine, [0; 4]).named() {
                    // Stale: the holder was faster, and took it back by making its machine anew.
                    Some(Status::Ok | Status::StaleHandle) => {}
                    other => return Err(format!("the end of what was taken: {other:?}")),
                }
                if which == 1 {
                    create(machine)?;
                }
                holder.wait_until_it_runs()?;
            }
            other => return Err(format!("a claim on another's memory: {other:?}")),
        }
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    let told = holder.end()?;
    if refused.contains(&0) || told < taken {
        return Err(format!(
            "refused {refused:?}, taken {taken}, but its holder was told {told} times"
        ));
    }
    Ok((refused[0] + refused[1], taken))
}

/// Every call after the end of the machine, and a new one over the same memory at once.
fn after_the_end(machine: &mut Spinner) -> Result<(), String> {
    expect(
        "the end",
        machine.call(Call::DestroyMachine, [0; 4]),
        Status::Ok,
    )?;
    for number in (Call::DestroyMachine as u16)..=Call::LAST {
        let Some(call) = Call::from_number(number) else {
            continue;
        };
        expect(
            "a stale handle",
            machine.call(call, [0; 4]),
            Status::StaleHandle,
        )?;
    }
    let old = machine.handle;
    create(machine)?;
    let answer = crate::instruction::call(Call::DestroyMachine, old, [0; 4]);
    expect("the handle before", answer, Status::StaleHandle)?;
    expect(
        "the end",
        machine.call(Call::DestroyMachine, [0; 4]),
        Status::Ok,
    )
}

/// The process that holds the other granule.
struct Holder {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(granule: &str) -> Result<Self, String> {
        let itself = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut process = Command::new(itself)
            .args(["claims-holder", granule])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the holder can't be started: {e}"))?;
        let out = process.stdout.take().ok_or("the holder has no output")?;
        let mut this = Self {
            process,
            lines: BufReader::new(out),
        };
        this.wait_until_it_runs()?;
        Ok(this)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) | Err(_) => Err("the holder has ended too early".into()),
            Ok(_) => Ok(line.trim().to_owned()),
        }
    }

    fn wait_until_it_runs(&mut self) -> Result<(), String> {
        match self.line()?.as_str() {
            "runs" => Ok(()),
            other => Err(format!("the holder: {other}")),
        }
    }

    /// Ends it; answers how often it was told that its machine is gone.
    fn end(mut self) -> Result<usize, String> {
        drop(self.process.stdin.take());
        let mut last = String::new();
        while let Ok(line) = self.line() {
            last = line;
        }
        let status = self.process.wait().map_err(|e| e.to_string())?;
        let told = last.rsplit_once("told ").and_then(|(_, n)| n.parse().ok());
        told.filter(|_| status.success())
            .ok_or_else(|| format!("the holder ended with {}: {last}", describe(status)))
    }
}

/// The holder: runs its machine on the second CPU until its input ends, and makes it anew when it
/// is told that it is gone.
///
/// # Errors
/// What went another way than it should.
pub fn hold(granule: &str) -> Result<String, String> {
    hypercall::pin_to_cpu(1).map_err(|e| format!("there is no second CPU: {e}"))?;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::stdin().read(&mut [0]);
            end.store(true, SeqCst);
        });
        let mut told = 0;
        while !end.load(SeqCst) {
            let mut machine = Spinner::open(granule)?;
            match machine.create() {
                Ok(()) => println!("runs"),
                // The attacker has just taken it, and gives it back at once.
                Err((_, answer)) => match answer.named() {
                    Some(Status::Owned | Status::StaleHandle) => continue,
                    _ => return Err(format!("the machine can't be made: {answer:x?}")),
                },
            }
            loop {
                match machine.call(Call::Run, [0; 4]).named() {
                    Some(Status::Ok) if end.load(SeqCst) => break,
                    Some(Status::Ok) => {}
                    Some(Status::StaleHandle) => {
                        told += 1;
                        break;
                    }
                    other => return Err(format!("a run: {other:?}")),
                }
            }
        }
        Ok(format!("told {told}"))
    })
}
