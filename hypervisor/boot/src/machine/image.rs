//! Our own image in memory: the hypervisor in front, the control domain's sections behind.

use super::BootError;
use super::firmware;
use core::ops;
use hypervisor_boot::paging::{IdentityMap, NO_EXECUTE, WRITABLE};
use hypervisor_boot::sections::{HEADERS_SIZE, PAYLOAD, Sections};
use hypervisor_hal::handoff::Range;

/// The image as the firmware loaded it.
#[derive(Clone, Copy)]
pub struct Image {
    start: u64,
    sections: Sections<'static>,
}

impl Image {
    /// Finds the image and its sections.
    pub fn find() -> Result<Self, BootError> {
        let Range { start, end } = firmware::own_image()?;
        // SAFETY: the firmware loaded the image there and leaves it there while it runs, which is
        // for ever; its first page holds headers, which nobody writes.
        let headers = unsafe { core::slice::from_raw_parts(start as *const u8, HEADERS_SIZE) };
        let sections = Sections::parse(headers, (end - start) as usize)?;
        Ok(Self { start, sections })
    }

    /// Where the image begins.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The hypervisor's part: whole pages.
    pub fn hypervisor(&self) -> Range {
        Range {
            start: self.start,
            end: self.start + self.sections.hypervisor_size() as u64,
        }
    }

    /// The contents of a section of the control domain, if there is one and only one.
    pub fn payload(&self, name: &str) -> Option<&'static [u8]> {
        let ops::Range { start, end } = self
            .sections
            .find(name)
            .filter(|_| PAYLOAD.contains(&name))?;
        // SAFETY: the section lies inside the image, in the part behind the hypervisor, which
        // nobody writes while the boot goes on.
        Some(unsafe {
            core::slice::from_raw_parts((self.start as usize + start) as *const u8, end - start)
        })
    }

    /// Number of ranges that [`Self::protect`] maps.
    pub fn protected_ranges(&self) -> usize {
        1 + self.sections.iter().count()
    }

    /// Gives the hypervisor's pages the rights of their sections: never writable and executable.
    pub fn protect(&self, map: &mut IdentityMap<'_>) -> Result<(), BootError> {
        let own = self.hypervisor();
        map.map(own, NO_EXECUTE)?;
        for section in self
            .sections
            .iter()
            .filter(|s| (s.range.end as u64) <= own.len())
        {
            let start = self.start + section.range.start as u64;
            let end = self.start + (section.range.end as u64).next_multiple_of(4096);
            let flags = match (section.writable, section.executable) {
                (true, _) => WRITABLE | NO_EXECUTE,
                (false, true) => 0,
                (false, false) => NO_EXECUTE,
            };
            map.map(Range { start, end }, flags)?;
        }
        Ok(())
    }
}
