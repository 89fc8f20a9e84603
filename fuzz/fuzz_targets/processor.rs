//! Any bytes as what a guest does to its processor; see `hypervisor/processor-fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| processor_fuzz::processor(input));
