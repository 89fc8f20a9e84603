//! Options that several disk commands have in common.

use crate::command::Opt;
use crate::failure::Failure;
use crate::given::Given;
use disks::{Format, Identity, Leftover, NewDisk, NewKind, OpenOptions};
use std::path::{Path, PathBuf};

/// The formats by the names that people type.
const FORMATS: [(&str, Format); 4] = [
    ("raw", Format::Raw),
    ("vhd", Format::Vhd),
    ("vhdx", Format::Vhdx),
    ("vmdk", Format::Vmdk),
];

/// How to take the file.
pub const AS: Opt = Opt::with(
    "as",
    "FORMAT",
    "take the file as raw, vhd, vhdx or vmdk, whatever it looks like",
);
/// Take a parent that was changed since.
pub const ACCEPT_PARENT: Opt = Opt::flag(
    "accept-parent",
    "take the parents although they are not as they were when the children were made",
);
/// What is made.
pub const FORMAT: Opt = Opt::with(
    "format",
    "FORMAT",
    "raw, vhd or vhdx; without it the new file's name decides",
);
/// Which kind of it.
pub const KIND: Opt = Opt::with("kind", "KIND", "dynamic (unless said otherwise) or fixed");
/// Granularity of allocation.
pub const BLOCK_SIZE: Opt = Opt::with("block-size", "SIZE", "of a dynamic or differencing disk");
/// What the guest addresses.
pub const SECTOR_SIZE: Opt = Opt::with("sector-size", "SIZE", "512 or 4096, for VHDX");

/// Who the new disk is.
pub const IDENTIFIER: Opt = Opt::with(
    "identifier",
    "GUID",
    "who the disk is, all its other identifiers follow from it; without this option, chance says",
);
/// When it was made.
pub const TIME: Opt = Opt::with(
    "time",
    "TIME",
    "when a VHD was made, as 2026-11-23T04:05:06Z; without this option, now",
);

/// What becomes of a file whose data is not needed any more.
pub const DELETE: Opt = Opt::flag("delete", "delete the file instead of leaving an empty one");

/// The meaning of [`DELETE`].
pub fn leftover(given: &Given) -> Leftover {
    match given.has(DELETE.name) {
        true => Leftover::Delete,
        false => Leftover::Empty,
    }
}

/// For commands that only look at their first operand, and its chain.
pub fn for_reading(given: &Given) -> Result<OpenOptions, Failure> {
    Ok(OpenOptions {
        format: format(given)?,
        accept_parent: given.has(ACCEPT_PARENT.name),
        ..OpenOptions::read_only()
    })
}

/// The value of [`AS`].
pub fn format(given: &Given) -> Result<Option<Format>, Failure> {
    given.choice(AS.name, &FORMATS)
}

/// The disk that [`FORMAT`], [`KIND`], [`BLOCK_SIZE`] and [`SECTOR_SIZE`] describe, to be made at `path`.
pub fn new_disk(
    given: &Given,
    path: &Path,
    parent: Option<PathBuf>,
    size_bytes: u64,
) -> Result<NewDisk, Failure> {
    let format = match given.choice(FORMAT.name, &FORMATS)? {
        Some(format) => format,
        None => by_name(given, path)?,
    };
    let identity = identity(given, format)?;
    let fixed = given.choice(KIND.name, &[("dynamic", false), ("fixed", true)])?;
    if parent.is_some() && fixed.is_some() {
        return Err(
            given.refuse("a disk with --parent is differencing: --kind does not go with it")
        );
    }
    let kind = match (format, parent, fixed.unwrap_or(false)) {
        (Format::Raw, None, _) => NewKind::Raw,
        (Format::Vhd, None, true) => NewKind::VhdFixed,
        (Format::Vhd, None, false) => NewKind::VhdDynamic,
        (Format::Vhd, Some(parent), _) => NewKind::VhdDifferencing { parent },
        (Format::Raw, Some(_), _) => return Err(given.refuse("a raw disk can't have a --parent")),
        (Format::Vhdx, None, true) => NewKind::VhdxFixed,
        (Format::Vhdx, None, false) => NewKind::VhdxDynamic,
        (Format::Vhdx, Some(parent), _) => NewKind::VhdxDifferencing { parent },
        (Format::Vmdk, ..) => {
            return Err(given.refuse("VMDK is only read; make a raw disk, a VHD or a VHDX"));
        }
    };
    let block_size_bytes = given.option_size(BLOCK_SIZE.name)?;
    if block_size_bytes.is_some() && matches!(kind, NewKind::Raw | NewKind::VhdFixed) {
        return Err(given.refuse("--block-size is for disks that grow, and for VHDX"));
    }
    let logical_sector_bytes = given.option_size(SECTOR_SIZE.name)?;
    let is_vhdx = matches!(kind, NewKind::VhdxFixed | NewKind::VhdxDynamic);
    match logical_sector_bytes {
        None | Some(512) => {}
        Some(4096) if is_vhdx => {}
        Some(4096) => {
            return Err(given.refuse(
                "--sector-size 4096 is for VHDX without a parent: a child has its parent's",
            ));
        }
        Some(_) => return Err(given.refuse("--sector-size is 512 or 4096")),
    }
    Ok(NewDisk {
        block_size_bytes,
        logical_sector_bytes,
        identity,
        ..NewDisk::new(kind, size_bytes)
    })
}

/// The value of [`IDENTIFIER`] and [`TIME`]; what of the two is not given is as without them.
fn identity(given: &Given, format: Format) -> Result<Option<Identity>, Failure> {
    let (identifier, time) = (
        given.option_text(IDENTIFIER.name),
        given.option_text(TIME.name),
    );
    if identifier.is_none() && time.is_none() {
        return Ok(None);
    }
    if format == Format::Raw {
        return Err(given.refuse("a raw disk says neither who it is nor when it was made: --identifier and --time are for VHD and VHDX"));
    }
    let mut identity = Identity::random()?;
    if let Some(text) = identifier {
        identity.unique_id = Identity::parse_id(&text, format).ok_or_else(|| {
            given.refuse(&format!(
                "--identifier is as 00112233-4455-6677-8899-aabbccddeeff, not {text}"
            ))
        })?;
    }
    if let Some(text) = time {
        identity.timestamp = Identity::parse_timestamp(&text).ok_or_else(|| {
            given.refuse(&format!(
                "--time is as 2026-11-23T04:05:06Z, from 2000 to 2136, not {text}"
            ))
        })?;
    }
    Ok(Some(identity))
}

/// The format that a file's name asks for.
fn by_name(given: &Given, path: &Path) -> Result<Format, Failure> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("vhd" | "avhd" | "vud") => Ok(Format::Vhd),
        Some("vhdx" | "avhdx") => Ok(Format::Vhdx),
        Some("vmdk") => Ok(Format::Vmdk),
        Some("raw" | "img" | "vfd") => Ok(Format::Raw),
        _ => {
            Err(given
                .refuse("--format is missing, and the new file's name does not tell the format"))
        }
    }
}
