//! The receive process. Source: §4.2.1, §4.3.

use super::descriptor::Descriptor;
use super::{Dec21140, Process, status};
use crate::bus::{GuestMemory, OutsideMemory};

const LAST: u32 = 1 << 8;
const FIRST: u32 = 1 << 9;
const MULTICAST: u32 = 1 << 10;
const FRAME_TYPE: u32 = 1 << 5;
const FILTERED: u32 = 1 << 30;
const LENGTH_SHIFT: u32 = 16;

/// Bytes of the checksum behind a frame.
const CHECKSUM_BYTES: usize = 4;
/// The longest frame, with a tag, without its checksum.
const MOST_FRAME_BYTES: usize = 1518;
/// Descriptors that a frame may lie in.
const MOST_DESCRIPTORS: usize = 64;
/// Values of the field behind the addresses from this one on are types, below it lengths.
const FIRST_TYPE: u16 = 1501;

/// What became of a frame from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// The guest has it.
    Taken,
    /// The card does not listen, or not to that address.
    Unwanted,
    /// The guest has no buffer ready: it may be offered again.
    NoRoom,
}

impl Dec21140 {
    /// A frame from the network, from its Ethernet header on and without checksum at its end. Without
    /// memory: the function may not master the bus.
    pub fn receive(&mut self, frame: &[u8], memory: Option<&dyn GuestMemory>) -> Reception {
        let (Some(memory), Some(to)) = (memory, frame.first_chunk()) else {
            return Reception::Unwanted;
        };
        let matches = self.state.filter.matches(to);
        if self.state.receive == Process::Stopped
            || frame.len() > MOST_FRAME_BYTES
            || !(matches || self.state.filter.is_overridden(self.state.mode, to))
        {
            return Reception::Unwanted;
        }
        let buffers = match self.find_buffers(frame.len() + CHECKSUM_BYTES, memory) {
            Ok(Ok(buffers)) => buffers,
            Ok(Err(without)) => return without,
            Err(_) => {
                self.bus_error();
                return Reception::Unwanted;
            }
        };
        let mut result = described(frame);
        if !matches {
            result |= FILTERED;
        }
        match put(frame, result, &buffers, memory) {
            Ok(()) => {
                for descriptor in &buffers {
                    self.state.receive_list.pass(descriptor, self.skip_bytes());
                }
                self.state.receive = Process::Running;
                self.state.status |= status::RECEIVED;
                Reception::Taken
            }
            Err(_) => {
                self.bus_error();
                Reception::Unwanted
            }
        }
    }

    /// Descriptors for so many bytes, or why there are none.
    fn find_buffers(
        &mut self,
        length: usize,
        memory: &dyn GuestMemory,
    ) -> Result<Result<Vec<Descriptor>, Reception>, OutsideMemory> {
        let mut list = self.state.receive_list;
        let (mut found, mut room) = (Vec::new(), 0);
        while room < length {
            let descriptor = list.peek(memory)?;
            if !descriptor.is_owned() {
                if self.state.receive != Process::Suspended {
                    self.state.status |= status::NO_RECEIVE_BUFFER;
                }
                self.state.receive = Process::Suspended;
                return Ok(Err(Reception::NoRoom));
            }
            // A list that comes back to its beginning, or goes on for ever, will never have room.
            let again = !found.is_empty() && descriptor.gpa == self.state.receive_list.next;
            if again || found.len() == MOST_DESCRIPTORS {
                return Ok(Err(Reception::Unwanted));
            }
            let [first, second] = descriptor.buffers();
            room += first.1 + second.1;
            list.pass(&descriptor, self.skip_bytes());
            found.push(descriptor);
        }
        Ok(Ok(found))
    }
}

/// The last descriptor's status, but for the filter's part.
fn described(frame: &[u8]) -> u32 {
    let mut status = LAST | ((frame.len() + CHECKSUM_BYTES) as u32) << LENGTH_SHIFT;
    if frame.first().is_some_and(|first| first & 1 != 0) {
        status |= MULTICAST;
    }
    if let Some([_, _, .., high, low]) = frame.first_chunk::<14>()
        && u16::from_be_bytes([*high, *low]) >= FIRST_TYPE
    {
        status |= FRAME_TYPE;
    }
    status
}

/// Fills buffers, then gives the descriptors back, the first one last: it is what the guest looks at.
fn put(
    frame: &[u8],
    result: u32,
    buffers: &[Descriptor],
    memory: &dyn GuestMemory,
) -> Result<(), OutsideMemory> {
    let bytes = [frame, &crc32fast::hash(frame).to_le_bytes()].concat();
    let mut rest = bytes.as_slice();
    for (gpa, length) in buffers.iter().flat_map(Descriptor::buffers) {
        let (now, later) = rest.split_at(length.min(rest.len()));
        if !now.is_empty() {
            memory.write(gpa, now)?;
        }
        rest = later;
    }
    for (i, descriptor) in buffers.iter().enumerate().rev() {
        let mut status = if i + 1 == buffers.len() { result } else { 0 };
        if i == 0 {
            status |= FIRST;
        }
        descriptor.give_back(status, memory)?;
    }
    Ok(())
}
