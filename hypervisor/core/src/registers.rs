//! All registers of a guest's processor, as the vmm sets them.

use crate::hal::{Hal, State, Vcpu};
use crate::machine::Machine;
use crate::memory::walk;
use crate::run::Processor;
use hypervisor_abi::{Registers, Status};

impl<H: Hal> Processor<H> {
    /// Sets all registers, and with them what the processor reads from memory when CR3 is loaded.
    ///
    /// # Errors
    /// `InvalidState` if a value can't be legal.
    #[inline(never)] // Out of the path of exits that set none: `run` counts its instructions.
    pub fn set_registers(
        &mut self,
        memory: &H::Memory,
        machine: &Machine<H>,
        registers: &Registers,
    ) -> Result<(), Status> {
        let before = self.vcpu.paging();
        if !self.vcpu.set_registers(registers) {
            return Err(Status::InvalidState);
        }
        let paging = self.vcpu.paging();
        // An emulated instruction changes none of this: the processor then keeps what it has, whatever
        // the memory holds by now.
        if paging != before
            && let Some(table) = walk::directory_pointer_table(&paging)
        {
            let entries = [0, 8, 16, 24].map(|offset| {
                let entry = machine.read_guest(memory, table + offset);
                entry.unwrap_or(0)
            });
            if !self.vcpu.set_directory_pointers(entries) {
                return Err(Status::InvalidState);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::hal::fake::Caller;
    use crate::hal::{Hpa, Memory};
    use hypervisor_abi::{Call, FRAME_SIZE, Registers};
    use std::sync::atomic::Ordering::SeqCst;

    const PAGING: u64 = 1 << 31 | 1;
    const PAE: u64 = 1 << 5;

    /// Sets registers of a processor whose guest has directory pointers at 0x1020, and again with
    /// others there; answers what was loaded.
    fn loaded(cr0: u64, cr4: u64) -> Vec<[u64; 4]> {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        let memory = [Caller::linear(1), 0, FRAME_SIZE, 3];
        c.call(Call::AddMemory, handle, memory).unwrap();
        let page = Hpa(c.hal.memory.frame(1).0 + 0x1000);
        let words = c.hal.memory.guest_page(page).unwrap();
        for first in [0x2001, 0x6001] {
            for (word, value) in words[4..8].iter().zip([first, 0x3001, 0, 0x5001]) {
                word.store(value, SeqCst);
            }
            let page = c.page(handle, 0);
            let (cr3, xcr0) = (0x1020, 1);
            page.registers.store(&Registers {
                cr0,
                cr3,
                cr4,
                xcr0,
                ..Default::default()
            });
            c.call(Call::SetState, handle, [0; 4]).unwrap();
        }
        c.with(handle, 0, |v| v.directory_pointers.clone())
    }

    #[test]
    fn pae_paging_takes_its_four_entries_from_memory_when_it_is_new() {
        assert_eq!(loaded(PAGING, PAE), [[0x2001, 0x3001, 0, 0x5001]]);
    }

    #[test]
    fn other_paging_takes_none() {
        for (cr0, cr4) in [(1, PAE), (PAGING, 0)] {
            assert_eq!(loaded(cr0, cr4), Vec::<[u64; 4]>::new());
        }
    }
}
