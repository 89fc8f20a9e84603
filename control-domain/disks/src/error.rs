//! What can go wrong with disk files: always with the file's name, and a way out.

use disk::DiskError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a disk file can't be used.
#[derive(Debug)]
pub enum Error {
    /// What the file holds, or the reading and writing of it.
    Disk {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: DiskError,
    },
    /// The operating system refused the file itself.
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done with it: "open", "create" …
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The parent that was found is not, or no longer, the one that the child was made on.
    /// [`crate::OpenOptions::accept_parent`] overrides it.
    ParentMismatch {
        /// The child.
        child: PathBuf,
        /// The parent.
        parent: PathBuf,
        /// What differs.
        reason: String,
    },
    /// No file at any of the places where the parent may be.
    ParentMissing {
        /// The child.
        child: PathBuf,
        /// Where it was looked for, in order.
        tried: Vec<PathBuf>,
    },
    /// What was asked for can't or must not be done to this file.
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do instead.
        reason: String,
    },
}

impl Error {
    pub(crate) fn disk(path: &Path) -> impl Fn(DiskError) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Disk {
            path: path.clone(),
            source,
        }
    }

    pub(crate) fn file(path: &Path, what: &'static str) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File {
            path: path.clone(),
            what,
            source,
        }
    }

    pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    /// Whether there was no room: nothing is lost, and the same call works once there is room.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Disk { source, .. } => source.is_out_of_space(),
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Disk { path, source } => write!(f, "{}: {source}", path.display()),
            Self::File { path, what, source } => {
                write!(f, "{}: can't {what} it: {source}", path.display())
            }
            Self::ParentMismatch {
                child,
                parent,
                reason,
            } => write!(
                f,
                "{}: its parent {} is not as it was when the child was made: {reason}; \
                 bring back the right parent, or accept this one if you know that it holds the same data",
                child.display(),
                parent.display()
            ),
            Self::ParentMissing { child, tried } => {
                write!(f, "{}: its parent was not found; tried", child.display())?;
                for path in tried {
                    write!(f, " {},", path.display())?;
                }
                f.write_str(
                    " and nothing else; put it beside the child, or repair the chain with the parent's new path",
                )
            }
            Self::Refused { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
