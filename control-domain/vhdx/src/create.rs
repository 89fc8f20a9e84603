//! New disks of all kinds.

use crate::bat::{Entry, Geometry, State};
use crate::header::{Header, Headers};
use crate::metadata::Metadata;
use crate::region::{self, Regions};
use crate::{Guid, Info, MIB, ParentLink, file_type};
use disk::{Checked, DiskError, Storage, invalid};

const LOG: u64 = MIB;
const LOG_LENGTH: u64 = MIB;
const METADATA: u64 = LOG + LOG_LENGTH;
const METADATA_LENGTH: u64 = MIB;
const BAT: u64 = METADATA + METADATA_LENGTH;

/// What a new disk is to be. The same values give the same bytes.
#[derive(Clone, Debug)]
pub struct New {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Bytes of a block, a power of two from 1 MiB to 256 MiB.
    pub block_size: u64,
    /// Bytes of the sector that the guest addresses: 512 or 4096.
    pub logical_sector: u32,
    /// Bytes of the sector that the guest had best write whole: 512 or 4096.
    pub physical_sector: u32,
    /// Whether all blocks are there from the start.
    pub fixed: bool,
    /// For a differencing disk.
    pub parent: Option<ParentLink>,
    /// Who makes it.
    pub creator: String,
    /// What the guest will see as the disk's identity.
    pub disk_id: Guid,
    /// The first value of what changes with every writing.
    pub file_write_guid: Guid,
    /// The first value of what changes with the content.
    pub data_write_guid: Guid,
}

impl New {
    /// A dynamic disk with the block and sector sizes that Windows gives one.
    pub fn dynamic(size: u64) -> Self {
        Self {
            size,
            block_size: 32 * MIB,
            logical_sector: 512,
            physical_sector: 4096,
            fixed: false,
            parent: None,
            creator: concat!("Entente ", env!("CARGO_PKG_VERSION")).into(),
            disk_id: Guid::random(),
            file_write_guid: Guid::random(),
            data_write_guid: Guid::random(),
        }
    }

    /// A fixed disk.
    pub fn fixed(size: u64) -> Self {
        Self {
            fixed: true,
            block_size: 2 * MIB,
            ..Self::dynamic(size)
        }
    }

    /// A child of a disk: of its size, sectors and identity. The link should be to
    /// [`Info::data_write_guid`] of the parent.
    pub fn differencing(parent: &Info, link: ParentLink) -> Self {
        Self {
            block_size: 2 * MIB,
            logical_sector: parent.logical_sector,
            physical_sector: parent.physical_sector,
            parent: Some(link),
            disk_id: parent.disk_id,
            ..Self::dynamic(parent.size)
        }
    }
}

/// Writes a new disk into an empty storage. It is no VHDX before all of it is there.
///
/// # Errors
/// If the values are none that the format has, the storage is not empty, or can't be written.
pub fn create<S: Storage>(storage: S, new: &New) -> Result<S, DiskError> {
    let metadata = Metadata {
        block_size: new.block_size,
        leave_allocated: new.fixed,
        size: new.size,
        disk_id: new.disk_id,
        logical_sector: new.logical_sector,
        physical_sector: new.physical_sector,
        parent: new.parent.clone(),
        size_offset: METADATA,
    };
    metadata.check(METADATA)?;
    if new.fixed && new.parent.is_some() {
        return Err(invalid(0, "a disk is fixed or differencing, not both"));
    }
    let items = metadata.bytes();
    if items.len() as u64 > METADATA_LENGTH {
        return Err(invalid(METADATA, "the parent's paths are too long"));
    }
    let mut storage = Checked(storage);
    let length = storage.length()?;
    if length != 0 {
        let reason = format!("the file has {length} bytes already; a new disk wants an empty one");
        return Err(invalid(0, reason));
    }
    let geometry = Geometry::new(&metadata, &(BAT..u64::MAX))?;
    let entries = geometry.entries(new.size);
    let bat_end = BAT + (entries * 8).next_multiple_of(MIB);
    let regions = Regions::new(BAT..bat_end, METADATA..METADATA + METADATA_LENGTH);
    let payload = if new.fixed {
        geometry.blocks() * new.block_size
    } else {
        0
    };
    storage.set_length(bat_end + payload)?;
    storage.write(METADATA, &items)?;
    for offset in region::OFFSETS {
        storage.write(offset, &regions.bytes())?;
    }
    if new.fixed {
        write_fixed_table(&mut storage, &geometry, entries, bat_end)?;
    }
    let header = Header::new(
        new.file_write_guid,
        new.data_write_guid,
        LOG,
        LOG_LENGTH as u32,
    );
    let mut headers = Headers::new(header);
    headers.update(&mut storage, |_| ())?;
    headers.update(&mut storage, |_| ())?;
    storage.write(0, &file_type::bytes(&new.creator))?;
    storage.flush()?;
    Ok(storage.0)
}

/// The table of a fixed disk: one block behind the other.
fn write_fixed_table<S: Storage>(
    storage: &mut Checked<S>,
    geometry: &Geometry,
    entries: u64,
    first: u64,
) -> Result<(), DiskError> {
    let mut offset = first;
    let mut bytes = Vec::new();
    for index in 0..entries {
        let value = if geometry.is_bitmap(index) {
            0
        } else {
            let state = State::FullyPresent;
            let entry = Entry { state, offset };
            offset += geometry.block_size;
            entry.encode()
        };
        bytes.extend(value.to_le_bytes());
        if bytes.len() as u64 == MIB || index == entries - 1 {
            let end = geometry.entry_offset(index + 1);
            storage.write(end - bytes.len() as u64, &bytes)?;
            bytes.clear();
        }
    }
    Ok(())
}
