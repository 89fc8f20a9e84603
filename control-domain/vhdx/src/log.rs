//! How changed metadata gets to the file: see *Order of writes* on the crate's page.

use crate::identifiers::Identifiers;
use crate::log_entry::{self, MOST_PAGES};
use crate::{Guid, Vhdx};
use disk::{DiskError, Storage};

/// What the next entry needs to know.
pub struct Log {
    guid: Guid,
    identifiers: Identifiers,
    sequence_number: u64,
    /// The half of the log for the next entry: 0 or 1.
    half: u64,
    /// Whether the header names this log, for sure.
    named: bool,
    /// Whether the file was marked as written to, its data as changed.
    marked: (bool, bool),
}

impl Log {
    /// A log whose identifiers, and others that the file gets, are derived from a seed.
    pub fn new(seed: Guid) -> Self {
        let mut identifiers = Identifiers::new(seed);
        Self {
            guid: identifiers.next(),
            identifiers,
            sequence_number: 1,
            half: 0,
            named: false,
            marked: (false, false),
        }
    }
}

impl<S: Storage> Vhdx<S> {
    /// Marks the file before its first change (section 2.2.2): as written to, and, if the guest may see
    /// the change, its data as no longer the same.
    pub(crate) fn mark(&mut self, data_changes: bool) -> Result<(), DiskError> {
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        if !self.log.marked.0 {
            // A cut between the two, while the table was moved, may have left the copy behind.
            self.image.regions.write(&mut self.image.file)?;
        }
        let marked = (true, data_changes || self.log.marked.1);
        if self.log.marked != marked {
            let new_data = marked.1 && !self.log.marked.1;
            let file_write_guid = self.log.identifiers.next();
            let data_write_guid = self.log.identifiers.data_write();
            self.image.headers.update(&mut self.image.file, |header| {
                header.file_write_guid = file_write_guid;
                if new_data {
                    header.data_write_guid = data_write_guid;
                }
            })?;
            self.log.marked = marked;
        }
        self.unflushed = true;
        Ok(())
    }

    /// Makes room for changing so many pages more before the next commit.
    pub(crate) fn make_room(&mut self, pages: usize) -> Result<(), DiskError> {
        if self.image.pages.changed() + pages > MOST_PAGES {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes all that was written safe.
    pub(crate) fn commit(&mut self) -> Result<(), DiskError> {
        let image = &mut self.image;
        image.file.flush()?;
        if image.pages.changed() > 0 {
            let changes = image.pages.changes();
            let log = image.headers.current.log_offset.get();
            // Halves of the smallest log, 1 MiB, hold an entry with all pages that it may have.
            let position = self.log.half * (crate::MIB / 2);
            let number = self.log.sequence_number;
            let entry = log_entry::build(&changes, self.log.guid, number, position, image.length);
            image.file.write(log + position, &entry)?;
            image.file.flush()?;
            // Whatever fails from here on, this entry stays until the next one is whole.
            self.log.half ^= 1;
            self.log.sequence_number += 1;
            if !self.log.named {
                let guid = self.log.guid;
                image
                    .headers
                    .update(&mut image.file, |header| header.log_guid = guid)?;
                self.log.named = true;
            }
            for (offset, page) in changes {
                image.file.write(offset, page)?;
            }
            image.pages.written();
        }
        self.settle_freed();
        self.unflushed = false;
        Ok(())
    }

    /// Lets the header say that the log is empty. Nothing is to be committed.
    pub(crate) fn end_log(&mut self) -> Result<(), DiskError> {
        if !self.log.named {
            return Ok(());
        }
        let image = &mut self.image;
        image.file.flush()?;
        // If this fails, nobody knows which header is in the file: the next entry names the log again.
        self.log.named = false;
        image
            .headers
            .update(&mut image.file, |header| header.log_guid = Guid::ZERO)?;
        self.log.guid = self.log.identifiers.next();
        Ok(())
    }
}
