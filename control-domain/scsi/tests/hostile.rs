//! Any bytes as commands: no panic, and every answer keeps its promises.

mod units;

use scsi::{Action, Request, Target};
use units::{config, disk_target, dvd_target};

/// Numbers from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Every opcode with fields that are small, large, or anything.
fn command(numbers: &mut Numbers, opcode: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    for byte in &mut cdb {
        *byte = match numbers.next() % 4 {
            0 | 1 => 0,
            2 => 255,
            _ => numbers.next() as u8,
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
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for block_size in [512, 4096] {
        let mut config = config();
        config.block_size = block_size;
        let disk_size = config.blocks * u64::from(block_size);
        let mut disk = disk_target(config);
        let mut dvd = dvd_target(Some(1 << 20));
        for round in 0..400 {
            for opcode in 0..=255 {
                let cdb = command(&mut numbers, opcode);
                let length = (numbers.next() % 17) as usize;
                let parameters: Vec<u8> = (0..numbers.next() % 600)
                    .map(|_| (numbers.next() & numbers.next() & numbers.next()) as u8)
                    .collect();
                let cut = if round % 8 == 0 { length } else { 16 };
                check(&mut disk, disk_size, &cdb[..cut], &parameters);
                check(&mut dvd, 1 << 20, &cdb[..cut], &parameters);
            }
        }
    }
}
