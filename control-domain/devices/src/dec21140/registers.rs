//! CSR0 to CSR15: 32-bit registers, eight bytes apart. Source: §3.2.

use super::{Dec21140, Process, REGISTER_BYTES, status};
use crate::bus::GuestMemory;

/// CSR0: a reset.
const SOFTWARE_RESET: u32 = 1;
const BUS_MODE_BITS: u32 = 0x01ff_fffe;

/// CSR6: the receive process runs.
pub const START_RECEIVE: u32 = 1 << 1;
/// CSR6: every frame is for the guest.
pub const PROMISCUOUS: u32 = 1 << 6;
/// CSR6: every frame to a group is for the guest.
pub const PASS_ALL_MULTICAST: u32 = 1 << 7;
/// CSR6: what is sent comes back, and does not leave.
pub const LOOPBACK: u32 = 3 << 10;
/// CSR6: the transmit process runs.
pub const START_TRANSMIT: u32 = 1 << 13;
/// CSR6 after a reset.
pub const MODE_AT_RESET: u32 = MODE_ONES | PROMISCUOUS;
const MODE_ONES: u32 = 0x3200_0000;
/// CSR6: a copy of what the last setup frame chose.
const MODE_FILTER: u32 = 0x15;

/// CSR5: where the states of the processes are.
const RECEIVE_STATE: u32 = 17;
const TRANSMIT_STATE: u32 = 20;

impl Dec21140 {
    /// Reads one of the registers. Without effect but for CSR8, which holds nothing.
    pub fn read(&self, offset: u16) -> u32 {
        match (offset % REGISTER_BYTES) / 8 {
            0 => 0xfe00_0000 | self.state.bus_mode,
            3 => self.state.receive_list.base,
            4 => self.state.transmit_list.base,
            5 => self.read_status(),
            6 => self.state.mode & !MODE_FILTER | self.state.filter.mode_bits(),
            7 => 0xf3fe_0000 | self.state.interrupt_mask,
            // No frame is missed: it waits outside until there is room.
            8 => 0xe000_0000,
            9 => {
                let data = self.srom.data_out(self.state.serial_port);
                0xfff0_0000 | self.state.serial_port | data | self.transceiver.data_out()
            }
            11 => 0xfffe_0000 | self.state.timer.read(),
            12 => 0xffff_fe00 | self.state.general_port,
            15 => 0xffff_fec0 | self.state.watchdog,
            _ => u32::MAX,
        }
    }

    fn read_status(&self) -> u32 {
        let receive = match self.state.receive {
            Process::Stopped => 0,
            Process::Running => 3,
            Process::Suspended => 4,
        };
        let transmit = match self.state.transmit {
            Process::Stopped => 0,
            Process::Running | Process::Suspended => 6,
        };
        // Bus errors are master aborts.
        let error = match self.state.status & status::BUS_ERROR {
            0 => 0,
            _ => 1 << 23,
        };
        let states = receive << RECEIVE_STATE | transmit << TRANSMIT_STATE;
        0xfc00_0000 | error | states | self.summary() | self.state.status
    }

    /// Writes one of the registers. Without memory nothing is moved: the function may not master the bus.
    pub fn write(
        &mut self,
        offset: u16,
        value: u32,
        now_ns: u64,
        memory: Option<&dyn GuestMemory>,
    ) {
        match (offset % REGISTER_BYTES) / 8 {
            0 if value & SOFTWARE_RESET != 0 => self.reset(),
            0 => self.state.bus_mode = value & BUS_MODE_BITS,
            1 => self.poll_transmit(memory),
            2 if self.state.receive == Process::Suspended => self.state.receive = Process::Running,
            3 => self.state.receive_list.start_at(value),
            4 => self.state.transmit_list.start_at(value),
            5 => self.state.status &= !value,
            6 => {
                self.state.mode = value | MODE_ONES;
                self.start_or_stop(memory);
            }
            7 => self.state.interrupt_mask = value & 0x0001_ffff,
            9 => {
                self.state.serial_port = value & 0x0007_7807;
                self.srom.drive(value);
                self.transceiver.drive(value);
            }
            11 => self.state.timer.write(value, now_ns),
            // Bit 8 says that the others are directions and not levels.
            12 if value & 0x100 == 0 => self.state.general_port = value & 0xff,
            15 => self.state.watchdog = value & 0x33,
            _ => {}
        }
    }

    /// Longwords between two descriptors that are not chained (CSR0, descriptor skip length), in bytes.
    pub(super) fn skip_bytes(&self) -> u32 {
        (self.state.bus_mode >> 2 & 0x1f) * 4
    }
}
