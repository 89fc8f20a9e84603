//! Markers: what stands in front of each piece of a stream-optimized extent ("Stream-Optimized
//! Compressed Sparse Extents"). Little-endian.

use crate::header::{DIRECTORY_AT_END, HEADER_SIZE, Header};
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};
use flate2::{Decompress, FlushDecompress, Status};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// In front of a compressed grain: twelve bytes, then the data.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GrainMarker {
    /// First sector of the grain in the extent.
    sector: U64,
    /// Bytes of compressed data.
    size: U32,
}

const GRAIN_MARKER_SIZE: u64 = 12;

/// Reads the compressed grain at `offset`, which the table says begins at `sector` of the extent,
/// into `grain`.
///
/// # Errors
/// If the marker is another grain's, the data is damaged, or it is not as long as `grain`.
pub fn read_grain<S: Storage>(
    storage: &mut Checked<S>,
    offset: u64,
    sector: u64,
    grain: &mut [u8],
) -> Result<(), DiskError> {
    let mut bytes = [0; GRAIN_MARKER_SIZE as usize];
    storage.read(offset, &mut bytes)?;
    let marker =
        GrainMarker::read_from_bytes(&bytes).map_err(|_| invalid(offset, "marker cut short"))?;
    if marker.sector.get() != sector {
        return Err(damaged(
            offset,
            format!(
                "the grain's marker says sector {}, the grain table {sector}",
                marker.sector.get()
            ),
        ));
    }
    let size = u64::from(marker.size.get());
    // What can't be compressed grows by a few bytes in a thousand.
    if size == 0 || size > grain.len() as u64 * 2 + SECTOR_SIZE {
        return Err(damaged(
            offset + 8,
            format!(
                "{size} bytes can't be a compressed grain of {}",
                grain.len()
            ),
        ));
    }
    let mut packed = vec![0; size as usize];
    storage.read(offset + GRAIN_MARKER_SIZE, &mut packed)?;
    let mut inflate = Decompress::new(true);
    let ended = inflate.decompress(&packed, grain, FlushDecompress::Finish);
    match ended {
        Ok(Status::StreamEnd) if inflate.total_out() == grain.len() as u64 => Ok(()),
        Ok(_) => Err(damaged(
            offset,
            format!(
                "the compressed grain is not {} bytes long, as it should be",
                grain.len()
            ),
        )),
        Err(error) => Err(damaged(
            offset,
            format!("the compressed grain is damaged ({error})"),
        )),
    }
}

fn damaged(offset: u64, what: String) -> DiskError {
    invalid(
        offset,
        format!("{what}; get the file again from where it came"),
    )
}

/// The header that counts: the footer's, if the header leaves the directory to it. A footer lies
/// in front of the last sector, which is the end-of-stream marker.
///
/// # Errors
/// If the footer is not there or not whole.
pub fn effective_header<S: Storage>(
    storage: &mut Checked<S>,
    header: Header,
) -> Result<Header, DiskError> {
    if header.directory_offset.get() != DIRECTORY_AT_END {
        return Ok(header);
    }
    let length = storage.length()?;
    let Some(offset) = length.checked_sub(HEADER_SIZE + SECTOR_SIZE) else {
        return Err(damaged(
            length,
            "the file is too short to have a footer".into(),
        ));
    };
    let mut bytes = [0; HEADER_SIZE as usize];
    storage.read(offset, &mut bytes)?;
    let footer = Header::parse(&bytes, offset).map_err(|error| {
        damaged(
            offset,
            format!("the footer is not whole ({error}): the file was cut short"),
        )
    })?;
    let same = |field: fn(&Header) -> u64| field(&header) == field(&footer);
    if !same(|h| h.capacity.get())
        || !same(|h| h.grain_size.get())
        || !same(|h| h.table_entries.get().into())
        || !same(|h| h.flags.get().into())
    {
        return Err(damaged(offset, "the footer contradicts the header".into()));
    }
    if footer.directory_offset.get() == DIRECTORY_AT_END {
        return Err(damaged(
            offset + 56,
            "the footer names no grain directory".into(),
        ));
    }
    Ok(footer)
}
