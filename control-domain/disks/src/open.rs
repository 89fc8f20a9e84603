//! Which format a file has.

use disk::{Checked, Disk, DiskError, FileStorage, Raw, Storage, invalid};
use std::path::Path;
use vhd::{DiskType, Dynamic, FOOTER_SIZE, Fixed, Footer};

/// How to take a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// By its content; a file without a known structure is refused.
    Detect,
    /// As the disk's bytes, whatever they look like.
    Raw,
}

/// An open disk, and what is worth telling the person about it.
pub struct Opened {
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// "dynamic VHD" and the like.
    pub description: &'static str,
    /// Something that is wrong with the file but does no harm.
    pub warning: Option<String>,
}

/// Opens a disk file.
///
/// # Errors
/// Why it can't be used, with the file's name.
pub fn open(path: &Path, format: Format, writable: bool) -> Result<Opened, String> {
    let storage =
        FileStorage::open(path, writable).map_err(|e| format!("{}: {e}", path.display()))?;
    open_storage(storage, format, writable).map_err(|e| format!("{}: {e}", path.display()))
}

/// Opens a disk in any storage.
///
/// # Errors
/// Why it can't be used.
pub fn open_storage<S: Storage + 'static>(
    storage: S,
    format: Format,
    writable: bool,
) -> Result<Opened, DiskError> {
    if format == Format::Raw {
        let disk = Box::new(Raw::open(storage, writable)?);
        return Ok(Opened {
            disk,
            description: "raw",
            warning: None,
        });
    }
    let mut storage = Checked(storage);
    let length = storage.length()?;
    if length < FOOTER_SIZE {
        return Err(invalid(
            length,
            "too short for a VHD; if it is a raw disk, say so with \"format: raw\"",
        ));
    }
    let (footer, footer_offset, warning) = find_footer(&mut storage, length)?;
    let storage = storage.0;
    Ok(match footer.kind(footer_offset.unwrap_or(0))? {
        DiskType::Fixed => {
            let offset = footer_offset
                .ok_or_else(|| invalid(0, "a fixed VHD needs its footer at the end"))?;
            let disk = Box::new(Fixed::open(storage, &footer, offset, writable)?);
            Opened {
                disk,
                description: "fixed VHD",
                warning,
            }
        }
        DiskType::Dynamic => {
            let disk = Box::new(Dynamic::open(storage, footer, footer_offset, writable)?);
            Opened {
                disk,
                description: "dynamic VHD",
                warning,
            }
        }
        DiskType::Differencing => {
            return Err(DiskError::Unsupported {
                reason: "a differencing VHD needs its parent, and chains are not supported yet; \
                         merge it where it was made"
                    .into(),
            });
        }
    })
}

/// The footer and where it lies at the end, if it does; else the copy at the start.
#[allow(clippy::type_complexity)]
fn find_footer<S: Storage>(
    storage: &mut Checked<S>,
    length: u64,
) -> Result<(Footer, Option<u64>, Option<String>), DiskError> {
    let mut bytes = [0; FOOTER_SIZE as usize];
    let offset = length - FOOTER_SIZE;
    storage.read(offset, &mut bytes)?;
    let at_end = match Footer::parse(&bytes, offset) {
        Ok(footer) => return Ok((footer, Some(offset), None)),
        Err(error) => error,
    };
    storage.read(0, &mut bytes)?;
    match Footer::parse(&bytes, 0) {
        Ok(footer) => {
            let warning = format!(
                "the footer at the end is not whole ({at_end}); its copy at the start is used"
            );
            Ok((footer, None, Some(warning)))
        }
        // A footer with something wrong in it says more than that there is none.
        Err(_) if bytes.starts_with(b"vhdxfile") => Err(DiskError::Unsupported {
            reason: "VHDX is not supported yet; use a VHD".into(),
        }),
        Err(at_start) if bytes.starts_with(b"conectix") => Err(at_start),
        Err(_) => Err(DiskError::Invalid {
            offset,
            reason: format!("{at_end}; if it is a raw disk, say so with \"format: raw\""),
        }),
    }
}
