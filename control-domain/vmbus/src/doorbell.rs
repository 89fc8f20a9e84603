//! How a device's thread is woken.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes who serves a device: by the guest's signal, or by the device's own work that has ended on
/// another thread. Rings before the wait are not lost; several count as one.
#[derive(Clone, Debug, Default)]
pub struct Doorbell(Arc<(Mutex<bool>, Condvar)>);

impl Doorbell {
    /// Rings.
    pub fn ring(&self) {
        let (rung, bell) = &*self.0;
        *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_one();
    }

    /// Waits until it rings, or `timeout` has passed. Answers whether it rang.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let (rung, bell) = &*self.0;
        let guard = rung.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |rung: &mut bool| !*rung;
        let mut guard = match timeout {
            Some(timeout) => {
                let waited = bell.wait_timeout_while(guard, timeout, silent);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = bell.wait_while(guard, silent);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        std::mem::take(&mut *guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_counts_once() {
        let bell = Doorbell::default();
        bell.clone().ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::from_millis(1))));
    }
}
