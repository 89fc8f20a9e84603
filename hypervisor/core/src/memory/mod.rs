//! Guest memory: who owns which frame, what a guest sees where, and what a caller may give away.

pub mod frames;
pub mod identity;
pub mod nested;
pub mod types;
pub mod walk;
