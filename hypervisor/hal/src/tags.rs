//! TLB tags (ASIDs of AMD, VPIDs of Intel): one per CPU, guest processor and generation of its translations.
//!
//! A tag is never reused before all tags of the CPU were flushed, so taking a new tag *is* the
//! flush. This needs no flush by tag, and it is right on a CPU that ignores tags.

/// The tags of one CPU. 0 is the host's, 1 the control domain's.
pub struct Tags {
    /// The CPU in the upper 16 bits, how often all tags were flushed below.
    epoch: u64,
    next: u32,
    count: u32,
}

/// A tag that a guest processor holds, good on one CPU in one epoch; the default one nowhere.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Tag {
    epoch: u64,
    pub number: u32,
}

/// The control domain's tag.
pub const CONTROL_DOMAIN: u32 = 1;

impl Tags {
    /// `count` tags exist on CPU `cpu` (AMD: CPUID 8000_000A EBX; Intel: 65536).
    pub fn new(cpu: usize, count: u32) -> Self {
        Self {
            epoch: (cpu as u64) << 48 | 1,
            next: CONTROL_DOMAIN + 1,
            count,
        }
    }

    /// Is `tag` still good here?
    #[inline]
    pub fn holds(&self, tag: Tag) -> bool {
        tag.epoch == self.epoch
    }

    /// A fresh tag, and whether all of this CPU's translations must be flushed first.
    pub fn take(&mut self) -> (Tag, bool) {
        let wrapped = self.next >= self.count;
        if wrapped {
            self.epoch += 1;
            self.next = CONTROL_DOMAIN + 1;
        }
        let number = self.next;
        self.next += 1;
        (
            Tag {
                epoch: self.epoch,
                number,
            },
            wrapped,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_repeat_only_after_a_flush() {
        let mut tags = Tags::new(3, 16);
        let mut live = std::vec::Vec::new();
        for _ in 0..100 {
            let (tag, flush) = tags.take();
            if flush {
                live.clear();
            }
            assert!(tag.number > CONTROL_DOMAIN && tag.number < 16);
            assert!(!live.contains(&tag.number));
            live.push(tag.number);
            assert!(tags.holds(tag));
        }
    }

    #[test]
    fn a_tag_of_another_cpu_or_epoch_does_not_hold() {
        let (tag, _) = Tags::new(1, 16).take();
        assert!(!Tags::new(2, 16).holds(tag));
        let mut tags = Tags::new(1, 4);
        let (old, _) = tags.take();
        tags.take();
        let (_, flush) = tags.take();
        assert!(flush && !tags.holds(old));
        assert!(!tags.holds(Tag::default()));
    }
}
