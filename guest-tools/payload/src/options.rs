//! The command line: modes joined by `+`, then `name=number` words.

use core::cell::UnsafeCell;

/// The command line.
#[derive(Clone, Copy)]
pub struct Options {
    text: &'static str,
    /// Processors of the machine.
    pub processors: u64,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

struct Place(UnsafeCell<Options>);

// SAFETY: written once before another processor is started.
unsafe impl Sync for Place {}

static OPTIONS: Place = Place(UnsafeCell::new(Options {
    text: "",
    processors: 1,
    memory_bytes: 0,
}));

impl Options {
    /// Keeps what the vmm handed over.
    ///
    /// # Safety
    /// `text` points to a NUL-terminated string that never changes; no other processor runs.
    pub unsafe fn set(text: *const u8, processors: u64, memory_bytes: u64) {
        // SAFETY: by the caller's word.
        unsafe {
            let text = core::ffi::CStr::from_ptr(text.cast())
                .to_str()
                .unwrap_or("");
            *OPTIONS.0.get() = Options {
                text,
                processors,
                memory_bytes,
            };
        }
    }

    /// The options.
    pub fn get() -> Options {
        // SAFETY: written once, before this.
        unsafe { *OPTIONS.0.get() }
    }

    /// The first word.
    pub fn mode(&self) -> &'static str {
        self.text.split_ascii_whitespace().next().unwrap_or("")
    }

    /// The number behind `name=`.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.text
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(default)
    }
}
