//! Where a stretch of a disk lies.

/// A stretch of a disk that begins at the offset asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// For how many bytes it goes on; at least 1, and not behind the end of the disk.
    pub length: u64,
    /// What holds it.
    pub place: Place,
}

/// What holds a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing: it reads as zeros.
    Zero,
    /// A file of the chain, from `offset` on, byte by byte.
    File {
        /// 0 is the disk that was asked, 1 its parent, and so on.
        depth: u32,
        /// Offset in that file in bytes.
        offset: u64,
    },
    /// A file of the chain, but not as it is: compressed, or in pieces.
    Packed {
        /// As in [`Place::File`].
        depth: u32,
    },
}

impl Place {
    /// The same place as a child of the disk sees it.
    pub fn of_parent(self) -> Self {
        match self {
            Self::Zero => Self::Zero,
            Self::File { depth, offset } => Self::File {
                depth: depth + 1,
                offset,
            },
            Self::Packed { depth } => Self::Packed { depth: depth + 1 },
        }
    }
}
