//! A request against a disk, at once.

use crate::io::{Completion, Io};
use disk::{Disk, DiskError};
use guest_buffer::{Memory, OutsideMemory};
use scsi::{Failure, Range, Request};

/// Bytes that are moved at a time.
const STEP: u64 = 256 << 10;

/// Why a request ended early.
enum End {
    Medium(Failure),
    Memory,
}

impl From<DiskError> for End {
    fn from(error: DiskError) -> Self {
        End::Medium(match error {
            error if error.is_out_of_space() => Failure::OutOfSpace,
            DiskError::ReadOnly => Failure::ReadOnly,
            _ => Failure::Medium,
        })
    }
}

impl From<OutsideMemory> for End {
    fn from(_: OutsideMemory) -> Self {
        End::Memory
    }
}

/// Carries out a request. Answers its completion, if the guest wants one.
pub fn perform<D, M>(io: Box<Io>, disk: &mut D, memory: &M) -> Option<Completion>
where
    D: Disk + ?Sized,
    M: Memory + ?Sized,
{
    match carry_out(&io, disk, memory) {
        Ok(()) => io.finish(Ok(())),
        Err(End::Medium(failure)) => io.finish(Err(failure)),
        Err(End::Memory) => io.refuse(),
    }
}

fn carry_out<D, M>(io: &Io, disk: &mut D, memory: &M) -> Result<(), End>
where
    D: Disk + ?Sized,
    M: Memory + ?Sized,
{
    match &io.request {
        Request::Read(range) => in_steps(*range, |at, offset, step| {
            disk.read(offset, step)?;
            Ok(io.buffer.store(memory, at, step)?)
        }),
        Request::Write { range, durable } => {
            in_steps(*range, |at, offset, step| {
                io.buffer.load(memory, at, step)?;
                Ok(disk.write(offset, step)?)
            })?;
            match durable {
                true => Ok(disk.flush()?),
                false => Ok(()),
            }
        }
        Request::Flush => Ok(disk.flush()?),
        Request::Fill { range, block } => in_steps(*range, |_, offset, step| {
            // A step is whole blocks, as the range is.
            step.chunks_mut(block.len().max(1))
                .for_each(|piece| piece.copy_from_slice(&block[..piece.len()]));
            Ok(disk.write(offset, step)?)
        }),
        Request::Discard(ranges) => ranges
            .iter()
            .try_for_each(|range| Ok(disk.discard(range.offset, range.length)?)),
        Request::Verify { range, compare } => in_steps(*range, |at, offset, step| {
            disk.read(offset, step)?;
            let mut sent = vec![0; if *compare { step.len() } else { 0 }];
            io.buffer.load(memory, at, &mut sent)?;
            match *compare && sent != step {
                true => Err(End::Medium(Failure::Different)),
                false => Ok(()),
            }
        }),
    }
}

/// Calls `each` for every step of a range: where it is in the buffer and on the disk, and its bytes.
fn in_steps(
    range: Range,
    mut each: impl FnMut(u64, u64, &mut [u8]) -> Result<(), End>,
) -> Result<(), End> {
    let mut step = vec![0; range.length.min(STEP) as usize];
    let mut at = 0;
    while at < range.length {
        let length = (range.length - at).min(STEP) as usize;
        each(at, range.offset + at, &mut step[..length])?;
        at += length as u64;
    }
    Ok(())
}
