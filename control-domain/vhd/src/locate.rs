//! Where a file's footer is, and whether it is whole.

use crate::fixed;
use crate::footer::{DiskType, FOOTER_SIZE, Footer};
use crate::sparse::Sparse;
use disk::{Checked, Disk, DiskError, Storage, invalid};

/// Size of the footer that early versions of Virtual PC wrote: its last byte, a reserved one, is missing.
const SHORT_FOOTER_SIZE: u64 = 511;

/// A footer, and where it was found.
#[derive(Clone, Debug)]
pub struct Located {
    /// The footer.
    pub footer: Footer,
    /// Where it lies at the end of the file; nothing if only the copy at the start is whole.
    pub offset: Option<u64>,
    /// What is wrong with the file but does no harm.
    pub warning: Option<String>,
}

impl Located {
    /// Finds the footer at the end of the file, of 512 or 511 bytes, or else its copy at the start.
    ///
    /// # Errors
    /// What is wrong with what is there instead.
    pub fn find<S: Storage>(storage: &mut Checked<S>) -> Result<Self, DiskError> {
        let length = storage.length()?;
        if length < SHORT_FOOTER_SIZE {
            return Err(invalid(length, "the file is too short for a VHD"));
        }
        let offset = length - footer_size_at_end(length);
        let at_end = match read_footer(storage, offset) {
            Ok(footer) => {
                return Ok(Self {
                    footer,
                    offset: Some(offset),
                    warning: None,
                });
            }
            Err(error) => error,
        };
        let at_start = match read_footer(storage, 0) {
            Ok(footer) => {
                let warning = format!(
                    "the footer at the end is not whole ({at_end}); its copy at the start is used, and a repair writes it anew"
                );
                return Ok(Self {
                    footer,
                    offset: None,
                    warning: Some(warning),
                });
            }
            Err(error) => error,
        };
        // A footer with something wrong in it says more than that there is none.
        let mut cookie = [0; 8];
        storage.read(0, &mut cookie)?;
        Err(if cookie == crate::footer::COOKIE {
            at_start
        } else {
            at_end
        })
    }
}

impl Located {
    /// Opens the disk. A differencing one needs its `parent`, whose identity the caller has checked
    /// (see [`crate::ParentLink`]).
    ///
    /// # Errors
    /// What is wrong with it, or that the parent is missing.
    pub fn open<S: Storage + 'static>(
        self,
        storage: S,
        parent: Option<Box<dyn Disk>>,
        writable: bool,
    ) -> Result<Box<dyn Disk>, DiskError> {
        let Self { footer, offset, .. } = self;
        let kind = footer.kind(offset.unwrap_or(0))?;
        match (kind, offset) {
            (DiskType::Fixed, Some(offset)) => {
                Ok(Box::new(fixed::open(storage, &footer, offset, writable)?))
            }
            (DiskType::Fixed, None) => Err(invalid(
                0,
                "a fixed VHD needs its footer at the end; the file was cut short, or something was added to it",
            )),
            (DiskType::Differencing, _) if parent.is_none() => Err(DiskError::Unsupported {
                reason: "a differencing VHD can't be opened without its parent".into(),
            }),
            _ => Ok(Box::new(Sparse::open(
                storage, footer, offset, parent, writable,
            )?)),
        }
    }
}

impl Located {
    /// Gives the disk a new size in bytes; what lies behind it is lost. A fixed disk's footer moves,
    /// in an order that `fixed` describes; otherwise see [`Sparse::resize`].
    ///
    /// # Errors
    /// If it is differencing, the format can't hold the size, or the file can't be written.
    pub fn resize<S: Storage>(self, storage: S, size: u64) -> Result<(), DiskError> {
        let Self {
            mut footer, offset, ..
        } = self;
        match (footer.kind(offset.unwrap_or(0))?, offset) {
            (DiskType::Fixed, offset) => {
                fixed::resize(storage, &mut footer, offset.unwrap_or(0), size)
            }
            (DiskType::Differencing, _) => Err(DiskError::Unsupported {
                reason: "a differencing VHD has the size of its parent; merge it first".into(),
            }),
            (DiskType::Dynamic, _) => {
                let mut disk = Sparse::open(storage, footer, offset, None, true)?;
                disk.resize(size)?;
                disk.close()
            }
        }
    }

    /// Gives back room that the disk does not need. See [`Sparse::compact`]; a fixed disk has none.
    ///
    /// # Errors
    /// If the file can't be read or written; the disk holds what it held.
    pub fn compact<S: Storage>(
        self,
        storage: S,
        parent: Option<Box<dyn Disk>>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), DiskError> {
        match self.footer.kind(self.offset.unwrap_or(0))? {
            DiskType::Fixed => Err(DiskError::Unsupported {
                reason:
                    "a fixed disk always has its full size; convert it to a dynamic one instead"
                        .into(),
            }),
            _ => Sparse::open(storage, self.footer, self.offset, parent, true)?.compact(progress),
        }
    }
}

/// Opens a VHD: finds its footer, then the disk.
///
/// # Errors
/// As [`Located::find`] and [`Located::open`].
pub fn open<S: Storage + 'static>(
    storage: S,
    parent: Option<Box<dyn Disk>>,
    writable: bool,
) -> Result<Box<dyn Disk>, DiskError> {
    let mut storage = Checked(storage);
    let located = Located::find(&mut storage)?;
    located.open(storage.0, parent, writable)
}

fn footer_size_at_end(length: u64) -> u64 {
    match length % FOOTER_SIZE {
        SHORT_FOOTER_SIZE => SHORT_FOOTER_SIZE,
        _ => FOOTER_SIZE.min(length),
    }
}

/// Reads the footer at `offset`; what is behind the end of the file counts as zero.
pub(crate) fn read_footer<S: Storage>(
    storage: &mut Checked<S>,
    offset: u64,
) -> Result<Footer, DiskError> {
    let mut bytes = [0; FOOTER_SIZE as usize];
    let length = (storage.length()? - offset).min(FOOTER_SIZE);
    storage.read(offset, &mut bytes[..length as usize])?;
    Footer::parse(&bytes, offset)
}
