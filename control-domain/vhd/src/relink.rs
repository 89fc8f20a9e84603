//! Naming another parent, or the same at another place.
//!
//! A header has two sectors, so it can't be replaced in one step. It is written anew behind the end of
//! the file, with the paths and a footer that names it; then the copy at the start names it; then the
//! old place gets the same header, the footers name the old place again, and the file is cut. A power
//! cut at any point leaves a footer that names a whole header: the old or the new one.

use crate::footer::{FOOTER_SIZE, Footer};
use crate::header::{HEADER_SIZE, Header};
use crate::locate::Located;
use crate::parent::ParentLink;
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U64;

/// Makes a differencing disk name this parent.
///
/// # Errors
/// If it is no differencing disk, or the file can't be written; it then names the old parent or the new.
pub fn relink<S: Storage>(storage: &mut Checked<S>, parent: &ParentLink) -> Result<(), DiskError> {
    let Located { mut footer, .. } = Located::find(storage)?;
    if !footer.is_differencing() {
        return Err(invalid(0, "only a differencing disk names a parent"));
    }
    let mut header = Header::read(storage, &footer)?;
    let old_place = footer.data_offset;
    let paths = storage.length()?.next_multiple_of(SECTOR_SIZE);
    let paths_end = header.enter_parent(storage, parent, paths)?;
    let new_place = paths_end + FOOTER_SIZE;
    let new_end = new_place + HEADER_SIZE;
    storage.write(new_place, header.as_bytes())?;
    // Only what is on the disk may be named.
    storage.flush()?;
    footer.data_offset = U64::new(new_place);
    footer.seal();
    write_footers(storage, &footer, new_end)?;
    storage.write(old_place.get(), header.as_bytes())?;
    storage.flush()?;
    footer.data_offset = old_place;
    footer.seal();
    write_footers(storage, &footer, new_end)?;
    storage.write(paths_end, footer.as_bytes())?;
    storage.flush()?;
    storage.set_length(paths_end + FOOTER_SIZE)?;
    storage.flush()
}

/// Writes the footer at the end of the file, then its copy at the start.
pub(crate) fn write_footers<S: Storage>(
    storage: &mut Checked<S>,
    footer: &Footer,
    end: u64,
) -> Result<(), DiskError> {
    storage.write(end, footer.as_bytes())?;
    storage.flush()?;
    storage.write(0, footer.as_bytes())?;
    storage.flush()
}
