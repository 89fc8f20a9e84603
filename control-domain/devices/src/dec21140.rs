//! DEC 21140A, the network card of Virtual PC, and of Hyper-V where it says "legacy network adapter": a bus
//! master with a list of descriptors for each direction in the guest's memory.
//!
//! Source: Digital Semiconductor 21140A Hardware Reference Manual (EC-QN7NF). §3.2 registers, §4.2 descriptors,
//! §4.3 how the processes go on.
//!
//! ```text
//! registers.rs    CSR0 to CSR15 as software reads and writes them     srom.rs      the serial ROM: address, medium
//! descriptor.rs   descriptors in memory, the walk from one to the next   mii.rs    the transceiver: is there a link?
//! transmit.rs     frames out, and setup frames                        filter.rs    which frames are for the guest
//! receive.rs      frames in                                           timer.rs     the general-purpose timer
//! ```
//!
//! What descriptors say is a claim: a poll handles so many and no more, memory that is not there ends both
//! processes with a bus error, as a real bus would.

mod descriptor;
mod filter;
mod mii;
mod receive;
mod registers;
mod srom;
mod timer;
mod transmit;

use crate::bus::{FrameSink, GuestMemory};
use descriptor::List;
use filter::Filter;
use mii::Transceiver;
pub use receive::Reception;
use srom::Srom;
use timer::Timer;

/// Bytes of registers, in ports and in memory; they repeat behind that.
pub const REGISTER_BYTES: u16 = 128;

/// What a card is, and where its frames go.
pub struct NetworkCard {
    /// Its address.
    pub mac: [u8; 6],
    /// Whether its cable is plugged in.
    pub plugged: bool,
    /// Takes the guest's frames, from the Ethernet header on and without checksum at their end.
    pub frames: Box<dyn FrameSink>,
}

/// CSR5, the bits that software clears, by the cause.
mod status {
    pub const TRANSMITTED: u32 = 1 << 0;
    pub const TRANSMIT_STOPPED: u32 = 1 << 1;
    pub const NO_TRANSMIT_BUFFER: u32 = 1 << 2;
    pub const JABBER: u32 = 1 << 3;
    pub const RECEIVED: u32 = 1 << 6;
    pub const NO_RECEIVE_BUFFER: u32 = 1 << 7;
    pub const RECEIVE_STOPPED: u32 = 1 << 8;
    pub const TIMER: u32 = 1 << 11;
    pub const BUS_ERROR: u32 = 1 << 13;
    pub const ABNORMAL: u32 = 1 << 15;
    pub const NORMAL: u32 = 1 << 16;
    /// What [`NORMAL`] sums up, and what [`ABNORMAL`].
    pub const NORMAL_CAUSES: u32 = TRANSMITTED | NO_TRANSMIT_BUFFER | RECEIVED;
    pub const ABNORMAL_CAUSES: u32 = TRANSMIT_STOPPED
        | JABBER
        | NO_RECEIVE_BUFFER
        | RECEIVE_STOPPED
        | TIMER
        | BUS_ERROR
        | 1 << 5
        | 1 << 9;
}

/// What one of the two processes does between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Process {
    #[default]
    Stopped,
    /// It has descriptors, or did when it looked last.
    Running,
    /// The next descriptor is the guest's.
    Suspended,
}

/// The card.
pub struct Dec21140 {
    card: NetworkCard,
    srom: Srom,
    transceiver: Transceiver,
    state: State,
}

/// What a reset forgets.
#[derive(Default)]
struct State {
    filter: Filter,
    timer: Timer,
    bus_mode: u32,
    status: u32,
    mode: u32,
    interrupt_mask: u32,
    serial_port: u32,
    general_port: u32,
    watchdog: u32,
    transmit: Process,
    receive: Process,
    transmit_list: List,
    receive_list: List,
    /// What was gathered of a frame whose last descriptor has not come yet.
    gathered: Vec<u8>,
}

impl State {
    fn at_reset() -> Self {
        State {
            mode: registers::MODE_AT_RESET,
            ..State::default()
        }
    }
}

impl std::fmt::Debug for Dec21140 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "mode {:#x}, status {:#x}, mask {:#x}, transmit {:?} at {:#x}, receive {:?} at {:#x}",
            self.state.mode,
            self.state.status,
            self.state.interrupt_mask,
            self.state.transmit,
            self.state.transmit_list.next,
            self.state.receive,
            self.state.receive_list.next
        )
    }
}

impl Dec21140 {
    /// A card at power-on.
    pub fn new(card: NetworkCard) -> Self {
        Dec21140 {
            srom: Srom::new(card.mac),
            transceiver: Transceiver::new(card.plugged),
            state: State::at_reset(),
            card,
        }
    }

    /// A reset, by the bus or by CSR0. The serial ROM and the transceiver have no part in it.
    pub fn reset(&mut self) {
        self.state = State::at_reset();
    }

    /// Whether it asserts its interrupt.
    pub fn interrupt(&self) -> bool {
        self.summary() & self.state.interrupt_mask != 0
    }

    /// The two bits that sum up the causes that are not masked.
    fn summary(&self) -> u32 {
        let open = self.state.status & self.state.interrupt_mask;
        let when = |causes, bit| if open & causes != 0 { bit } else { 0 };
        when(status::NORMAL_CAUSES, status::NORMAL)
            | when(status::ABNORMAL_CAUSES, status::ABNORMAL)
    }

    /// Lets time pass.
    pub fn advance(&mut self, now_ns: u64) {
        if self.state.timer.advance(now_ns) {
            self.state.status |= status::TIMER;
        }
    }

    /// When [`Dec21140::advance`] must be called next.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.state.timer.deadline_ns()
    }

    /// A descriptor or a buffer is where no memory is: nothing goes on until the card is reset.
    fn bus_error(&mut self) {
        self.state.status |= status::BUS_ERROR;
        self.state.transmit = Process::Stopped;
        self.state.receive = Process::Stopped;
        self.state.mode &= !(registers::START_TRANSMIT | registers::START_RECEIVE);
    }

    /// Both processes after a change of CSR6.
    fn start_or_stop(&mut self, memory: Option<&dyn GuestMemory>) {
        let transmits = self.state.mode & registers::START_TRANSMIT != 0;
        match (self.state.transmit, transmits) {
            (Process::Stopped, true) => {
                self.state.transmit = Process::Running;
                self.poll_transmit(memory);
            }
            (Process::Running | Process::Suspended, false) => {
                self.state.transmit = Process::Stopped;
                self.state.status |= status::TRANSMIT_STOPPED;
                self.state.gathered.clear();
            }
            _ => {}
        }
        let receives = self.state.mode & registers::START_RECEIVE != 0;
        match (self.state.receive, receives) {
            (Process::Stopped, true) => self.state.receive = Process::Running,
            (Process::Running | Process::Suspended, false) => {
                self.state.receive = Process::Stopped;
                self.state.status |= status::RECEIVE_STOPPED;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "dec21140/tests.rs"]
mod tests;
