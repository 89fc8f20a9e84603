//! IN, OUT, INS, OUTS: all ports are the vmm's.

use crate::hal::{Hal, State};
use crate::run::{Next, Owed, Run};
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::{ExitReason, IO_IN, IO_REPEAT, IO_STRING};

/// A port access.
pub struct Access {
    /// Port.
    pub port: u16,
    /// 1, 2 or 4.
    pub size_bytes: u8,
    /// IN or INS.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With REP.
    pub repeat: bool,
    /// Address behind the instruction.
    pub next_rip: u64,
}

/// Handles the exit.
pub fn handle<H: Hal>(run: &mut Run<'_, H>, access: Access) -> Next {
    let flag = |on, flag| if on { flag } else { 0 };
    let data = &run.slot.page.data;
    data[0].store(u64::from(access.port), Relaxed);
    data[1].store(u64::from(access.size_bytes), Relaxed);
    let flags =
        flag(access.input, IO_IN) | flag(access.string, IO_STRING) | flag(access.repeat, IO_REPEAT);
    data[2].store(flags, Relaxed);
    if access.string {
        data[4].store(access.next_rip, Relaxed);
        return run.leave_with_registers(ExitReason::Io);
    }
    let vcpu = &mut run.processor.vcpu;
    if access.input {
        run.processor.owed = Owed::In {
            size_bytes: access.size_bytes,
        };
    } else {
        let mask = (1u64 << (8 * u32::from(access.size_bytes))) - 1;
        data[3].store(vcpu.gpr(0) & mask, Relaxed);
    }
    run.processor.vcpu.advance_to(access.next_rip);
    Next::Leave(ExitReason::Io)
}
