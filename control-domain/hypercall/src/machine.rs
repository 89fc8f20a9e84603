//! The calls that need a machine's handle, typed, with the loops over partial answers inside.

use crate::{Answer, CallError, Calls};
use hypervisor_abi::{Access, Call, ExitReason, Handle, StateGroup, Status};

/// What a call made pending for processors: bit `n` is processor `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a processor that is not told stays asleep"]
pub struct Pending {
    /// Runs elsewhere: kick it.
    pub signal: u64,
    /// Its thread is blocked: let it call `Run` again.
    pub wake: u64,
}

/// A live machine. Dropping it leaves the machine as it is; see [`Machine::destroy`].
#[derive(Debug)]
pub struct Machine<C> {
    calls: C,
    handle: Handle,
}

const NO_HANDLE: Handle = Handle(0, 0);

fn checked(call: Call, answer: Answer) -> Result<Answer, CallError> {
    match Status::from_number(answer.status) {
        Some(Status::Ok) => Ok(answer),
        Some(status) => Err(CallError::Refused { call, status }),
        None => Err(CallError::UnknownAnswer {
            call,
            value: answer.status,
        }),
    }
}

impl<C: Calls> Machine<C> {
    /// Creates a machine over the control frame at a user address, 2 MiB aligned, whose page 0
    /// holds the filled-in [`hypervisor_abi::MachineConfig`].
    ///
    /// # Errors
    /// As the hypervisor refuses it; see [`CallError`].
    pub fn create(calls: C, control_frame: u64) -> Result<Self, CallError> {
        let answer = calls.call(Call::CreateMachine, NO_HANDLE, [control_frame, 0, 0, 0]);
        let answer = checked(Call::CreateMachine, answer)?;
        Ok(Self {
            calls,
            handle: Handle(answer.o0, answer.o1),
        })
    }

    fn call(&self, call: Call, arguments: [u64; 4]) -> Result<Answer, CallError> {
        checked(call, self.calls.call(call, self.handle, arguments))
    }

    fn pending(&self, call: Call, arguments: [u64; 4]) -> Result<Pending, CallError> {
        let answer = self.call(call, arguments)?;
        Ok(Pending {
            signal: answer.o0,
            wake: answer.o1,
        })
    }

    /// Repeats a call over a range until all of it is done. `step` makes the call for what is left
    /// behind the bytes done; the answer is the union of all second outputs.
    fn over_range(
        &self,
        call: Call,
        length: u64,
        step: impl Fn(u64) -> [u64; 4],
    ) -> Result<u64, CallError> {
        let (mut done, mut mask) = (0, 0);
        while done < length {
            let answer = self.call(call, step(done))?;
            mask |= answer.o1;
            if answer.o0 == 0 || answer.o0 > length - done {
                return Err(CallError::NoProgress { call, done });
            }
            done += answer.o0;
        }
        Ok(mask)
    }

    /// Maps `length` bytes at a user address to a guest-physical address; all page aligned.
    ///
    /// # Errors
    /// As the hypervisor refuses it; an earlier part of the range may be mapped by then.
    pub fn add_memory(
        &self,
        user: u64,
        gpa: u64,
        length: u64,
        access: Access,
    ) -> Result<(), CallError> {
        self.over_range(Call::AddMemory, length, |done| {
            [user + done, gpa + done, length - done, access as u64]
        })
        .map(drop)
    }

    /// Unmaps a guest-physical range. Answers the processors to kick; the change is complete when
    /// [`Machine::sync_memory`] answers 0.
    ///
    /// # Errors
    /// As the hypervisor refuses it; an earlier part of the range may be unmapped by then.
    pub fn remove_memory(&self, gpa: u64, length: u64) -> Result<u64, CallError> {
        self.over_range(Call::RemoveMemory, length, |done| {
            [gpa + done, length - done, 0, 0]
        })
    }

    /// Changes the access of mapped memory. Answers the processors to kick, as `remove_memory`.
    ///
    /// # Errors
    /// As the hypervisor refuses it; an earlier part of the range may be changed by then.
    pub fn protect_memory(&self, gpa: u64, length: u64, access: Access) -> Result<u64, CallError> {
        self.over_range(Call::ProtectMemory, length, |done| {
            [gpa + done, length - done, access as u64, 0]
        })
    }

    /// Processors that still run under an older memory map.
    ///
    /// # Errors
    /// If the machine is gone.
    pub fn sync_memory(&self) -> Result<u64, CallError> {
        self.call(Call::SyncMemory, [0; 4]).map(|answer| answer.o0)
    }

    /// Creates a virtual processor.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn create_processor(&self, index: u32, apic_id: u32) -> Result<(), CallError> {
        self.call(Call::CreateProcessor, [index.into(), apic_id.into(), 0, 0])
            .map(drop)
    }

    /// Enters the guest on this CPU. The details of the exit are in the run page.
    ///
    /// # Errors
    /// As the hypervisor refuses it, or if it answers an unknown reason.
    pub fn run(&self, index: u32) -> Result<ExitReason, CallError> {
        let answer = self.call(Call::Run, [index.into(), 0, 0, 0])?;
        u32::try_from(answer.o0)
            .ok()
            .and_then(ExitReason::from_number)
            .ok_or(CallError::UnknownAnswer {
                call: Call::Run,
                value: answer.o0,
            })
    }

    /// Copies state of a processor that is not running into the control frame.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn get_state(&self, index: u32, group: StateGroup) -> Result<(), CallError> {
        self.call(Call::GetState, [index.into(), group as u64, 0, 0])
            .map(drop)
    }

    /// Loads state of a processor that is not running from the control frame.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn set_state(&self, index: u32, group: StateGroup) -> Result<(), CallError> {
        self.call(Call::SetState, [index.into(), group as u64, 0, 0])
            .map(drop)
    }

    /// Delivers a message-signalled interrupt.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn assert_interrupt(&self, address: u64, data: u64) -> Result<Pending, CallError> {
        self.pending(Call::AssertInterrupt, [address, data, 0, 0])
    }

    /// Posts the 256-byte SynIC message at an offset of the control frame.
    ///
    /// # Errors
    /// [`Status::Busy`] while the slot's queue is full; else as the hypervisor refuses it.
    pub fn post_message(
        &self,
        processor: u32,
        sint: u32,
        offset: u64,
    ) -> Result<Pending, CallError> {
        self.pending(
            Call::PostMessage,
            [processor.into(), sint.into(), offset, 0],
        )
    }

    /// Sets a SynIC event flag.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn signal_event(&self, processor: u32, sint: u32, flag: u32) -> Result<Pending, CallError> {
        self.pending(
            Call::SignalEvent,
            [processor.into(), sint.into(), flag.into(), 0],
        )
    }

    /// Reads a register of the local APIC page.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn read_apic(&self, processor: u32, offset: u64) -> Result<u32, CallError> {
        let answer = self.call(Call::AccessApic, [processor.into(), offset, 0, 0])?;
        Ok(answer.o0 as u32)
    }

    /// Writes a register of the local APIC page. Answers the vector of the level-triggered interrupt
    /// that the write ended, for the IOAPIC. What it made pending for other processors is in the
    /// run page of `processor`.
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn write_apic(
        &self,
        processor: u32,
        offset: u64,
        value: u32,
    ) -> Result<Option<u8>, CallError> {
        let answer = self.call(
            Call::AccessApic,
            [processor.into(), offset, value.into(), 1],
        )?;
        Ok((answer.o1 & 1 << 8 != 0).then_some(answer.o1 as u8))
    }

    /// Ends the machine.
    ///
    /// # Errors
    /// [`Status::Busy`] while a processor is inside the guest.
    pub fn destroy(&self) -> Result<(), CallError> {
        self.call(Call::DestroyMachine, [0; 4]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Answers from a list, and keeps what was asked.
    struct Script {
        answers: RefCell<Vec<Answer>>,
        asked: RefCell<Vec<(Call, [u64; 4])>>,
    }

    impl Calls for &Script {
        fn call(&self, call: Call, _: Handle, arguments: [u64; 4]) -> Answer {
            self.asked.borrow_mut().push((call, arguments));
            self.answers.borrow_mut().remove(0)
        }
    }

    fn script(answers: &[(u64, u64, u64)]) -> Script {
        let mut all = vec![Answer {
            status: 0,
            o0: 1,
            o1: 2,
        }];
        all.extend(
            answers
                .iter()
                .map(|&(status, o0, o1)| Answer { status, o0, o1 }),
        );
        Script {
            answers: RefCell::new(all),
            asked: RefCell::default(),
        }
    }

    #[test]
    fn ranges_are_continued_where_the_hypervisor_stopped() {
        let s = script(&[(0, 0x1000, 0b01), (0, 0x3000, 0b10)]);
        let m = Machine::create(&s, 0x20_0000).unwrap();
        assert_eq!(m.protect_memory(0xa000, 0x4000, Access::Read), Ok(0b11));
        let asked = s.asked.borrow();
        assert_eq!(asked[1].1, [0xa000, 0x4000, 1, 0]);
        assert_eq!(asked[2].1, [0xb000, 0x3000, 1, 0]);
    }

    #[test]
    fn an_answer_without_progress_is_an_error_not_a_loop() {
        let s = script(&[(0, 0, 0)]);
        let m = Machine::create(&s, 0).unwrap();
        let e = m.add_memory(0, 0, 0x1000, Access::Write);
        assert_eq!(
            e,
            Err(CallError::NoProgress {
                call: Call::AddMemory,
                done: 0
            })
        );
    }

    #[test]
    fn refusals_have_names() {
        let s = script(&[(5, 0, 0), (0xdead, 0, 0), (0, 99, 0)]);
        let m = Machine::create(&s, 0).unwrap();
        let e = m.create_processor(0, 0).unwrap_err();
        assert_eq!(e.status(), Some(Status::Owned));
        assert!(e.to_string().contains("Owned"));
        assert!(matches!(
            m.create_processor(0, 0),
            Err(CallError::UnknownAnswer { value: 0xdead, .. })
        ));
        assert!(matches!(
            m.run(0),
            Err(CallError::UnknownAnswer { value: 99, .. })
        ));
    }
}
