//! Guest-physical memory as a processor's load or store finds it: RAM, ROM, video memory, its own
//! local APIC, and the board for all the rest.

use crate::board::Board;
use crate::emulator::{Bus, Transfer};
use crate::layout::PoolPlan;
use crate::memory::BusMemory;
use devices::Region;
use hypercall::Calls;
use hypervisor_abi::Access;

/// Where the local APIC's page is. No firmware or system of this project's guests moves it.
const APIC_PAGE: u64 = 0xfee0_0000;

/// The memory of one processor, while the board is locked.
pub struct MachineBus<'a, C> {
    /// The hypervisor, for the local APIC.
    pub calls: &'a hypercall::Machine<C>,
    /// RAM.
    pub memory: &'a BusMemory,
    /// Where the regions' memory lies.
    pub plan: &'a PoolPlan,
    /// The devices.
    pub board: &'a mut dyn Board,
    /// What is mapped where.
    pub regions: &'a [Region],
    /// The processor.
    pub index: u32,
    /// The machine's time.
    pub now_ns: u64,
    /// Something may be pending for other processors, as the run page says.
    pub apic_written: bool,
}

impl<C: Calls> MachineBus<'_, C> {
    /// Offset in the granules and access of the memory at `gpa`, if there is any.
    fn backing(&self, gpa: u64) -> Option<(u64, Access)> {
        self.plan.find(self.regions, gpa)
    }

    /// Whether the memory map, as it is now, lets the guest do this without the vmm.
    pub fn allows(&self, gpa: u64, write: bool) -> bool {
        self.backing(gpa)
            .is_some_and(|(_, access)| !write || access == Access::Write)
    }

    /// Transfers of a string port instruction.
    pub fn transfer(&mut self, transfer: Transfer) {
        let (now_ns, memory) = (self.now_ns, self.memory);
        match transfer {
            Transfer::In { port, size, data } => {
                if self.board.port_read_run(port, size, data, now_ns, memory) {
                    return;
                }
                for element in data.chunks_mut(size.into()) {
                    let value = self.board.port_read(port, size, now_ns, memory);
                    element.copy_from_slice(&value.to_le_bytes()[..element.len()]);
                }
            }
            Transfer::Out { port, size, data } => {
                if self.board.port_write_run(port, size, data, now_ns, memory) {
                    return;
                }
                for element in data.chunks(size.into()) {
                    let mut value = [0; 4];
                    value[..element.len()].copy_from_slice(element);
                    let value = u32::from_le_bytes(value);
                    self.board.port_write(port, size, value, now_ns, memory);
                }
            }
        }
    }
}

impl<C: Calls> Bus for MachineBus<'_, C> {
    fn read(&mut self, gpa: u64, data: &mut [u8]) {
        if self.read_memory(gpa, data) {
            return;
        }
        if gpa & !0xfff != APIC_PAGE {
            return self.board.mmio_read(gpa, data, self.now_ns);
        }
        // Registers are 32 bits wide on 16-byte boundaries (SDM vol. 3 §11.4.1).
        let register = self
            .calls
            .read_apic(self.index, gpa & 0xff0)
            .unwrap_or(0)
            .to_le_bytes();
        for (n, byte) in data.iter_mut().enumerate() {
            *byte = register.get((gpa & 0xf) as usize + n).copied().unwrap_or(0);
        }
    }

    fn write(&mut self, gpa: u64, data: &[u8]) {
        match self.backing(gpa) {
            Some((offset, Access::Write)) => self.memory.0.mapping().write(offset, data),
            _ if gpa & !0xfff != APIC_PAGE => {
                self.board.mmio_write(gpa, data, self.now_ns, self.memory)
            }
            _ => {
                let mut value = [0; 4];
                let length = data.len().min(4);
                value[..length].copy_from_slice(&data[..length]);
                self.apic_written = true;
                let ended =
                    self.calls
                        .write_apic(self.index, gpa & 0xfff, u32::from_le_bytes(value));
                // A register that does not exist takes what is written to it, as on a processor.
                if let Ok(Some(vector)) = ended {
                    self.board.end_of_interrupt(vector);
                }
            }
        }
    }

    fn is_memory(&self, gpa: u64, write: bool) -> bool {
        self.allows(gpa, write)
    }

    fn read_memory(&self, gpa: u64, data: &mut [u8]) -> bool {
        match self.backing(gpa) {
            Some((offset, _)) => {
                self.memory.0.mapping().read(offset, data);
                true
            }
            None => false,
        }
    }
}
