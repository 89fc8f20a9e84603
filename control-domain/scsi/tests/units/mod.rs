//! What the tests have in common: units, and commands put together.
#![allow(dead_code, reason = "each test file uses its part")]

use scsi::{Action, DiskConfig, DiskUnit, DvdUnit, Identity, Sense, Target, Unit};

pub const IDENTITY: Identity = Identity(*b"\x01\x02\x03\x04456789abcdef");

pub fn config() -> DiskConfig {
    DiskConfig {
        identity: IDENTITY,
        block_size: 512,
        physical_block_size: 4096,
        blocks: 0x1_0000,
        read_only: false,
        thin: true,
        most_transfer: 1 << 20,
    }
}

pub fn disk_target(config: DiskConfig) -> Target {
    let mut target = Target::default();
    target.add(0, Unit::Disk(DiskUnit::new(config)));
    target
}

pub fn dvd_target(bytes: Option<u64>) -> Target {
    let mut target = Target::default();
    target.add(0, Unit::Dvd(DvdUnit::new(IDENTITY, bytes)));
    target
}

/// A command of 16 bytes at most: the bytes given, then zeros.
pub fn run(target: &mut Target, cdb: &[u8]) -> Action {
    let mut whole = [0; 16];
    whole[..cdb.len()].copy_from_slice(cdb);
    target.command(0, &whole, &[])
}

pub fn data(action: Action) -> Vec<u8> {
    match action {
        Action::Data(bytes) => bytes,
        other => panic!("data were expected: {other:?}"),
    }
}

/// Key, code and qualifier, and the field that is pointed at.
pub fn sense(action: Action) -> (u8, u8, u8, Option<u16>) {
    match action {
        Action::Check(sense) => describe(&sense),
        other => panic!("sense was expected: {other:?}"),
    }
}

pub fn describe(sense: &Sense) -> (u8, u8, u8, Option<u16>) {
    let bytes = sense.to_bytes();
    assert_eq!((bytes[0] & 0x7f, bytes[7]), (0x70, 10));
    let field = (bytes[15] & 0x80 != 0).then(|| u16::from_be_bytes([bytes[16], bytes[17]]));
    (bytes[2], bytes[12], bytes[13], field)
}
