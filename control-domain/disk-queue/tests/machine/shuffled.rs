//! An engine that does things in any order, late, and in pieces.

use disk::Access;
use disk_queue::{Engine, Finished, Operation};
use disk_testing::{Random, SECTOR};
use std::io;

/// Does what it is told by the file itself, whenever it likes.
pub struct Shuffled {
    random: Random,
    begun: Vec<Operation>,
}

impl Shuffled {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            begun: Vec::new(),
        }
    }

    /// Moves some of the bytes, mostly all of them. It ends between sectors, which no kernel tears.
    fn perform(&mut self, operation: &Operation) -> io::Result<u64> {
        let start = operation.file_offset;
        let end = (start + self.random.below(operation.length)) / SECTOR * SECTOR;
        let length = match self.random.below(4) {
            0 if end > start => end - start,
            _ => operation.length,
        };
        let mut bytes = vec![0; length as usize];
        match operation.access {
            Access::Read => {
                operation.file.read_at(operation.file_offset, &mut bytes)?;
                operation.memory.write(operation.at, &bytes);
            }
            Access::Write => {
                operation.memory.read(operation.at, &mut bytes);
                operation.file.write_at(operation.file_offset, &bytes)?;
            }
        }
        Ok(length)
    }
}

impl Engine for Shuffled {
    fn start(&mut self, operation: Operation) {
        self.begun.push(operation);
    }

    fn advance(&mut self, wait: bool, finished: &mut Vec<Finished>) -> io::Result<()> {
        let mut count = self.random.below(self.begun.len() as u64 + 1);
        if wait && !self.begun.is_empty() {
            count = count.max(1);
        }
        for _ in 0..count {
            let index = self.random.below(self.begun.len() as u64) as usize;
            let operation = self.begun.swap_remove(index);
            let result = self.perform(&operation);
            finished.push(Finished { operation, result });
        }
        Ok(())
    }
}
