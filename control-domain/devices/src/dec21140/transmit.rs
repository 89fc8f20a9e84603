//! The transmit process. Source: §4.2.2, §4.2.3 setup frames, §4.3.

use super::descriptor::Descriptor;
use super::filter::Filter;
use super::{Dec21140, Process, registers, status};
use crate::bus::{GuestMemory, OutsideMemory};

const INTERRUPT: u32 = 1 << 31;
const LAST: u32 = 1 << 30;
const FIRST: u32 = 1 << 29;
const SETUP: u32 = 1 << 27;
const NO_PADDING: u32 = 1 << 23;

/// What the status of a setup frame becomes.
const SETUP_DONE: u32 = 0x7fff_ffff;
const ERROR: u32 = 1 << 15;
const JABBER_TIMEOUT: u32 = 1 << 14;

/// Descriptors that one poll handles, so that it ends whatever other processors write meanwhile.
const MOST_DESCRIPTORS: usize = 1024;
/// Bytes after which the jabber timer cuts a frame off.
const MOST_FRAME_BYTES: usize = 2048;
/// Bytes of the shortest frame, without its checksum.
const LEAST_FRAME_BYTES: usize = 60;
const ETHERNET_HEADER_BYTES: usize = 14;

impl Dec21140 {
    /// Sends what the list has, if the process runs.
    pub(super) fn poll_transmit(&mut self, memory: Option<&dyn GuestMemory>) {
        let Some(memory) = memory.filter(|_| self.state.transmit != Process::Stopped) else {
            return;
        };
        self.state.transmit = Process::Running;
        for _ in 0..MOST_DESCRIPTORS {
            match self.transmit_next(memory) {
                Ok(true) => {}
                Ok(false) => {
                    self.state.transmit = Process::Suspended;
                    self.state.status |= status::NO_TRANSMIT_BUFFER;
                    return;
                }
                Err(_) => return self.bus_error(),
            }
        }
    }

    /// Handles a descriptor. `false`: the next one is the guest's.
    fn transmit_next(&mut self, memory: &dyn GuestMemory) -> Result<bool, OutsideMemory> {
        let descriptor = self.state.transmit_list.peek(memory)?;
        if !descriptor.is_owned() {
            return Ok(false);
        }
        let result = if descriptor.control & SETUP != 0 {
            self.state.filter = Filter::from_setup_frame(&descriptor, memory)?;
            SETUP_DONE
        } else {
            self.gather(&descriptor, memory)?
        };
        self.state
            .transmit_list
            .pass(&descriptor, self.skip_bytes());
        descriptor.give_back(result, memory)?;
        if descriptor.control & INTERRUPT != 0 && descriptor.control & (LAST | SETUP) != 0 {
            self.state.status |= status::TRANSMITTED;
        }
        Ok(true)
    }

    /// Takes a descriptor's bytes, and sends the frame with its last one. Answers the descriptor's status.
    fn gather(
        &mut self,
        descriptor: &Descriptor,
        memory: &dyn GuestMemory,
    ) -> Result<u32, OutsideMemory> {
        if descriptor.control & FIRST != 0 {
            self.state.gathered.clear();
        }
        for (gpa, length) in descriptor.buffers() {
            let start = self.state.gathered.len();
            // One byte more than is allowed tells that there was more.
            let room = (MOST_FRAME_BYTES + 1).saturating_sub(start);
            self.state.gathered.resize(start + length.min(room), 0);
            if self.state.gathered.len() > start {
                memory.read(gpa, &mut self.state.gathered[start..])?;
            }
        }
        if descriptor.control & LAST == 0 {
            return Ok(0);
        }
        let mut frame = std::mem::take(&mut self.state.gathered);
        if frame.len() > MOST_FRAME_BYTES {
            self.state.status |= status::JABBER;
            return Ok(ERROR | JABBER_TIMEOUT);
        }
        if frame.len() >= ETHERNET_HEADER_BYTES {
            if descriptor.control & NO_PADDING == 0 && frame.len() < LEAST_FRAME_BYTES {
                frame.resize(LEAST_FRAME_BYTES, 0);
            }
            if self.state.mode & registers::LOOPBACK == 0 {
                self.card.frames.put(&frame);
            } else {
                // Without a buffer it is lost, as on the wire.
                let _ = self.receive(&frame, Some(memory));
            }
        }
        frame.clear();
        self.state.gathered = frame;
        Ok(0)
    }
}
