//! The commands of the controller: their codes, and how long they are (82077AA data sheet, table 5-1).

/// MT: go on with the other side at the end of a track.
const MULTI_TRACK: u8 = 0x80;
/// MFM: double density; without it the controller looks for single density, which no diskette has.
const MFM: u8 = 0x40;
/// SK: pass sectors of the other data mark.
const SKIP: u8 = 0x20;

/// A command's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reads, writes or compares sectors.
    Transfer(Transfer),
    /// FORMAT TRACK.
    Format { mfm: bool },
    /// READ ID.
    ReadId { mfm: bool },
    /// RECALIBRATE.
    Recalibrate,
    /// SENSE INTERRUPT STATUS.
    SenseInterrupt,
    /// SPECIFY.
    Specify,
    /// SENSE DRIVE STATUS.
    SenseDrive,
    /// SEEK.
    Seek,
    /// RELATIVE SEEK, inwards or outwards.
    RelativeSeek { inwards: bool },
    /// VERSION.
    Version,
    /// DUMPREG.
    DumpRegisters,
    /// PERPENDICULAR MODE.
    Perpendicular,
    /// CONFIGURE.
    Configure,
    /// LOCK or unlock.
    Lock(bool),
    /// Everything else, SCAN among it, which no PC's software uses.
    Invalid,
}

/// A command that goes over sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What is done to them.
    pub action: Action,
    /// Go on with the other side.
    pub multi_track: bool,
    /// Double density.
    pub mfm: bool,
    /// Pass sectors of the other data mark.
    pub skip: bool,
}

/// What a transfer does to a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// READ DATA.
    Read,
    /// READ DELETED DATA: no image tells of deleted sectors, so none is found.
    ReadDeleted,
    /// READ TRACK: from its first sector on.
    ReadTrack,
    /// WRITE DATA and WRITE DELETED DATA: an image holds no marks.
    Write,
    /// VERIFY.
    Verify,
}

impl Command {
    /// Of a command's first byte.
    pub fn of(code: u8) -> Self {
        let mfm = code & MFM != 0;
        let transfer = |action| {
            Command::Transfer(Transfer {
                action,
                multi_track: code & MULTI_TRACK != 0,
                mfm,
                skip: code & SKIP != 0,
            })
        };
        match code {
            _ if code & 0x1f == 0x06 => transfer(Action::Read),
            _ if code & 0x1f == 0x0c => transfer(Action::ReadDeleted),
            _ if code & 0x1f == 0x16 => transfer(Action::Verify),
            _ if matches!(code & 0x3f, 0x05 | 0x09) => transfer(Action::Write),
            _ if code & !MFM == 0x02 => transfer(Action::ReadTrack),
            _ if code & !MFM == 0x0d => Command::Format { mfm },
            _ if code & !MFM == 0x0a => Command::ReadId { mfm },
            0x03 => Command::Specify,
            0x04 => Command::SenseDrive,
            0x07 => Command::Recalibrate,
            0x08 => Command::SenseInterrupt,
            0x0e => Command::DumpRegisters,
            0x0f => Command::Seek,
            0x8f => Command::RelativeSeek { inwards: false },
            0xcf => Command::RelativeSeek { inwards: true },
            0x10 => Command::Version,
            0x12 => Command::Perpendicular,
            0x13 => Command::Configure,
            0x14 => Command::Lock(false),
            0x94 => Command::Lock(true),
            _ => Command::Invalid,
        }
    }

    /// Its bytes, with the first.
    pub fn length(self) -> usize {
        match self {
            Command::Transfer(_) => 9,
            Command::Format { .. } => 6,
            Command::Configure => 4,
            Command::Specify | Command::Seek | Command::RelativeSeek { .. } => 3,
            Command::ReadId { .. }
            | Command::Recalibrate
            | Command::SenseDrive
            | Command::Perpendicular => 2,
            Command::SenseInterrupt
            | Command::Version
            | Command::DumpRegisters
            | Command::Lock(_)
            | Command::Invalid => 1,
        }
    }
}
