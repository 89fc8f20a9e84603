//! The threads of the virtual processors, as seen from outside: how each is kicked and woken.

use hypercall::Kick;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// One thread that runs a virtual processor.
#[derive(Debug, Default)]
pub struct ProcessorThread {
    kick: OnceLock<Kick>,
    /// Between the last look at the run page's exit request and the return of `Run`.
    in_run: AtomicBool,
    woken: Mutex<bool>,
    bell: Condvar,
    /// Runs ended by a kick, for the log of a machine that hangs.
    kicks: AtomicU64,
    /// Somebody waits for its processor's counters.
    asked_to_count: AtomicBool,
}

impl ProcessorThread {
    /// Called by the thread itself, once.
    pub fn enter(&self) {
        // A thread that runs a processor a second time, after a reset, is the same thread or the
        // slot is a new one; so a value that is there already is the right one.
        let _ = self.kick.set(Kick::current_thread());
    }

    /// Called by the thread around `Run`.
    pub fn set_in_run(&self, in_run: bool) {
        self.in_run.store(in_run, SeqCst);
    }

    /// Ends the run under way, or the next one at its start. The caller has stored the exit
    /// request before, so a thread that is not in `Run` yet finds it there.
    pub fn kick(&self) {
        if self.in_run.load(SeqCst)
            && let Some(kick) = self.kick.get()
        {
            self.kicks.fetch_add(1, SeqCst);
            kick.signal();
        }
    }

    /// Asks for the counters of its processor; it is nudged by the caller.
    pub fn ask_to_count(&self) {
        self.asked_to_count.store(true, SeqCst);
    }

    /// Whether they were not there yet.
    pub fn is_asked_to_count(&self) -> bool {
        self.asked_to_count.load(SeqCst)
    }

    /// Called by the thread when they are.
    pub fn has_counted(&self) {
        self.asked_to_count.store(false, SeqCst);
    }

    /// Lets a blocked thread go on, or the next `block` return at once.
    pub fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_one();
    }

    /// Blocks the calling thread until it is woken or `timeout` has passed.
    pub fn block(&self, timeout: Option<Duration>) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |woken: &mut bool| !*woken;
        let mut woken = match timeout {
            Some(timeout) => {
                self.bell
                    .wait_timeout_while(woken, timeout, asleep)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .bell
                .wait_while(woken, asleep)
                .unwrap_or_else(PoisonError::into_inner),
        };
        *woken = false;
    }
}

/// The processors named in a mask, below `count`.
pub fn in_mask(mask: u64, count: usize) -> impl Iterator<Item = usize> {
    let known = if count < 64 {
        (1 << count) - 1
    } else {
        u64::MAX
    };
    let mut left = mask & known;
    std::iter::from_fn(move || {
        let index = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (index < 64).then_some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_block_is_not_lost() {
        let thread = ProcessorThread::default();
        thread.wake();
        thread.block(None);
        thread.block(Some(Duration::from_millis(1)));
    }

    #[test]
    fn masks_are_cut_at_the_number_of_processors() {
        assert_eq!(in_mask(0b1_0110, 3).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(in_mask(u64::MAX, 64).count(), 64);
        assert_eq!(in_mask(0, 64).count() + in_mask(u64::MAX, 0).count(), 0);
    }
}
