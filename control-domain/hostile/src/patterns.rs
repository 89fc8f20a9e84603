//! A guest, a vmm and a third process share two CPUs; each fills its registers with patterns and
//! finds its own again. The guest is the payload, in two processors; the vmm is this process, whose
//! own guest spoils every register; the third process knows of nothing.

use crate::instruction::is_intel;
use crate::registers::{Block, Middle, R8, RAX, RDI, RDX, RSI};
use crate::spinner::Spinner;
use crate::survive::{ask_each_cpu, describe};
use hypervisor_abi::{CALL_SIGNATURE, Call, Status};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PAYLOAD: &str = "/usr/share/entente/payload";
/// Fewer rounds than this are no test: something stood still.
const LEAST_ROUNDS: u64 = 100;

/// Starts the two others, and is the vmm meanwhile. `own` and `guest` are granules.
///
/// # Errors
/// Whose register changed, and which.
pub fn patterns(own: &str, guest: &str, seconds: &str) -> Result<String, String> {
    let end = deadline(seconds)?;
    let itself = std::env::current_exe().map_err(|e| e.to_string())?;
    let start = |command: &mut Command| command.spawn().map_err(|e| e.to_string());
    let third = start(Command::new(itself).args(["patterns-process", seconds]))?;
    let payload = start(
        Command::new("/bin/vmm")
            .args(["payload", PAYLOAD, "--granule", guest, "--processors", "2"])
            .args(["--command", "patterns"])
            .args(["--command", &format!("seconds={seconds}")]),
    )?;
    // In a thread of its own, as it goes from CPU to CPU.
    let granule = own.to_owned();
    let mine = std::thread::spawn(move || be_the_vmm(&granule, end)).join();
    let mine = mine.unwrap_or_else(|_| Err("the vmm's thread panicked".to_owned()));
    for (name, mut process) in [("third process", third), ("payload's vmm", payload)] {
        wait(&mut process).map_err(|why| format!("the {name} ended with {why}"))?;
    }
    let (rounds, bytes) = mine?;
    let cpus = ask_each_cpu()?;
    Ok(format!(
        "{rounds} runs of the vmm found {bytes} bytes of registers; {cpus}"
    ))
}

fn deadline(seconds: &str) -> Result<Instant, String> {
    let seconds = seconds.parse().map_err(|e| format!("{seconds}: {e}"))?;
    Ok(Instant::now() + Duration::from_secs(seconds))
}

fn wait(process: &mut Child) -> Result<(), String> {
    let status = process.wait().map_err(|e| e.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(describe(status))
    }
}

/// Runs a guest that spoils all registers, with patterns in those of the calling thread, which
/// changes its CPU now and then. Answers the number of runs and of bytes compared in each.
fn be_the_vmm(granule: &str, end: Instant) -> Result<(u64, usize), String> {
    let mut machine = Spinner::open(granule)?;
    machine
        .create()
        .map_err(|(call, answer)| format!("{call:?}: {answer:x?}"))?;
    let mut block = Block::new(if is_intel() {
        Middle::Vmcall
    } else {
        Middle::Vmmcall
    });
    let mut rounds = 0;
    while Instant::now() < end {
        if rounds % 64 == 0 {
            hypercall::pin_to_cpu(rounds / 64 % 2)
                .map_err(|e| format!("there is no second CPU: {e}"))?;
        }
        block.fill(hypercall::read_tsc());
        block.general[RAX] = CALL_SIGNATURE | Call::Run as u64;
        (block.general[RDI], block.general[RSI]) = (machine.handle.0, machine.handle.1);
        block.general[RDX] = 0;
        block
            .round(&[RAX, RDX, R8])
            .map_err(|what| format!("the vmm's run {rounds} changed {what}"))?;
        if block.general_after[RAX] != Status::Ok as u64 {
            return Err(format!(
                "a run was answered {:#x}",
                block.general_after[RAX]
            ));
        }
        rounds += 1;
    }
    let rounds = rounds as u64;
    if rounds < LEAST_ROUNDS {
        return Err(format!("only {rounds} runs of the vmm"));
    }
    Ok((rounds, block.bytes()))
}

/// The third process: a thread for each of the two CPUs.
///
/// # Errors
/// Which register changed.
pub fn process(seconds: &str) -> Result<String, String> {
    let end = deadline(seconds)?;
    let threads = [0, 1].map(|cpu| {
        std::thread::spawn(move || {
            hypercall::pin_to_cpu(cpu).map_err(|e| format!("CPU {cpu}: {e}"))?;
            let mut block = Block::new(Middle::Wait);
            let mut rounds = 0u64;
            while Instant::now() < end {
                block.fill(hypercall::read_tsc());
                block
                    .round(&[])
                    .map_err(|what| format!("round {rounds} on CPU {cpu} changed {what}"))?;
                rounds += 1;
            }
            Ok(rounds)
        })
    });
    let mut all = 0;
    for thread in threads {
        all += thread
            .join()
            .unwrap_or_else(|_| Err("a thread panicked".to_owned()))?;
    }
    if all < LEAST_ROUNDS {
        return Err(format!("only {all} rounds"));
    }
    Ok(format!("{all} rounds on two CPUs"))
}
