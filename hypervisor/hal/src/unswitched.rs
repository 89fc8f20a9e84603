//! State that no vendor's world switch exchanges: extended state with XCR0, debug address registers,
//! TSC_AUX, and what the branch predictors learned. Exchanged between the control domain and a guest
//! when the guest is attached and detached, never for an exit that the hypervisor handles itself.

use crate::cpu::{self, msr};
use crate::extended::{self, Components, ControlImage, GuestImage};
use crate::memory::PoolBox;
use crate::pool::Pool;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use hypervisor_core::policy::xstate::check_xcr0;

/// The control domain's, on one CPU, while a guest is attached there.
pub struct HostState {
    components: Components,
    extended: PoolBox<ControlImage>,
    xcr0: u64,
    debug_registers: [u64; 4],
    tsc_aux: u64,
    has_tsc_aux: bool,
    has_prediction_barrier: bool,
    /// The guest's processor that ran here last: another one gets a prediction barrier.
    last_guest: u64,
}

impl HostState {
    /// For the CPU that this runs on; `None` when the pool is used up.
    pub fn new(pool: &'static Pool, components: Components) -> Option<Self> {
        Some(Self {
            components,
            extended: PoolBox::new(pool, ControlImage::initial())?,
            xcr0: cpu::xgetbv(),
            debug_registers: [0; 4],
            tsc_aux: 0,
            has_tsc_aux: cpu::has_tsc_aux(),
            has_prediction_barrier: cpu::has_prediction_barrier(),
            last_guest: 0,
        })
    }

    /// Executes an indirect branch prediction barrier, if the CPU has one.
    pub fn prediction_barrier(&self) {
        if self.has_prediction_barrier {
            // SAFETY: CPUID says that the register exists; 1 is its only command.
            unsafe { cpu::wrmsr(msr::PRED_CMD, 1) };
        }
    }
}

/// A guest processor's, while it is detached.
pub struct GuestState {
    /// Never 0, and never another's, not even when its memory comes back as a new machine's.
    identity: u64,
    extended: PoolBox<GuestImage>,
    components: u64,
    xcr0: u64,
    /// DR0 to DR3.
    pub debug_registers: [u64; 4],
    /// They are in the CPU.
    has_debug_registers: bool,
    tsc_aux: u64,
    attached: bool,
}

impl GuestState {
    /// After power-on; `None` when the pool is used up.
    pub fn new(pool: &'static Pool, components: u64) -> Option<Self> {
        static CREATED: AtomicU64 = AtomicU64::new(1);
        Some(Self {
            identity: CREATED.fetch_add(1, Relaxed),
            extended: PoolBox::new(pool, GuestImage::initial())?,
            components,
            xcr0: 1,
            debug_registers: [0; 4],
            has_debug_registers: false,
            tsc_aux: 0,
            attached: false,
        })
    }

    /// From the control domain's to the guest's, but for the debug registers.
    #[inline]
    pub fn attach(&mut self, host: &mut HostState) {
        host.xcr0 = cpu::xgetbv();
        // SAFETY: `components.all` is what CPUID allows in XCR0 here and what the control image
        // holds; the guest's image holds `components`, and was written by `save`, `initial` or
        // `load_from`; `xcr0` was checked by `set_xcr0`.
        unsafe {
            if host.xcr0 != host.components.all {
                cpu::xsetbv(host.components.all);
            }
            extended::save(&mut host.extended, host.components.all);
            extended::restore(&self.extended, self.components);
            if self.xcr0 != host.components.all {
                cpu::xsetbv(self.xcr0);
            }
        }
        if host.has_tsc_aux {
            // SAFETY: the register is there; any value is legal.
            unsafe {
                host.tsc_aux = cpu::rdmsr(msr::TSC_AUX);
                if host.tsc_aux != self.tsc_aux {
                    cpu::wrmsr(msr::TSC_AUX, self.tsc_aux);
                }
            }
        }
        if host.last_guest != self.identity {
            host.prediction_barrier();
        }
        host.last_guest = self.identity;
        self.attached = true;
    }

    /// Brings the guest's DR0 to DR3 into the CPU, while it is attached. Whoever does so later than
    /// at once keeps the guest from seeing and using the control domain's until then.
    pub fn take_debug_registers(&mut self, host: &mut HostState) {
        host.debug_registers = cpu::read_debug_registers();
        cpu::write_debug_registers(self.debug_registers);
        self.has_debug_registers = true;
    }

    #[cold]
    fn leave_debug_registers(&mut self, host: &HostState) {
        self.debug_registers = cpu::read_debug_registers();
        cpu::write_debug_registers(host.debug_registers);
        self.has_debug_registers = false;
    }

    /// From the guest's to the control domain's, all of it.
    #[inline]
    pub fn detach(&mut self, host: &mut HostState) {
        if self.has_debug_registers {
            self.leave_debug_registers(host);
        }
        // SAFETY: as in `attach`.
        unsafe {
            if host.has_tsc_aux {
                self.tsc_aux = cpu::rdmsr(msr::TSC_AUX);
                if self.tsc_aux != host.tsc_aux {
                    cpu::wrmsr(msr::TSC_AUX, host.tsc_aux);
                }
            }
            self.xcr0 = cpu::xgetbv();
            if self.xcr0 != host.components.all {
                cpu::xsetbv(host.components.all);
            }
            extended::save(&mut self.extended, self.components);
            extended::restore(&host.extended, host.components.all);
            if host.xcr0 != host.components.all {
                cpu::xsetbv(host.xcr0);
            }
        }
        self.attached = false;
    }

    /// XCR0. Not every implementation intercepts XSETBV (QEMU 7.2 does not): the CPU knows best.
    pub fn xcr0(&self) -> u64 {
        if self.attached {
            cpu::xgetbv()
        } else {
            self.xcr0
        }
    }

    /// Could XCR0 become `value`?
    pub fn takes_xcr0(&self, value: u64) -> bool {
        value == self.xcr0 || check_xcr0(value, self.components).is_ok()
    }

    /// Sets XCR0 to a value that was checked.
    pub fn set_xcr0(&mut self, value: u64) {
        self.xcr0 = value;
        if self.attached {
            // SAFETY: the caller checked the value against what this CPU has; XCR0 is the guest's
            // while it is attached.
            unsafe { cpu::xsetbv(value) };
        }
    }

    /// The extended state as words of the XSAVE image.
    pub fn extended(&self) -> &[AtomicU64] {
        self.extended.words()
    }

    /// Takes it from such an image.
    pub fn set_extended(&mut self, image: &[AtomicU64]) {
        self.extended.load_from(image, self.components);
    }
}
