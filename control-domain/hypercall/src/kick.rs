//! Ending another thread's run: the signal half. The other half is `RunPage::exit_request`.

use std::io;

/// The signal of kicks and thread timers. Its handler does nothing: the interrupt that carries it
/// to the thread's CPU is what ends the run, and a blocking system call returns.
pub(crate) fn signal() -> libc::c_int {
    // Above the signals that C libraries keep for themselves.
    libc::SIGRTMIN() + 4
}

extern "C" fn nothing(_: libc::c_int) {}

/// Installs the empty handler; without it the first kick would end the process. Once at start.
///
/// # Errors
/// As the system call fails.
pub fn install_kick_signal() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid, the handler has the right signature and touches
    // nothing, and the pointers live through the call.
    let result = unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(signal(), &action, core::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A thread of this process that can be kicked.
#[derive(Clone, Copy, Debug)]
pub struct Kick {
    thread: libc::pid_t,
}

impl Kick {
    /// The calling thread.
    pub fn current_thread() -> Self {
        // SAFETY: gettid has no arguments and can't fail.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) } as libc::pid_t;
        Self { thread }
    }

    /// Signals the thread. A thread that has ended is no error.
    pub fn signal(self) {
        // SAFETY: tgkill takes numbers only. Within this process the worst case is a signal with
        // an empty handler to a later thread that got the same id.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, signal()) };
    }

    pub(crate) fn thread_id(self) -> libc::pid_t {
        self.thread
    }
}
