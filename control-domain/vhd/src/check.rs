//! Looking for what is wrong with a file, and mending what can be mended without guessing.

use crate::bat::Bat;
use crate::footer::{DiskType, FOOTER_SIZE, Footer};
use crate::header::Header;
use crate::locate::{Located, read_footer};
use crate::parent::ParentLink;
use crate::relink::write_footers;
use crate::sparse::{bitmap_size, reserved};
use disk::{Checked, DiskError, SECTOR_SIZE, Storage};

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What, in a sentence for a person.
    pub what: String,
    /// Whether [`repair`] mends it: the right bytes are known.
    pub repairable: bool,
}

/// Checks all structures of a file. Nothing is written.
///
/// # Errors
/// If no footer is whole, or the file can't be read: nothing can then be said about the rest.
pub fn check<S: Storage>(storage: &mut Checked<S>) -> Result<Vec<Finding>, DiskError> {
    let located = Located::find(storage)?;
    let footer = &located.footer;
    let mut findings = Vec::new();
    if let Some(what) = &located.warning {
        findings.push(Finding {
            offset: storage.length()?.saturating_sub(FOOTER_SIZE),
            what: what.clone(),
            repairable: true,
        });
    }
    let kind = footer.kind(located.offset.unwrap_or(0))?;
    if kind == DiskType::Fixed {
        let end = located.offset.unwrap_or(0);
        if footer.current_size.get() > end {
            findings.push(fatal(end, "the data before the footer is cut short"));
        }
        return Ok(findings);
    }
    if !read_footer(storage, 0).is_ok_and(|copy| copy == *footer) {
        findings.push(Finding {
            offset: 0,
            what: "the footer's copy at the start is not the footer".into(),
            repairable: true,
        });
    }
    if let Err(error) = check_blocks(storage, &located) {
        findings.push(of_error(error)?);
    }
    if kind == DiskType::Differencing
        && let Err(error) = ParentLink::check_locators(storage, footer)
    {
        findings.push(of_error(error)?);
    }
    Ok(findings)
}

/// The table's entries are within the file and apart from each other and everything else.
fn check_blocks<S: Storage>(storage: &mut Checked<S>, located: &Located) -> Result<(), DiskError> {
    let header = Header::read(storage, &located.footer)?;
    let block_size = u64::from(header.block_size.get());
    let end = match located.offset {
        Some(offset) => offset,
        None => storage.length()?,
    };
    let reserved = reserved(&located.footer, &header);
    let block_bytes = bitmap_size(block_size) + block_size;
    Bat::read(storage, &header, block_bytes, &reserved, end).map(drop)
}

fn fatal(offset: u64, what: &str) -> Finding {
    Finding {
        offset,
        what: what.into(),
        repairable: false,
    }
}

/// What a reader complains about is a finding; that the file can't be read is an error.
fn of_error(error: DiskError) -> Result<Finding, DiskError> {
    match error {
        DiskError::Invalid { offset, reason } => Ok(fatal(offset, &reason)),
        other => Err(other),
    }
}

/// Mends what [`check`] called repairable: the footer and its copy become the same, whole ones. The
/// rest of the file stays as it is.
///
/// # Errors
/// If there are findings that can't be repaired (nothing is then written), or the file can't be written.
pub fn repair<S: Storage>(storage: &mut Checked<S>) -> Result<(), DiskError> {
    let findings = check(storage)?;
    if let Some(finding) = findings.iter().find(|finding| !finding.repairable) {
        return Err(disk::invalid(
            finding.offset,
            format!(
                "{}; this can't be repaired, so nothing was written",
                finding.what
            ),
        ));
    }
    if findings.is_empty() {
        return Ok(());
    }
    let Located { footer, offset, .. } = Located::find(storage)?;
    match offset {
        Some(_) => {
            let copy: &Footer = &footer;
            storage.write(0, zerocopy::IntoBytes::as_bytes(copy))?;
            storage.flush()
        }
        None => {
            let end = storage.length()?.next_multiple_of(SECTOR_SIZE);
            write_footers(storage, &footer, end)
        }
    }
}
