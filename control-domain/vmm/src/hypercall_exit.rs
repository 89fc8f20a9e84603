//! The hypercalls that the hypervisor leaves to the vmm: HvPostMessage and HvSignalEvent (TLFS
//! 11.11). Both lead to VMBus; a test payload has connections that send back instead.

use crate::machine::Machine;
use hypercall::{CallError, Calls, Pending};
use hypervisor_abi::Status;

const POST_MESSAGE: u64 = 0x5c;
const SIGNAL_EVENT: u64 = 0x5d;
const FAST: u64 = 1 << 16;

/// HV_STATUS_* of the TLFS, appendix B.
const SUCCESS: u64 = 0;
const INVALID_CODE: u64 = 2;
const INVALID_ALIGNMENT: u64 = 4;
const INVALID_PARAMETER: u64 = 5;
const INVALID_CONNECTION_ID: u64 = 0x12;
const INSUFFICIENT_BUFFERS: u64 = 0x13;

/// Bytes of a message that its sender decides.
const MOST_PAYLOAD_BYTES: u32 = 240;

impl<C: Calls + Sync> Machine<C> {
    /// Answers a hypercall of processor `index`: the input value, and the input parameter, which is
    /// an address or, of a fast call, the input itself.
    pub fn hypercall(&self, index: usize, control: u64, input: u64) -> u64 {
        let result = match (control & 0xffff, control & FAST != 0) {
            (SIGNAL_EVENT, true) => self.signal(input),
            (SIGNAL_EVENT, false) => self
                .input::<8>(input)
                .and_then(|bytes| self.signal(u64::from_le_bytes(bytes))),
            (POST_MESSAGE, false) => self
                .input::<256>(input)
                .and_then(|bytes| self.post(index, &bytes)),
            _ => Err(INVALID_CODE),
        };
        result.err().unwrap_or(SUCCESS)
    }

    fn input<const N: usize>(&self, gpa: u64) -> Result<[u8; N], u64> {
        let mut bytes = [0; N];
        if !gpa.is_multiple_of(8) || (gpa & 0xfff) + N as u64 > 0x1000 {
            return Err(INVALID_ALIGNMENT);
        }
        self.memory
            .0
            .read(gpa, &mut bytes)
            .map_err(|_| INVALID_PARAMETER)?;
        Ok(bytes)
    }

    fn target(&self, connection: u32) -> Result<(u32, u32), u64> {
        self.with_board(|board, _, _| board.echo(connection))
            .ok_or(INVALID_CONNECTION_ID)
    }

    fn conclude(&self, result: Result<Pending, CallError>) -> Result<(), u64> {
        match result {
            Ok(pending) => {
                self.deliver(pending);
                Ok(())
            }
            Err(error) if error.status() == Some(Status::Busy) => Err(INSUFFICIENT_BUFFERS),
            Err(error) if error.status() == Some(Status::NoProcessor) => Err(INVALID_CONNECTION_ID),
            Err(_) => Err(INVALID_PARAMETER),
        }
    }

    /// Connection in bits 31:0, flag number in 47:32.
    fn signal(&self, input: u64) -> Result<(), u64> {
        if let Some(vmbus) = &self.vmbus {
            let signalled = vmbus.bus.signal(&self.vmbus_guest(), input as u32);
            return signalled.map_err(|_| INVALID_CONNECTION_ID);
        }
        let (processor, sint) = self.target(input as u32)?;
        self.conclude(
            self.calls
                .signal_event(processor, sint, u32::from((input >> 32) as u16)),
        )
    }

    /// Connection, reserved, type, size, payload.
    fn post(&self, index: usize, input: &[u8; 256]) -> Result<(), u64> {
        let word =
            |n: usize| u32::from_le_bytes([input[n], input[n + 1], input[n + 2], input[n + 3]]);
        let (kind, size) = (word(8), word(12));
        if size > MOST_PAYLOAD_BYTES {
            return Err(INVALID_PARAMETER);
        }
        let payload = &input[16..16 + size as usize];
        if let Some(vmbus) = &self.vmbus {
            return self
                .vmbus_message(vmbus, word(0), payload)
                .map_err(|_| INVALID_CONNECTION_ID);
        }
        let (processor, sint) = self.target(word(0))?;
        // Type, size, flags, reserved, sender, payload.
        let mut message = [0; 256];
        message[..4].copy_from_slice(&kind.to_le_bytes());
        message[4] = size as u8;
        message[8..12].copy_from_slice(&input[..4]);
        message[16..16 + size as usize].copy_from_slice(payload);
        let offset = self
            .memory
            .0
            .mapping()
            .control_frame()
            .write_message(index, &message);
        self.conclude(self.calls.post_message(processor, sint, offset))
    }
}
