//! A VMDK as a disk: its extents in a row.

use crate::cache::Cache;
use crate::descriptor::{Descriptor, ExtentKind, MOST_BYTES, looks_like_descriptor};
use crate::header::is_sparse;
use crate::sparse::Sparse;
use disk::{Checked, Disk, DiskError, Extent, Place, SECTOR_SIZE, Storage, check_range, invalid};
use std::io;

/// Opens an extent's file for reading: it gets a bare file name, and the file lies in the
/// descriptor's folder.
pub type Resolver<'a, S> = &'a mut dyn FnMut(&str) -> io::Result<S>;

/// A VMDK, open for reading.
pub struct Vmdk<S> {
    extents: Vec<Span<S>>,
    size: u64,
    cache: Cache,
    content_id: u32,
    create_type: String,
    unclean: bool,
}

/// An extent, and where it lies in the disk.
struct Span<S> {
    /// First byte of the disk.
    start: u64,
    /// Bytes.
    length: u64,
    body: Body<S>,
    /// Its file, if that is not the one that was opened.
    file: Option<String>,
}

enum Body<S> {
    Sparse(Box<Sparse<S>>),
    /// The file, and the byte of it where the extent begins.
    Flat(Checked<S>, u64),
    Zero,
}

impl<S: Storage> Vmdk<S> {
    /// Opens a sparse VMDK or a descriptor; `resolver` finds the files that a descriptor names.
    ///
    /// # Errors
    /// What is wrong with the file; [`DiskError::Unsupported`] for snapshots and kinds that are not read.
    pub fn open(storage: S, resolver: Resolver<'_, S>) -> Result<Self, DiskError> {
        let mut storage = Checked(storage);
        let length = storage.length()?;
        let mut start = [0; 512];
        let head = &mut start[..length.min(512) as usize];
        storage.read(0, head)?;
        if is_sparse(head) {
            return Self::open_sparse(storage.0);
        }
        if !looks_like_descriptor(head) {
            return Err(invalid(
                0,
                "neither a VMDK header (\"KDMV\") nor a descriptor (\"# Disk DescriptorFile\"); \
                 of a disk in several files open the descriptor, the smallest of them",
            ));
        }
        if length > MOST_BYTES {
            return Err(invalid(
                0,
                format!("a descriptor of {length} bytes; {MOST_BYTES} are the most"),
            ));
        }
        let mut bytes = vec![0; length as usize];
        storage.read(0, &mut bytes)?;
        Self::open_extents(&Descriptor::parse(&bytes, 0)?, resolver)
    }

    fn open_sparse(storage: S) -> Result<Self, DiskError> {
        let mut sparse = Sparse::open(storage)?;
        let descriptor_offset = sparse.header().descriptor_offset.get();
        let (content_id, create_type) = match sparse.descriptor(MOST_BYTES)? {
            Some(bytes) => {
                let base = descriptor_offset.saturating_mul(SECTOR_SIZE);
                let descriptor = Descriptor::parse(&bytes, base)?;
                check_own(&descriptor, sparse.size(), base)?;
                (descriptor.content_id, descriptor.create_type)
            }
            // Some writers of streams leave the descriptor out; an extent of a split disk has none either.
            None if sparse.header().is_compressed() => (u32::MAX, "streamOptimized".to_owned()),
            None => {
                return Err(invalid(
                    28,
                    "there is no descriptor inside: this is one piece of a disk in several files; open the descriptor, the smallest of them",
                ));
            }
        };
        Ok(Self {
            size: sparse.size(),
            unclean: sparse.header().unclean_shutdown != 0,
            extents: vec![Span {
                start: 0,
                length: sparse.size(),
                body: Body::Sparse(Box::new(sparse)),
                file: None,
            }],
            cache: Cache::new(),
            content_id,
            create_type,
        })
    }

    fn open_extents(descriptor: &Descriptor, resolver: Resolver<'_, S>) -> Result<Self, DiskError> {
        let (mut extents, mut size, mut unclean) = (Vec::new(), 0u64, false);
        for line in &descriptor.extents {
            let length = line.sectors.checked_mul(SECTOR_SIZE);
            let end = length.and_then(|length| size.checked_add(length));
            let (Some(length), Some(end)) = (length, end.filter(|end| *end <= 64 << 40)) else {
                return Err(invalid(0, "the extents are more than 64 TiB"));
            };
            let body = match &line.kind {
                ExtentKind::Zero => Body::Zero,
                ExtentKind::Flat { file, sector } => {
                    flat(find(resolver, file)?, file, *sector, length)?
                }
                ExtentKind::Sparse { file } => {
                    let sparse =
                        Sparse::open(find(resolver, file)?).map_err(|e| within(Some(file), e))?;
                    if sparse.size() != length {
                        let (found, name) = (sparse.size(), file);
                        return Err(invalid(
                            12,
                            format!(
                                "the extent {name} is {found} bytes by its own header, {length} by the descriptor; one of the two is another disk's"
                            ),
                        ));
                    }
                    unclean |= sparse.header().unclean_shutdown != 0;
                    Body::Sparse(Box::new(sparse))
                }
            };
            extents.push(Span {
                start: size,
                length,
                body,
                file: line.kind.file().map(str::to_owned),
            });
            size = end;
        }
        Ok(Self {
            extents,
            size,
            cache: Cache::new(),
            content_id: descriptor.content_id,
            create_type: descriptor.create_type.clone(),
            unclean,
        })
    }

    /// Content identifier, which the descriptor calls CID.
    pub fn content_id(&self) -> u32 {
        self.content_id
    }

    /// The kind by VMware's name: "monolithicSparse", "streamOptimized" …
    pub fn create_type(&self) -> &str {
        &self.create_type
    }

    /// Whether some program did not close the disk: its last writes may be missing.
    pub fn is_unclean(&self) -> bool {
        self.unclean
    }

    /// Number of extents.
    pub fn extent_count(&self) -> usize {
        self.extents.len()
    }

    /// Index of the extent that holds a byte of the disk.
    fn at(&self, offset: u64) -> usize {
        self.extents
            .partition_point(|span| span.start + span.length <= offset)
    }
}

/// The descriptor inside a sparse file must describe that file.
fn check_own(descriptor: &Descriptor, size: u64, base: u64) -> Result<(), DiskError> {
    match &descriptor.extents[..] {
        [line]
            if matches!(line.kind, ExtentKind::Sparse { .. })
                && line.sectors.checked_mul(SECTOR_SIZE) == Some(size) =>
        {
            Ok(())
        }
        _ => Err(invalid(
            base,
            format!(
                "the descriptor inside does not describe one sparse extent of {size} bytes, as the header does"
            ),
        )),
    }
}

fn flat<S: Storage>(
    storage: S,
    file: &str,
    sector: u64,
    length: u64,
) -> Result<Body<S>, DiskError> {
    let mut storage = Checked(storage);
    let has = storage.length().map_err(|e| within(Some(file), e))?;
    let start = sector.checked_mul(SECTOR_SIZE);
    match start.and_then(|start| start.checked_add(length)) {
        Some(end) if end <= has => Ok(Body::Flat(storage, sector * SECTOR_SIZE)),
        _ => Err(invalid(
            has,
            format!(
                "the extent {file} should be {length} bytes from sector {sector} on, and ends here: it was cut short; get it again"
            ),
        )),
    }
}

fn find<S>(resolver: Resolver<'_, S>, file: &str) -> Result<S, DiskError> {
    resolver(file).map_err(|error| DiskError::Unsupported {
        reason: format!(
            "the extent {file} can't be opened ({error}); it belongs beside the descriptor"
        ),
    })
}

/// An error of an extent, with the name of its file if that is not the one that was opened.
fn within(file: Option<&str>, error: DiskError) -> DiskError {
    match (error, file) {
        (DiskError::Invalid { offset, reason }, Some(file)) => DiskError::Invalid {
            offset,
            reason: format!("in the extent {file}: {reason}"),
        },
        (other, _) => other,
    }
}

impl<S: Storage> Disk for Vmdk<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, mut offset: u64, mut data: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, data.len())?;
        while !data.is_empty() {
            let index = self.at(offset);
            let span = &mut self.extents[index];
            let inside = offset - span.start;
            let length = (span.length - inside).min(data.len() as u64);
            let (piece, rest) = data.split_at_mut(length as usize);
            match &mut span.body {
                Body::Zero => piece.fill(0),
                Body::Flat(storage, start) => storage.read(*start + inside, piece)?,
                Body::Sparse(sparse) => sparse
                    .read(&mut self.cache, index, inside, piece)
                    .map_err(|e| within(span.file.as_deref(), e))?,
            }
            (offset, data) = (offset + length, rest);
        }
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::ReadOnly)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size, offset, 1)?;
        let index = self.at(offset);
        let span = &mut self.extents[index];
        let inside = offset - span.start;
        let found = match &mut span.body {
            Body::Zero => Extent {
                length: span.length - inside,
                place: Place::Zero,
            },
            Body::Flat(..) => Extent {
                length: span.length - inside,
                place: Place::Packed { depth: 0 },
            },
            Body::Sparse(sparse) => sparse
                .extent(&mut self.cache, index, inside)
                .map_err(|e| within(span.file.as_deref(), e))?,
        };
        Ok(match found.place {
            // Bytes of another file than the disk's own: "in pieces".
            Place::File { depth, .. } if span.file.is_some() => Extent {
                place: Place::Packed { depth },
                ..found
            },
            _ => found,
        })
    }
}
