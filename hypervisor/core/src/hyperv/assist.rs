//! The VP assist page, of which one bit is used: "no EOI required" (TLFS, Virtual Interrupt Control, EOI Assist).
//!
//! With an interrupt that nothing waits behind, the guest is offered not to tell its end. It takes the offer by
//! clearing the bit at the handler's end, in place of a write that would exit; what it did is looked at with the next exit,
//! whatever that is for. As soon as something does wait, the offer is taken back.

use super::partition::OverlayKind;
use super::synic::{Page, overlay};
use crate::effect::Effect;
use core::sync::atomic::Ordering::SeqCst;

const ENABLE: u64 = 1;
const NO_EOI_REQUIRED: u64 = 1;

/// The page, and whether an offer is in it.
#[derive(Debug)]
pub struct AssistPage {
    register: u64,
    page: &'static Page,
    offered: bool,
}

impl AssistPage {
    /// At power-on, over a zeroed page.
    pub fn new(page: &'static Page) -> Self {
        Self {
            register: 0,
            page,
            offered: false,
        }
    }

    /// The register that places it.
    pub fn register(&self) -> u64 {
        self.register
    }

    /// Writes the register.
    pub fn set_register(&mut self, value: u64) -> Effect {
        self.withdraw();
        overlay(OverlayKind::Assist, &mut self.register, value)
    }

    /// Can the guest see the page?
    pub fn is_enabled(&self) -> bool {
        self.register & ENABLE != 0
    }

    /// Is an offer out?
    #[inline]
    pub fn is_offered(&self) -> bool {
        self.offered
    }

    /// The guest need not tell the end of the interrupt in service.
    pub fn offer(&mut self) {
        self.page[0].fetch_or(NO_EOI_REQUIRED, SeqCst);
        self.offered = true;
    }

    /// Did the guest take the offer? Then the interrupt has ended.
    pub fn was_taken(&mut self) -> bool {
        let taken = self.offered && self.page[0].load(SeqCst) & NO_EOI_REQUIRED == 0;
        self.offered &= !taken;
        taken
    }

    /// The guest must tell the end after all.
    pub fn withdraw(&mut self) {
        if self.offered {
            self.page[0].fetch_and(!NO_EOI_REQUIRED, SeqCst);
            self.offered = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    fn page() -> &'static Page {
        Box::leak(Box::new([const { AtomicU64::new(0) }; 512]))
    }

    #[test]
    fn an_offer_is_taken_once() {
        let page = page();
        let mut assist = AssistPage::new(page);
        assert!(!assist.was_taken());
        assist.offer();
        assert!(assist.is_offered() && !assist.was_taken());
        page[0].store(0, SeqCst);
        assert!(assist.was_taken());
        assert!(!assist.is_offered() && !assist.was_taken());
    }

    #[test]
    fn an_offer_that_was_withdrawn_is_gone_from_the_page() {
        let page = page();
        page[0].store(6, SeqCst);
        let mut assist = AssistPage::new(page);
        assist.offer();
        assert_eq!(page[0].load(SeqCst), 7);
        assist.withdraw();
        assert_eq!(page[0].load(SeqCst), 6);
        assert!(!assist.was_taken());
        // What the guest writes there by itself ends nothing.
        assist.withdraw();
        assert!(!assist.is_offered());
    }

    #[test]
    fn moving_the_page_withdraws_the_offer() {
        let page = page();
        let mut assist = AssistPage::new(page);
        assert!(!assist.is_enabled());
        assist.set_register(0x5001);
        assert!(assist.is_enabled());
        assist.offer();
        assist.set_register(0);
        assert_eq!((assist.is_offered(), page[0].load(SeqCst)), (false, 0));
    }
}
