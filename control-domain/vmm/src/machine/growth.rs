//! Memory that a machine gets while it runs.

use super::Machine;
use hypercall::Calls;

impl<C: Calls + Sync> Machine<C> {
    /// Bytes of granules that are mapped behind the guest's memory and are not the guest's yet: just mapped, or
    /// from before a reset.
    pub fn spare_bytes(&self) -> u64 {
        let mapped = self.memory.0.mapping().length();
        let used = |(_, offset): (u64, u64)| offset + self.lock().growth;
        self.plan.growth().map_or(0, |growth| mapped - used(growth))
    }

    /// Gives them to the guest, cleared. Answers their address in the guest and their length.
    ///
    /// # Errors
    /// One sentence: the memory does not grow, or the hypervisor refuses it.
    pub fn grow(&self) -> Result<(u64, u64), String> {
        let length = self.spare_bytes();
        let growth = self.plan.growth().filter(|_| length > 0);
        let (gpa, offset) = growth.ok_or("there is no memory to give")?;
        let mapping = self.memory.0.mapping();
        let before = self.lock().growth;
        // Nobody else uses them: their lock is held, and this machine's guest has no way to them yet.
        mapping.touch(offset + before, length);
        mapping.clear(offset + before, length);
        let mut state = self.lock();
        state.growth = before + length;
        let applied = self.apply_layout(&mut state);
        applied.map_err(|error| format!("the hypervisor refuses the memory: {error}"))?;
        self.memory.0.layout().set_growth(state.growth);
        Ok((gpa + before, length))
    }
}
