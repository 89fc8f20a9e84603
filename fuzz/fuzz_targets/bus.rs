//! Any bytes on VMBus; see `control-domain/channel-fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| channel_fuzz::bus(input));
