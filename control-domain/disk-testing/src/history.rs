//! What a guest wrote and flushed, and what a disk may hold after a power cut.

use crate::{Image, Moment, SECTOR};
use disk::Disk;

/// The content of a disk over time. Moments are those of the storage below it.
pub struct History {
    /// After each write: when it began, and the content with it.
    versions: Vec<(Moment, Image)>,
    /// When each flush was done, and how many versions were there.
    flushes: Vec<(Moment, usize)>,
}

impl History {
    /// A disk with this content, all of it flushed.
    pub fn new(content: Image) -> Self {
        Self {
            versions: vec![(Moment::default(), content)],
            flushes: vec![(Moment::default(), 1)],
        }
    }

    /// The content as it should be now.
    pub fn content(&self) -> &Image {
        // There is one from the start on.
        &self.versions[self.versions.len() - 1].1
    }

    /// The guest writes; `moment` is from before the disk was told.
    pub fn write(&mut self, moment: Moment, offset: u64, data: &[u8]) {
        let mut content = self.content().clone();
        content.store(offset, data);
        self.versions.push((moment, content));
    }

    /// The guest flushed; `moment` is from after the disk answered.
    pub fn flushed(&mut self, moment: Moment) {
        self.flushes.push((moment, self.versions.len()));
    }

    /// Whether a disk that was opened after a cut at `moment` holds what it must: each sector as it
    /// was at the last flush, or as one of the writes since then left it.
    ///
    /// # Errors
    /// The first sector that is wrong.
    pub fn judge(&self, moment: Moment, disk: &mut dyn Disk) -> Result<(), String> {
        const CHUNK: u64 = 64 << 10;
        let flushed = self.flushes.iter().rev().find(|(done, _)| *done <= moment);
        let kept = flushed.map_or(1, |(_, versions)| *versions);
        let end = self.versions.partition_point(|(begun, _)| *begun <= moment);
        let (mut all_found, mut all_wanted) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
        let size = self.content().len();
        for offset in (0..size).step_by(CHUNK as usize) {
            let length = CHUNK.min(size - offset) as usize;
            let (found, wanted) = (&mut all_found[..length], &mut all_wanted[..length]);
            disk.read(offset, found).map_err(|e| e.to_string())?;
            self.versions[kept - 1].1.load(offset, wanted);
            if found == wanted {
                continue;
            }
            for (sector, bytes) in (offset..)
                .step_by(SECTOR as usize)
                .zip(found.chunks(SECTOR as usize))
            {
                let mut version = [0; SECTOR as usize];
                let right = self.versions[kept - 1..end.max(kept)]
                    .iter()
                    .any(|(_, content)| {
                        content.load(sector, &mut version[..bytes.len()]);
                        version[..bytes.len()] == *bytes
                    });
                if !right {
                    return Err(format!(
                        "the sector at {sector:#x} is neither as it was flushed nor as it was written since"
                    ));
                }
            }
        }
        Ok(())
    }
}
