//! The descriptor: text that names the disk's extents ("The Descriptor File"). Alone in a file, or
//! inside a sparse extent.

use disk::{DiskError, invalid};

/// The largest descriptor that is read, in bytes.
pub const MOST_BYTES: u64 = 1 << 20;
/// The most extents a disk may have: 4 TiB in files of 2 GiB.
pub const MOST_EXTENTS: usize = 2048;
/// parentCID of a disk without a parent.
const NO_PARENT: u32 = u32::MAX;

/// What an extent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// A file with a grain directory.
    Sparse {
        /// Its name, without a folder.
        file: String,
    },
    /// A file whose bytes are the disk's.
    Flat {
        /// Its name, without a folder.
        file: String,
        /// First sector of it.
        sector: u64,
    },
    /// Zeros.
    Zero,
}

impl ExtentKind {
    /// Name of its file, if it has one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Sparse { file } | Self::Flat { file, .. } => Some(file),
            Self::Zero => None,
        }
    }
}

/// A line of the extent description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentLine {
    /// Size in sectors.
    pub sectors: u64,
    /// What it is.
    pub kind: ExtentKind,
}

/// A descriptor that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Content identifier: changes when the disk is written to.
    pub content_id: u32,
    /// "monolithicSparse" and the like.
    pub create_type: String,
    /// The extents in their order; at least one.
    pub extents: Vec<ExtentLine>,
}

/// Whether a file begins as a descriptor does.
pub fn looks_like_descriptor(start: &[u8]) -> bool {
    const FIRST_LINE: &[u8] = b"# Disk DescriptorFile";
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    start.len() >= FIRST_LINE.len() && start[..FIRST_LINE.len()].eq_ignore_ascii_case(FIRST_LINE)
}

impl Descriptor {
    /// Understands a descriptor that lies at `base` of its file.
    ///
    /// # Errors
    /// What is wrong, with the offset of the line; [`DiskError::Unsupported`] for a disk with a parent
    /// and for kinds that can't be read.
    pub fn parse(bytes: &[u8], base: u64) -> Result<Self, DiskError> {
        // Inside an extent the rest of its sectors is zero.
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        let bytes = &bytes[..end];
        let encoding = encoding(bytes, base)?;
        let mut fields = Fields::default();
        let mut offset = base;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, damaged) = encoding.decode_with_bom_removal(line);
            if damaged {
                return Err(invalid(
                    offset,
                    format!("this line of the descriptor is not {}", encoding.name()),
                ));
            }
            fields.take(text.trim(), offset)?;
            offset += line.len() as u64;
        }
        fields.finish(base)
    }
}

/// The encoding that the descriptor names, UTF-8 if it names none. The line itself is ASCII.
fn encoding(bytes: &[u8], base: u64) -> Result<&'static encoding_rs::Encoding, DiskError> {
    let named = bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let line = str::from_utf8(line).ok()?;
        let (key, value) = line.split_once('=')?;
        let is_it = key.trim().eq_ignore_ascii_case("encoding");
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    });
    let Some(name) = named else {
        return Ok(encoding_rs::UTF_8);
    };
    encoding_rs::Encoding::for_label(name.as_bytes())
        .filter(|encoding| encoding.is_ascii_compatible())
        .ok_or_else(|| {
            invalid(
                base,
                format!("the descriptor's encoding {name:?} is unknown; write it again in UTF-8 with encoding=\"UTF-8\""),
            )
        })
}

/// What was read so far.
#[derive(Default)]
struct Fields {
    version: Option<String>,
    content_id: Option<String>,
    parent_content_id: Option<String>,
    parent_hint: Option<String>,
    create_type: Option<String>,
    extents: Vec<ExtentLine>,
}

impl Fields {
    fn take(&mut self, line: &str, offset: u64) -> Result<(), DiskError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| {
            line.get(..access.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(access))
        }) {
            if self.extents.len() == MOST_EXTENTS {
                return Err(invalid(offset, format!("more than {MOST_EXTENTS} extents")));
            }
            self.extents.push(extent_line(line, offset)?);
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(invalid(
                offset,
                format!(
                    "the descriptor's line {line:?} is neither a comment, an extent nor name=value"
                ),
            ));
        };
        let field = match key.trim().to_ascii_lowercase().as_str() {
            "version" => &mut self.version,
            "cid" => &mut self.content_id,
            "parentcid" => &mut self.parent_content_id,
            "parentfilenamehint" => &mut self.parent_hint,
            "createtype" => &mut self.create_type,
            // The disk data base, change tracking and what else concerns VMware alone.
            _ => return Ok(()),
        };
        if field.is_some() {
            return Err(invalid(
                offset,
                format!("the descriptor says {} twice", key.trim()),
            ));
        }
        *field = Some(value.trim().trim_matches('"').to_owned());
        Ok(())
    }

    fn finish(self, base: u64) -> Result<Descriptor, DiskError> {
        let needed = |field: Option<String>, name: &str| {
            field.ok_or_else(|| invalid(base, format!("the descriptor lacks {name}=")))
        };
        let id = |text: &str, name: &str| {
            u32::from_str_radix(text, 16).map_err(|_| {
                invalid(
                    base,
                    format!(
                        "the descriptor's {name}={text} is not a number of 8 hexadecimal digits"
                    ),
                )
            })
        };
        let version = needed(self.version, "version")?;
        if !matches!(version.as_str(), "1" | "2" | "3" | "4") {
            return Err(invalid(
                base,
                format!("descriptor version {version} is unknown, 1 to 4 are known"),
            ));
        }
        let content_id = id(&needed(self.content_id, "CID")?, "CID")?;
        let parent = id(&needed(self.parent_content_id, "parentCID")?, "parentCID")?;
        if parent != NO_PARENT {
            let of = self
                .parent_hint
                .unwrap_or_else(|| format!("the disk with CID {parent:08x}"));
            return Err(DiskError::Unsupported {
                reason: format!(
                    "this is a snapshot of another VMDK ({of}), and VMDK chains are not read; \
                     delete the snapshots where the machine was made, which merges them, or export the machine as OVF"
                ),
            });
        }
        let create_type = needed(self.create_type, "createType")?;
        let known = [
            "monolithicSparse",
            "monolithicFlat",
            "twoGbMaxExtentSparse",
            "twoGbMaxExtentFlat",
            "streamOptimized",
            "vmfs",
        ];
        if !known
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&create_type))
        {
            return Err(DiskError::Unsupported {
                reason: format!(
                    "VMDKs of type {create_type:?} are not read, these are: {}; export the machine as OVF",
                    known.join(", ")
                ),
            });
        }
        if self.extents.is_empty() {
            return Err(invalid(base, "the descriptor names no extent"));
        }
        Ok(Descriptor {
            content_id,
            create_type,
            extents: self.extents,
        })
    }
}

/// `RW 4192256 FLAT "disk-f001.vmdk" 0`
fn extent_line(line: &str, offset: u64) -> Result<ExtentLine, DiskError> {
    let refuse = |what: String| invalid(offset, format!("{what}: {line}"));
    let (head, file, tail) = match line.split_once('"') {
        Some((head, rest)) => match rest.split_once('"') {
            Some((file, tail)) => (head, Some(file), tail.trim()),
            None => return Err(refuse("the extent's file name has no end".into())),
        },
        None => (line, None, ""),
    };
    let mut words = head.split_ascii_whitespace();
    let (access, sectors, kind) = (words.next(), words.next(), words.next());
    if access.is_some_and(|access| access.eq_ignore_ascii_case("NOACCESS")) {
        return Err(refuse("an extent that must not be accessed".into()));
    }
    let sectors: u64 = sectors
        .and_then(|number| number.parse().ok())
        .filter(|sectors| *sectors > 0)
        .ok_or_else(|| refuse("the extent has no size in sectors".into()))?;
    if words.next().is_some() {
        return Err(refuse(
            "the extent has words too many before its file".into(),
        ));
    }
    let named = || {
        let file = file.ok_or_else(|| refuse("the extent names no file".into()))?;
        if file.is_empty() || file.contains(['/', '\\', '\0']) || matches!(file, "." | "..") {
            return Err(refuse(
                "an extent must be a file in the descriptor's folder; put it there and write its bare name".into(),
            ));
        }
        Ok(file.to_owned())
    };
    let kind = match kind.map(str::to_ascii_uppercase).as_deref() {
        Some("SPARSE") if tail.is_empty() => ExtentKind::Sparse { file: named()? },
        Some("ZERO") if file.is_none() => ExtentKind::Zero,
        Some("FLAT" | "VMFS") => ExtentKind::Flat {
            file: named()?,
            sector: match tail {
                "" => 0,
                tail => tail
                    .parse()
                    .map_err(|_| refuse("the extent's first sector is not a number".into()))?,
            },
        },
        Some(kind) => {
            return Err(DiskError::Unsupported {
                reason: format!(
                    "at offset {offset:#x}: extents of type {kind} are not read (SPARSE, FLAT, VMFS and ZERO are): {line}"
                ),
            });
        }
        None => return Err(refuse("the extent has no type".into())),
    };
    Ok(ExtentLine { sectors, kind })
}
