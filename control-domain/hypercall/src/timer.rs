//! A timer that interrupts one thread, wherever it runs: ends its run at a deadline.

use crate::kick::{Kick, signal};
use std::io;
use std::time::Duration;

/// A one-shot POSIX timer of the thread that made it.
#[derive(Debug)]
pub struct ThreadTimer {
    id: libc::c_int,
}

impl ThreadTimer {
    /// Makes a disarmed timer that signals the calling thread.
    ///
    /// # Errors
    /// As the system call fails.
    pub fn new() -> io::Result<Self> {
        let mut id: libc::c_int = 0;
        // SAFETY: an all-zero sigevent is valid; both pointers live through the call. The raw
        // call is used because C libraries wrap the timer id, and not all know thread ids.
        let result = unsafe {
            let mut event: libc::sigevent = core::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = Kick::current_thread().thread_id();
            libc::syscall(
                libc::SYS_timer_create,
                libc::CLOCK_MONOTONIC,
                &event,
                &mut id,
            )
        };
        if result == 0 {
            Ok(Self { id })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Arms the timer to fire after `delay`, replacing what was armed; `None` disarms it.
    ///
    /// # Errors
    /// As the system call fails.
    pub fn set(&self, delay: Option<Duration>) -> io::Result<()> {
        // 0 would disarm; what is due fires at once.
        let delay = delay.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        // SAFETY: an all-zero itimerspec is valid and lives through the call; `id` is ours.
        let result = unsafe {
            let mut time: libc::itimerspec = core::mem::zeroed();
            time.it_value.tv_sec = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
            time.it_value.tv_nsec = i64::from(delay.subsec_nanos());
            libc::syscall(
                libc::SYS_timer_settime,
                self.id,
                0,
                &time,
                core::ptr::null_mut::<libc::itimerspec>(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: the id is ours and not used again.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.id) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_timer_ends_a_blocking_call_of_its_own_thread() {
        crate::install_kick_signal().unwrap();
        let timer = ThreadTimer::new().unwrap();
        let start = Instant::now();
        timer.set(Some(Duration::from_millis(20))).unwrap();
        // SAFETY: pause takes nothing and returns when a handler has run.
        assert_eq!(unsafe { libc::pause() }, -1);
        assert!(start.elapsed() >= Duration::from_millis(20));
        timer.set(Some(Duration::from_secs(1000))).unwrap();
        timer.set(None).unwrap();
    }

    #[test]
    fn a_kick_ends_a_blocking_call_of_another_thread() {
        crate::install_kick_signal().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            send.send(Kick::current_thread()).unwrap();
            // SAFETY: as above.
            unsafe { libc::pause() }
        });
        let kick = receive.recv().unwrap();
        while !thread.is_finished() {
            kick.signal();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(thread.join().unwrap(), -1);
    }
}
