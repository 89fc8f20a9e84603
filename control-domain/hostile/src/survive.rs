//! Whatever a program did: the control domain lives, and the hypervisor answers on each CPU.

use hypercall::Hypervisor;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// Runs the program to its end and asks each CPU.
///
/// # Errors
/// If the program can't be started, or a CPU does not answer.
pub fn survive(program: &str, arguments: &[&str]) -> Result<String, String> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|e| format!("{program}: {e}"))?;
    println!("hostile: {program} ended with {}", describe(status));
    ask_each_cpu()
}

/// Asks each CPU for the hypervisor; answers how many there are.
///
/// # Errors
/// Names the first CPU that is not under the hypervisor.
pub fn ask_each_cpu() -> Result<String, String> {
    // In a thread of its own, so that the caller stays where it may be.
    let thread = std::thread::spawn(ask);
    thread
        .join()
        .map_err(|_| "the thread panicked".to_owned())?
}

fn ask() -> Result<String, String> {
    let cpus = hypercall::allowed_cpus().map_err(|e| format!("can't list the CPUs: {e}"))?;
    for &cpu in &cpus {
        hypercall::pin_to_cpu(cpu).map_err(|e| format!("can't go to CPU {cpu}: {e}"))?;
        Hypervisor::probe().map_err(|e| format!("CPU {cpu}: {e}"))?;
    }
    Ok(format!("{} CPUs under the hypervisor", cpus.len()))
}

/// `code N` or `signal N`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
