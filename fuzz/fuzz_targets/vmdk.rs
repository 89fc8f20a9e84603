//! Any bytes as a VMDK; see `control-domain/disk-fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| disk_fuzz::vmdk(input));
