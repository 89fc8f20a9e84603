//! A process of nobody that makes hypercalls. The right is the mapping, or the handle; it has
//! neither, so all that it learns is the hypervisor's version.

use crate::instruction::{Answer, call, raw};
use crate::random::Random;
use crate::spinner::Spinner;
use guest_memory::Mapping;
use hypervisor_abi::{CALL_SIGNATURE, Call, FRAME_SIZE, Handle, StateGroup, Status};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The user and group that own nothing.
const NOBODY: u32 = 65534;
/// Rounds of calls with random numbers.
const ROUNDS: usize = 20_000;
/// The granule over which root keeps a machine meanwhile.
const GRANULE: &str = "/dev/dax0.0";

/// Keeps a machine alive, lets a process of nobody loose, and looks at the machine afterwards.
///
/// # Errors
/// What went another way than it should.
pub fn unprivileged(words: &[&str]) -> Result<String, String> {
    let mut machine = Spinner::open(GRANULE)?;
    machine
        .create()
        .map_err(|(call, answer)| format!("{call:?}: {answer:x?}"))?;
    let itself = std::env::current_exe().map_err(|e| e.to_string())?;
    let Handle(low, high) = machine.handle;
    let status = Command::new(itself)
        .args(["unprivileged-child", &format!("{low:x}-{high:x}")])
        .args(words)
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .map_err(|e| format!("a process of nobody can't be started: {e}"))?;
    if !status.success() {
        return Err(format!("the process of nobody ended with {status}"));
    }
    let state = machine.call(Call::GetState, [0, StateGroup::Registers as u64, 0, 0]);
    let run = machine.call(Call::Run, [0; 4]);
    let end = machine.call(Call::DestroyMachine, [0; 4]);
    match [state, run, end].map(Answer::named) {
        [Some(Status::Ok), Some(Status::Ok), Some(Status::Ok)] => crate::survive::ask_each_cpu(),
        other => Err(format!("root's machine answers {other:?} afterwards")),
    }
}

/// How often which status was answered.
#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    /// Counts the answer, if it is one of those allowed and no output was given.
    fn expect(
        &mut self,
        what: &str,
        answer: Answer,
        given: [u64; 2],
        allowed: &[Status],
    ) -> Result<(), String> {
        let status = answer.named().filter(|status| allowed.contains(status));
        let Some(status) = status else {
            return Err(format!("{what}: {answer:x?} instead of {allowed:?}"));
        };
        if answer.outputs != given {
            return Err(format!("{what}: {status:?}, but with outputs {answer:x?}"));
        }
        *self.0.entry(format!("{status:?}")).or_default() += 1;
        Ok(())
    }
}

/// The process of nobody; `handle` is that of a live machine, from which it derives wrong ones.
///
/// # Errors
/// The first answer that is not a refusal with the right name.
pub fn child(handle: &str, words: &[&str]) -> Result<String, String> {
    let handle = parse_handle(handle).ok_or("the handle is not LOW-HIGH")?;
    for path in [GRANULE, "/dev/mem"] {
        if std::fs::File::open(path).is_ok() {
            return Err(format!("nobody may open {path}"));
        }
    }
    let query = call(Call::Query, Handle(0, 0), [0; 4]);
    if query.named() != Some(Status::Ok) {
        return Err(format!("Query is open to all, but answers {query:x?}"));
    }
    let memory = Mapping::anonymous(2 * FRAME_SIZE).map_err(|e| e.to_string())?;
    memory.clear(0, 2 * FRAME_SIZE);
    let mut tally = Tally::default();
    wrong_handles(handle, &mut tally)?;
    own_memory(&memory, &mut tally)?;
    random_calls(&memory, &mut Random::from_words(words), &mut tally)?;
    let counts: Vec<_> = tally.0.iter().map(|(s, n)| format!("{s} {n}")).collect();
    Ok(counts.join(", "))
}

fn parse_handle(text: &str) -> Option<Handle> {
    let (low, high) = text.split_once('-')?;
    let half = |text| u64::from_str_radix(text, 16).ok();
    Some(Handle(half(low)?, half(high)?))
}

/// Handles that differ from a live machine's in one bit, for every call that takes one.
fn wrong_handles(handle: Handle, tally: &mut Tally) -> Result<(), String> {
    for number in (Call::DestroyMachine as u16)..=Call::LAST {
        for bit in 0..64 {
            for wrong in [
                Handle(handle.0 ^ 1 << bit, handle.1),
                Handle(handle.0, handle.1 ^ 1 << bit),
            ] {
                let answer = raw(CALL_SIGNATURE | u64::from(number), wrong, [0; 4]);
                let what = format!("call {number} with bit {bit} of the handle changed");
                tally.expect(&what, answer, [0; 2], &[Status::StaleHandle])?;
            }
        }
    }
    Ok(())
}

/// A machine over memory that is its own, and present and writable, but not the guests'.
fn own_memory(memory: &Mapping, tally: &mut Tally) -> Result<(), String> {
    let (present, unmapped) = (memory.user_address(0), 1 << 46);
    let kernel = 0xffff_8880_0000_0000;
    let text = own_memory as *const () as u64 & !(FRAME_SIZE - 1);
    // Of pages that don't lie behind one another it may be said as well that they don't.
    let refusals = [Status::NotGuestMemory, Status::InvalidArgument];
    for (what, address, allowed) in [
        ("own memory", present, refusals.as_slice()),
        ("unmapped memory", unmapped, &[Status::NotMapped]),
        ("the kernel's memory", kernel, &[Status::NotMapped]),
        ("program text", text, &[Status::NotMapped]),
        ("no canonical address", 1 << 62, &[Status::NotMapped]),
        ("the last address", !(FRAME_SIZE - 1), &[Status::NotMapped]),
        ("an odd address", present + 4096, &[Status::InvalidArgument]),
    ] {
        let answer = call(Call::CreateMachine, Handle(0, 0), [address, 0, 0, 0]);
        tally.expect(what, answer, [address, 0], allowed)?;
    }
    Ok(())
}

/// Anything in any register.
fn random_calls(memory: &Mapping, random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let pages = [memory.user_address(0), memory.user_address(FRAME_SIZE)];
    let known = u64::from(Call::LAST);
    for round in 0..ROUNDS {
        // Every known number in turn, some unknown ones, and numbers without the signature.
        let rax = match round % 4 {
            0 => random.next(),
            1 => CALL_SIGNATURE | random.next() & 0xffff,
            2 => random.below(known + 2),
            _ => CALL_SIGNATURE | (round as u64 / 4) % (known + 2),
        };
        let handle = match random.below(3) {
            0 => Handle(0, 0),
            1 => Handle(random.below(64), random.next()),
            _ => Handle(random.next(), random.next()),
        };
        let mut argument = || match random.below(5) {
            0 => random.below(64),
            1 => pages[random.below(2) as usize],
            2 => pages[0] + random.below(FRAME_SIZE),
            3 => random.next() & !0xfff,
            _ => random.next(),
        };
        let arguments = [argument(), argument(), argument(), argument()];
        let signed = rax & !0xffff == CALL_SIGNATURE;
        let allowed: &[Status] = match Call::from_number(rax as u16).filter(|_| signed) {
            None => &[Status::UnknownCall],
            Some(Call::Query) => continue,
            Some(Call::CreateMachine) => &[
                Status::NotMapped,
                Status::NotGuestMemory,
                Status::InvalidArgument,
            ],
            Some(_) => &[Status::StaleHandle],
        };
        let what = format!("round {round}, RAX {rax:#x}, {arguments:x?}");
        let answer = raw(rax, handle, arguments);
        tally.expect(&what, answer, [arguments[0], arguments[1]], allowed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_they_are_written() {
        assert_eq!(parse_handle("1f-a0"), Some(Handle(0x1f, 0xa0)));
        assert_eq!(parse_handle("1f"), None);
    }

    #[test]
    fn a_granted_call_is_no_refusal() {
        let mut tally = Tally::default();
        let answer = |status, outputs| Answer { status, outputs };
        let mut check = |a| tally.expect("", a, [1, 2], &[Status::StaleHandle]);
        assert!(check(answer(2, [1, 2])).is_ok());
        assert!(check(answer(0, [1, 2])).is_err());
        assert!(check(answer(3, [1, 2])).is_err());
        assert!(check(answer(99, [1, 2])).is_err());
        assert!(check(answer(2, [5, 2])).is_err(), "an output leaks");
    }
}
