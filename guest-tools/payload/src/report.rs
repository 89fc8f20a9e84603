//! What each test says.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Why a test failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: u64,
    /// What should have been.
    pub expected: u64,
}

/// A test's result.
pub type Outcome = Result<(), Failure>;

/// Fails unless both are the same.
pub fn equal(what: &'static str, found: u64, expected: u64) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(Failure {
            what,
            found,
            expected,
        })
    }
}

/// Fails unless the condition holds; `found` is shown.
pub fn holds(what: &'static str, condition: bool, found: u64) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Failure {
            what,
            found,
            expected: 1,
        })
    }
}

static PASSED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Runs one test and says how it went.
pub fn run(name: &str, test: fn() -> Outcome) {
    match test() {
        Ok(()) => {
            PASSED.fetch_add(1, SeqCst);
            crate::say!("payload: {name} ok");
        }
        Err(failure) => {
            FAILED.fetch_add(1, SeqCst);
            let Failure {
                what,
                found,
                expected,
            } = failure;
            crate::say!("payload: {name} FAILED: {what}: found {found:#x}, expected {expected:#x}");
        }
    }
}

/// Says the last line and ends the machine.
pub fn finish() -> ! {
    let (passed, failed) = (PASSED.load(SeqCst), FAILED.load(SeqCst));
    crate::say!("payload: {passed} passed, {failed} failed");
    crate::serial::end(u8::from(failed > 0 || passed == 0))
}
