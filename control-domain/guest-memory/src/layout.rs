//! Which guest-physical range lies where in the mapping.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// One range of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Guest-physical address of the first byte.
    pub gpa: u64,
    /// Length in bytes.
    pub length: u64,
    /// Offset of the first byte in the mapping.
    pub offset: u64,
}

/// Ranges of guest memory, sorted, without overlap, and one behind them that grows.
#[derive(Debug, Default)]
pub struct Layout {
    ranges: Vec<Range>,
    growth: Option<Growth>,
}

/// Memory that is added while the guest runs.
#[derive(Debug)]
struct Growth {
    gpa: u64,
    offset: u64,
    length: AtomicU64,
}

/// Why a range can't be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Guest-physical addresses are used twice.
    Overlap(Range),
    /// The range ends behind the address space, or is empty.
    Length(Range),
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (Self::Overlap(r) | Self::Length(r)) = self;
        let what = if matches!(self, Self::Overlap(_)) {
            "overlaps another"
        } else {
            "is empty or too long"
        };
        write!(
            f,
            "the memory range of {:#x} bytes at {:#x} {what}",
            r.length, r.gpa
        )
    }
}

impl std::error::Error for LayoutError {}

impl Layout {
    /// Adds a range.
    ///
    /// # Errors
    /// If it overlaps one that is there, is empty or wraps.
    pub fn add(&mut self, range: Range) -> Result<(), LayoutError> {
        let end = range
            .gpa
            .checked_add(range.length)
            .filter(|_| range.length > 0);
        let (Some(end), Some(_)) = (end, range.offset.checked_add(range.length)) else {
            return Err(LayoutError::Length(range));
        };
        if self
            .ranges
            .iter()
            .any(|r| range.gpa < r.gpa + r.length && r.gpa < end)
        {
            return Err(LayoutError::Overlap(range));
        }
        let place = self.ranges.partition_point(|r| r.gpa < range.gpa);
        self.ranges.insert(place, range);
        Ok(())
    }

    /// Lets memory grow from an address on that lies behind all ranges; it has no length yet.
    pub fn grow_from(&mut self, gpa: u64, offset: u64) {
        let length = AtomicU64::new(0);
        self.growth = Some(Growth {
            gpa,
            offset,
            length,
        });
    }

    /// Gives the memory that grows another length: from now on accesses find it.
    pub fn set_growth(&self, length: u64) {
        if let Some(growth) = &self.growth {
            growth.length.store(length, Release);
        }
    }

    /// The ranges in the order of their addresses, but for the one that grows.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Where `gpa` lies in the mapping, and how many bytes from there on are contiguous.
    pub fn find(&self, gpa: u64) -> Option<(u64, u64)> {
        let after = self.ranges.partition_point(|r| r.gpa <= gpa);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let inside = gpa - range.gpa;
        if inside < range.length {
            return Some((range.offset + inside, range.length - inside));
        }
        let growth = self.growth.as_ref()?;
        let inside = gpa.checked_sub(growth.gpa)?;
        let length = growth.length.load(Acquire);
        (inside < length).then(|| (growth.offset + inside, length - inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(gpa: u64, length: u64, offset: u64) -> Range {
        Range {
            gpa,
            length,
            offset,
        }
    }

    #[test]
    fn addresses_are_found_and_holes_are_not() {
        let mut layout = Layout::default();
        layout.add(range(0x10_0000, 0x10_0000, 0x30_0000)).unwrap();
        layout.add(range(0, 0xa_0000, 0x20_0000)).unwrap();
        assert_eq!(layout.find(0), Some((0x20_0000, 0xa_0000)));
        assert_eq!(layout.find(0x9_ffff), Some((0x29_ffff, 1)));
        assert_eq!(layout.find(0xa_0000), None);
        assert_eq!(layout.find(0x1f_ffff), Some((0x3f_ffff, 1)));
        assert_eq!(layout.find(0x20_0000), None);
        assert_eq!(layout.find(u64::MAX), None);
    }

    #[test]
    fn memory_grows_behind_the_rest() {
        let mut layout = Layout::default();
        layout.add(range(0, 0x1000, 0)).unwrap();
        layout.grow_from(0x10_0000, 0x8000);
        assert_eq!(layout.find(0x10_0000), None);
        layout.set_growth(0x1000);
        assert_eq!(layout.find(0x10_0ffe), Some((0x8ffe, 2)));
        assert_eq!(layout.find(0x10_1000), None);
        assert_eq!(layout.find(0xfff), Some((0xfff, 1)));
        assert_eq!(layout.find(0x2000), None);
    }

    #[test]
    fn overlaps_and_wraps_are_refused() {
        let mut layout = Layout::default();
        layout.add(range(0x1000, 0x1000, 0)).unwrap();
        for bad in [
            range(0x1fff, 1, 0),
            range(0, 0x1001, 0),
            range(0, 0x9000, 0),
        ] {
            assert_eq!(layout.add(bad), Err(LayoutError::Overlap(bad)));
        }
        for bad in [
            range(0x5000, 0, 0),
            range(u64::MAX, 2, 0),
            range(0, 2, u64::MAX),
        ] {
            assert_eq!(layout.add(bad), Err(LayoutError::Length(bad)));
        }
    }
}
