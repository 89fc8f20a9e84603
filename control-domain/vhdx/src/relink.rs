//! Gives a differencing disk another way to its parent.

use crate::image::Image;
use crate::log::Log;
use crate::space::Space;
use crate::{Guid, ParentLink, Vhdx};
use disk::{Disk, DiskError, Storage};

/// Replaces the parent locator, through the log. The content stays what it is if the new parent holds what
/// the old one held. The parent need not be at hand.
///
/// # Errors
/// If the disk has no parent, the link does not fit, or the file can't be read or written.
pub fn relink<S: Storage>(storage: S, link: &ParentLink) -> Result<(), DiskError> {
    let image = Image::open(storage, true)?;
    if image.metadata.parent.is_none() {
        return Err(DiskError::Unsupported {
            reason: "the disk has no parent, so it can't be given another one".into(),
        });
    }
    let mut disk = Vhdx {
        image,
        parent: None,
        writable: true,
        log: Log::new(Guid::random()),
        space: Space::default(),
        unflushed: false,
        direct: false,
    };
    disk.mark(false)?;
    let image = &mut disk.image;
    for (offset, bytes) in
        image
            .metadata
            .relocate_parent(&mut image.file, &image.regions.metadata, link)?
    {
        image.pages.set_bytes(&mut image.file, offset, &bytes)?;
    }
    disk.close()
}
