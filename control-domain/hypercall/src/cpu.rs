//! CPUs of the control domain, the time stamp counter, and timer slack.

use std::io;

/// The time stamp counter of this CPU.
pub fn read_tsc() -> u64 {
    // SAFETY: RDTSC reads a counter and touches nothing; Linux leaves it allowed in user mode.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The CPUs that this thread may run on, in order.
///
/// # Errors
/// As the system call fails.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is the empty set; the size given is its own.
    unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..8 * size_of::<libc::cpu_set_t>())
            .filter(|&cpu| libc::CPU_ISSET(cpu, &set))
            .collect())
    }
}

/// Pins the calling thread to one CPU; when this returns, it runs there.
///
/// # Errors
/// As the system call fails, for example because the CPU is not online.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the set is valid when zeroed, `cpu` is within it, and the size given is its own.
    let result = unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets how late Linux may make this thread's timers and waits: 1 ns for a virtual processor.
pub fn set_timer_slack(nanoseconds: u64) {
    // SAFETY: this prctl takes a number and can't fail for a positive one.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}
