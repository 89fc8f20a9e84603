//! What a differencing disk says of its parent: who it is, and where it may lie.

use crate::footer::{FOOTER_SIZE, Footer};
use crate::header::{HEADER_SIZE, Header};
use crate::locator::{LOCATORS, Platform};
use disk::{Checked, DiskError, Storage, invalid};

/// The most that is read of one locator's data: far more than a path of Windows has.
const MAX_PATH_BYTES: u32 = 64 << 10;

/// A path of the parent, as one of the locators says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentPath {
    /// Which kind of path it is.
    pub platform: Platform,
    /// The path, with the separators that it was written with.
    pub path: String,
}

/// What the header of a differencing disk says of its parent. It can be read before the disk is
/// opened, which needs the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentLink {
    /// Identity of the parent: its footer's.
    pub unique_id: [u8; 16],
    /// The parent's time stamp when the child was made, in seconds since 2000-01-01 UTC. Windows
    /// writes 0 since Windows 10: not recorded.
    pub timestamp: u32,
    /// The parent's name, for people: mostly its whole path.
    pub name: String,
    /// Where it may lie, in the order in which to look: relative paths first.
    pub paths: Vec<ParentPath>,
}

impl ParentLink {
    /// Reads what a differencing disk with this footer says of its parent. Locators that point behind the file are left
    /// out: the others may be whole.
    ///
    /// # Errors
    /// If the header is not whole.
    pub fn read<S: Storage>(storage: &mut Checked<S>, footer: &Footer) -> Result<Self, DiskError> {
        let header = Header::read(storage, footer)?;
        let mut paths = Vec::new();
        for at in 0..header.locators().len() {
            match read_path(storage, footer, &header, at) {
                Ok(path) => paths.extend(path),
                Err(DiskError::Invalid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        paths.sort_by_key(|path| path.platform.order());
        Ok(Self {
            unique_id: header.parent_unique_id,
            timestamp: header.parent_timestamp.get(),
            name: header.parent_name(),
            paths,
        })
    }

    /// Checks that each locator is within the file.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_locators<S: Storage>(
        storage: &mut Checked<S>,
        footer: &Footer,
    ) -> Result<(), DiskError> {
        let header = Header::read(storage, footer)?;
        (0..header.locators().len())
            .try_for_each(|at| read_path(storage, footer, &header, at).map(drop))
    }

    /// What a new child of the disk with this footer says. `relative` and `absolute` are paths of Windows.
    pub fn to(parent: &Footer, name: &str, relative: Option<&str>, absolute: Option<&str>) -> Self {
        let path = |platform, path: Option<&str>| {
            path.map(|path| ParentPath {
                platform,
                path: path.into(),
            })
        };
        Self {
            unique_id: parent.unique_id,
            timestamp: parent.timestamp.get(),
            name: name.into(),
            paths: path(Platform::RelativeUnicode, relative)
                .into_iter()
                .chain(path(Platform::AbsoluteUnicode, absolute))
                .collect(),
        }
    }

    /// Checks that `parent` is the disk that the child was made on: the same identity, and not changed
    /// since. `file_timestamp` is when the parent's file was last written, which Virtual PC recorded;
    /// others record the time stamp of its footer.
    ///
    /// # Errors
    /// What differs, in words for a person.
    pub fn check(&self, parent: &Footer, file_timestamp: Option<u32>) -> Result<(), String> {
        if self.unique_id != parent.unique_id {
            return Err(format!(
                "the child names {}, the parent is {}",
                identifier(&self.unique_id),
                identifier(&parent.unique_id)
            ));
        }
        let stamps = [Some(parent.timestamp.get()), file_timestamp];
        if self.timestamp != 0 && !stamps.contains(&Some(self.timestamp)) {
            return Err(format!(
                "the child names the time stamp {}, the parent's is {} (seconds since 2000-01-01): it was changed since",
                self.timestamp,
                parent.timestamp.get()
            ));
        }
        Ok(())
    }
}

/// The path of a locator; none: it is not used, or of a platform that is not known.
fn read_path<S: Storage>(
    storage: &mut Checked<S>,
    footer: &Footer,
    header: &Header,
    at: usize,
) -> Result<Option<ParentPath>, DiskError> {
    let locator = &header.locators()[at];
    let Some(platform) = Platform::of_code(locator.code) else {
        return Ok(None);
    };
    let offset = locator.data_offset.get();
    let bytes = locator.data_length.get();
    let end = offset.checked_add(bytes.into());
    let length = storage.length()?;
    if bytes > MAX_PATH_BYTES || end.is_none_or(|end| end > length) {
        return Err(invalid(
            footer.data_offset.get() + LOCATORS + at as u64 * 24,
            format!(
                "parent locator {at} of {bytes} bytes at {offset:#x} is not within the file; make the disk name its parent again: entente disk chain repair --parent"
            ),
        ));
    }
    let mut data = vec![0; bytes as usize];
    storage.read(offset, &mut data)?;
    let path = platform.decode(&data);
    Ok(path.map(|path| ParentPath { platform, path }))
}

/// A unique id as people write it. VHD stores it as it is written, without the swaps of a GUID.
pub fn identifier(id: &[u8; 16]) -> String {
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]]
        .map(hex)
        .join("-")
}

impl Header {
    /// Reads the header that a footer points to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read<S: Storage>(storage: &mut Checked<S>, footer: &Footer) -> Result<Self, DiskError> {
        let offset = footer.data_offset.get();
        let length = storage.length()?;
        if offset < FOOTER_SIZE || offset.checked_add(HEADER_SIZE).is_none_or(|e| e > length) {
            return Err(invalid(
                offset,
                "the dynamic header is not within the file; it was cut short, or the footer is not its own",
            ));
        }
        let mut bytes = [0; HEADER_SIZE as usize];
        storage.read(offset, &mut bytes)?;
        Self::parse(&bytes, offset, footer.current_size.get())
    }
}
