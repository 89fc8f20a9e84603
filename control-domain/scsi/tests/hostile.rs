//! Any bytes as commands: no panic, and every answer keeps its promises.

mod units;

use disk_testing::Random;
use scsi::{Action, Request, Target};
use units::{config, disk_target, dvd_target};

/// Every opcode with fields that are small, large, or anything.
fn command(chance: &mut Random, opcode: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    for byte in &mut cdb {
        *byte = match chance.below(4) {
            0 | 1 => 0,
            2 => 255,
            _ => chance.number() as u8,
        };
    }
    cdb[0] = opcode;
    cdb
}

fn check(target: &mut Target, size: u64, cdb: &[u8], parameters: &[u8]) {
    let within = |range: &scsi::Range| {
        assert!(
            range.length > 0 && range.offset + range.length <= size,
            "{cdb:02x?}"
        );
    };
    match target.command(0, cdb, parameters) {
        Action::Data(bytes) => assert!(bytes.len() < 1 << 16),
        Action::Check(sense) => assert_ne!(sense.to_bytes()[2], 0),
        Action::Ejected => {}
        Action::Medium(request) => match &request {
            Request::Read(range) | Request::Write { range, .. } | Request::Verify { range, .. } => {
                within(range);
                assert!(request.transfer_length() <= 1 << 20);
            }
            Request::Fill { range, block } => {
                within(range);
                assert_eq!(range.length % block.len() as u64, 0);
            }
            Request::Discard(ranges) => ranges.iter().for_each(within),
            Request::Flush => {}
        },
    }
}

#[test]
fn no_command_panics_or_reaches_off_the_medium() {
    let mut chance = Random::new(2);
    for block_size in [512, 4096] {
        let mut config = config();
        config.block_size = block_size;
        let disk_size = config.blocks * u64::from(block_size);
        let mut disk = disk_target(config);
        let mut dvd = dvd_target(Some(1 << 20));
        for round in 0..400 {
            for opcode in 0..=255 {
                let cdb = command(&mut chance, opcode);
                let length = (chance.below(17)) as usize;
                let parameters: Vec<u8> = (0..chance.below(600))
                    .map(|_| (chance.number() & chance.number() & chance.number()) as u8)
                    .collect();
                let cut = if round % 8 == 0 { length } else { 16 };
                check(&mut disk, disk_size, &cdb[..cut], &parameters);
                check(&mut dvd, 1 << 20, &cdb[..cut], &parameters);
            }
        }
    }
}
