//! Proof that every CPU of the control domain is under the hypervisor.

use hypercall::Hypervisor;

/// Goes to each CPU that this process may use, and asks it. Prints a line per CPU and a total.
///
/// # Errors
/// Names the first CPU that is not under the hypervisor, or how the counts differ.
pub fn prove_cpus() -> Result<(), String> {
    let cpus = hypercall::allowed_cpus().map_err(|e| format!("can't list the CPUs: {e}"))?;
    let mut known = 0;
    let mut seen = Vec::new();
    for (n, &cpu) in cpus.iter().enumerate() {
        hypercall::pin_to_cpu(cpu).map_err(|e| format!("can't go to CPU {cpu}: {e}"))?;
        let (_, query) = Hypervisor::probe().map_err(|e| format!("CPU {cpu}: {e}"))?;
        println!(
            "entente-prove: CPU {} of {} under the hypervisor (Linux {cpu}, hypervisor {})",
            n + 1,
            cpus.len(),
            query.cpu
        );
        known = query.cpus;
        seen.push(query.cpu);
    }
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != cpus.len() {
        return Err(format!(
            "only {} of {} CPUs answered with an index of their own",
            seen.len(),
            cpus.len()
        ));
    }
    println!(
        "entente-prove: {} of {} CPUs under the hypervisor, which counts {known}",
        seen.len(),
        cpus.len()
    );
    Ok(())
}
