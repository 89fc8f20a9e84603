//! News that a unit tells the next command that asks: unit attention conditions. Source: SAM-5 §5.14.

use crate::sense::{Sense, SenseKey};

/// One piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// The bus or the unit was reset.
    Reset,
    /// The disk has another size.
    CapacityChanged,
    /// Units came or went.
    LunsChanged,
    /// There is another medium in the drive.
    MediumChanged,
}

impl Attention {
    fn sense(self) -> Sense {
        let (code, qualifier) = match self {
            Attention::MediumChanged => (0x28, 0x00),
            Attention::Reset => (0x29, 0x00),
            Attention::CapacityChanged => (0x2a, 0x09),
            Attention::LunsChanged => (0x3f, 0x0e),
        };
        Sense::new(SenseKey::UnitAttention, code, qualifier)
    }
}

/// What was not told yet: each at most once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attentions(Vec<Attention>);

impl Attentions {
    pub fn add(&mut self, news: Attention) {
        // A reset makes older news pointless: the initiator looks at everything again.
        if news == Attention::Reset {
            self.0.clear();
        }
        if !self.0.contains(&news) {
            self.0.push(news);
        }
    }

    pub fn take(&mut self) -> Option<Sense> {
        match self.0.is_empty() {
            true => None,
            false => Some(self.0.remove(0).sense()),
        }
    }

    /// The list of units was asked for (SPC-4 §6.33).
    pub fn forget(&mut self, news: Attention) {
        self.0.retain(|kept| *kept != news);
    }
}
