//! The boot rows and the harness that runs them.
#![forbid(unsafe_code)]
