//! The hypervisor's own calls, as `hypervisor-abi` lays them down.

use crate::apic::Ipi;
use crate::hal::{CodeMode, Cpu, Gpa, Hal, Memory, State, Vcpu};
use crate::hyperv::is_legal_message;
use crate::inbox::Notice;
use crate::machine::{Machine, Machines, Others, ProcessorSlot};
use crate::processor::Message;
use crate::{exits, run};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::{
    ABI_VERSION, Access, CALL_SIGNATURE, Call, FRAME_SIZE, Handle, PAGE_SIZE, STATE_AREA_SIZE,
    StateGroup, Status, state_area_offset,
};

const RAX: usize = 0;
const RDX: usize = 2;
const RSI: usize = 6;
const RDI: usize = 7;
const R8: usize = 8;
const R9: usize = 9;
const R10: usize = 10;

/// RAX of the call that enters a guest.
const RUN: u64 = CALL_SIGNATURE | Call::Run as u64;

/// What a call answers besides its status.
type Outputs = [u64; 2];

/// A call as its registers hold it.
struct Request {
    handle: Handle,
    arguments: [u64; 4],
}

/// Answers the call in the registers of `cpu`, whose RIP is past it already.
pub fn answer<H: Hal>(hal: &'static H, machines: &Machines<H>, cpu: &mut H::Cpu) {
    if cpu.code_mode() != CodeMode::Bits64 {
        return cpu.set_gpr(RAX, Status::WrongMode as u64);
    }
    let number = cpu.gpr(RAX);
    // By far the most frequent call takes the short way.
    let answer = if number == RUN {
        run(hal, machines, cpu)
    } else {
        dispatch(hal, machines, cpu, number)
    };
    match answer {
        Ok([first, second]) => {
            cpu.set_gpr(RAX, Status::Ok as u64);
            cpu.set_gpr(RDX, first);
            cpu.set_gpr(R8, second);
        }
        Err(status) => cpu.set_gpr(RAX, status as u64),
    }
}

fn run<H: Hal>(
    hal: &'static H,
    machines: &Machines<H>,
    cpu: &mut H::Cpu,
) -> Result<Outputs, Status> {
    let guard = machines.find(Handle(cpu.gpr(RDI), cpu.gpr(RSI)))?;
    let machine = guard.as_deref().ok_or(Status::StaleHandle)?;
    let index = cpu.gpr(RDX);
    run::run(hal, cpu, machine, index).map(|reason| [reason as u64, 0])
}

#[inline(never)]
fn dispatch<H: Hal>(
    hal: &'static H,
    machines: &Machines<H>,
    cpu: &mut H::Cpu,
    number: u64,
) -> Result<Outputs, Status> {
    let call = Call::from_number(number as u16)
        .filter(|_| number & !0xffff == CALL_SIGNATURE)
        .ok_or(Status::UnknownCall)?;
    let request = Request {
        handle: Handle(cpu.gpr(RDI), cpu.gpr(RSI)),
        arguments: [cpu.gpr(RDX), cpu.gpr(R8), cpu.gpr(R9), cpu.gpr(R10)],
    };
    let memory = hal.memory();
    let [a0, a1, a2, a3] = request.arguments;
    match call {
        Call::Query => {
            let first = u64::from(ABI_VERSION) | (cpu.index() as u64) << 32;
            return Ok([first, hal.cpu_count() as u64 | (H::VENDOR as u64) << 32]);
        }
        Call::CreateMachine => {
            let handle = machines.create(hal, &cpu.paging(), a0)?;
            return Ok([handle.0, handle.1]);
        }
        Call::DestroyMachine => return machines.destroy(memory, request.handle).map(|()| [0; 2]),
        _ => {}
    }
    let guard = machines.find(request.handle)?;
    let Some(machine) = guard.as_deref() else {
        return Err(Status::StaleHandle);
    };
    match call {
        Call::AddMemory => {
            let writable = access(a3)?;
            machines
                .add_memory(hal, machine, &cpu.paging(), a0, a1, a2, writable)
                .map(|done| [done, 0])
        }
        Call::RemoveMemory => {
            let done = machine.map.lock().unmap(memory, Gpa(a0), a1)?;
            Ok([done, machine.map_changed()])
        }
        Call::ProtectMemory => {
            let done = machine
                .map
                .lock()
                .protect(memory, Gpa(a0), a1, access(a2)?)?;
            Ok([done, machine.map_changed()])
        }
        Call::SyncMemory => Ok([machine.running_under_old_map(), 0]),
        Call::CreateProcessor => {
            let (index, apic_id) = (usize::try_from(a0), u32::try_from(a1));
            let (Ok(index), Ok(apic_id)) = (index, apic_id) else {
                return Err(Status::InvalidArgument);
            };
            machine
                .create_processor(hal, index, apic_id)
                .map(|()| [0; 2])
        }
        Call::GetState => transfer(memory, machine, a0, a1, false),
        Call::SetState => transfer(memory, machine, a0, a1, true),
        Call::AssertInterrupt => {
            let ipi = Ipi::from_msi(a0, a1).ok_or(Status::InvalidArgument)?;
            let mut others = Others::default();
            machine.send(None, &ipi, &mut others);
            Ok([others.signal, others.wake])
        }
        Call::PostMessage => {
            let message = message(memory, machine, a2)?;
            notify(
                machine,
                a0,
                Notice::Message {
                    sint: sint(a1)?,
                    message,
                },
            )
        }
        Call::SignalEvent => {
            let flag = u16::try_from(a2)
                .ok()
                .filter(|f| *f < 2048)
                .ok_or(Status::InvalidArgument)?;
            notify(
                machine,
                a0,
                Notice::Event {
                    sint: sint(a1)?,
                    flag,
                },
            )
        }
        Call::AccessApic => access_apic(hal, cpu, machine, request.arguments),
        Call::FreePages => Ok([memory.free_pages() as u64, 0]),
        Call::Query | Call::CreateMachine | Call::DestroyMachine | Call::Run => {
            Err(Status::UnknownCall)
        }
    }
}

fn access(number: u64) -> Result<bool, Status> {
    match Access::from_number(number) {
        Some(Access::Read) => Ok(false),
        Some(Access::Write) => Ok(true),
        None => Err(Status::InvalidArgument),
    }
}

fn sint(number: u64) -> Result<u8, Status> {
    u8::try_from(number)
        .ok()
        .filter(|s| *s < 16)
        .ok_or(Status::InvalidArgument)
}

fn notify<H: Hal>(machine: &Machine<H>, index: u64, notice: Notice) -> Result<Outputs, Status> {
    let slot = machine.processor(index)?;
    let duty = slot.inbox.notify(notice).ok_or(Status::Busy)?;
    let mut others = Others::default();
    others.add(index as usize, duty);
    Ok([others.signal, others.wake])
}

/// A message of 256 bytes from anywhere in the control frame.
fn message<H: Hal>(
    memory: &H::Memory,
    machine: &Machine<H>,
    offset: u64,
) -> Result<Message, Status> {
    let end = offset.checked_add(256).ok_or(Status::InvalidArgument)?;
    if !offset.is_multiple_of(8) || end > FRAME_SIZE {
        return Err(Status::InvalidArgument);
    }
    let mut message: Message = [0; 32];
    for (i, word) in message.iter_mut().enumerate() {
        let at = offset + 8 * i as u64;
        let page = machine
            .control_page(memory, at & !(PAGE_SIZE - 1))
            .ok_or(Status::NotGuestMemory)?;
        *word = crate::fetch::word(page, at);
    }
    if !is_legal_message(&message) {
        return Err(Status::InvalidArgument);
    }
    Ok(message)
}

/// GetState and SetState.
fn transfer<H: Hal>(
    memory: &H::Memory,
    machine: &Machine<H>,
    index: u64,
    group: u64,
    set: bool,
) -> Result<Outputs, Status> {
    let slot = machine.processor(index)?;
    let mut processor = slot.body.try_lock().ok_or(Status::Busy)?;
    let area = || state_area(memory, machine, index);
    match (
        StateGroup::from_number(group).ok_or(Status::InvalidArgument)?,
        set,
    ) {
        (StateGroup::Registers, false) => slot.page.registers.store(&processor.vcpu.registers()),
        (StateGroup::Registers, true) => {
            processor.set_registers(memory, machine, &slot.page.registers.load())?;
        }
        (StateGroup::Extended, false) => {
            for (to, from) in area()?.iter().zip(processor.vcpu.extended_state()) {
                to.store(from.load(Relaxed), Relaxed);
            }
        }
        (StateGroup::Extended, true) => processor.vcpu.set_extended_state(area()?),
        (StateGroup::Statistics, false) => {
            let c = processor.counters;
            for (to, value) in
                area()?
                    .iter()
                    .zip([c.exits, c.exits_to_vmm, c.interrupted, c.injected])
            {
                to.store(value, Relaxed);
            }
        }
        (StateGroup::Statistics, true) => return Err(Status::InvalidArgument),
    }
    Ok([0; 2])
}

/// First page of a processor's state area: all that is copied today fits it.
fn state_area<H: Hal>(
    memory: &H::Memory,
    machine: &Machine<H>,
    index: u64,
) -> Result<&'static [AtomicU64; 512], Status> {
    const { assert!(STATE_AREA_SIZE >= 4096) };
    let offset = state_area_offset(index as usize) as u64;
    machine
        .control_page(memory, offset)
        .ok_or(Status::NotGuestMemory)
}

fn access_apic<H: Hal>(
    hal: &'static H,
    cpu: &mut H::Cpu,
    machine: &Machine<H>,
    [index, offset, value, write]: [u64; 4],
) -> Result<Outputs, Status> {
    let slot: &ProcessorSlot<H> = machine.processor(index)?;
    let offset = u32::try_from(offset)
        .ok()
        .filter(|o| *o < 4096)
        .ok_or(Status::InvalidArgument)?;
    let mut processor = slot.body.try_lock().ok_or(Status::Busy)?;
    if write == 0 {
        let value = processor
            .emulated
            .read_apic(&machine.partition, offset, hal.tsc());
        return Ok([u64::from(value), 0]);
    }
    let effect = processor
        .emulated
        .write_apic(&machine.partition, offset, value as u32, hal.tsc());
    let mut run = run::Run {
        hal,
        cpu,
        machine,
        slot,
        index: index as usize,
        processor: &mut processor,
        others: Others::default(),
        registers_wanted: false,
        restart: None,
    };
    // An end of interrupt that the IOAPIC must hear of goes out as the call's second output.
    let ended = match exits::effect::apply(&mut run, effect, None) {
        run::Next::Leave(hypervisor_abi::ExitReason::EndOfInterrupt) => {
            slot.page.data[0].load(Relaxed) | 1 << 8
        }
        _ => 0,
    };
    // Nothing of it is in a CPU now.
    if let Some(startup) = run.restart {
        run.processor.vcpu.reset(startup);
    }
    slot.page.signal.store(run.others.signal, Relaxed);
    slot.page.wake.store(run.others.wake, Relaxed);
    Ok([0, ended])
}

#[cfg(test)]
mod tests;
