//! Commands that go over the sectors of a track (82077AA data sheet §5.1).

use super::command::{Action, Transfer};
use super::medium::{Diskette, Drive, SECTOR_BYTES, Sector};

/// Abnormal end, in bits 7:6 of ST0.
pub const ABNORMAL: u8 = 0x40;
const NOT_READY: u8 = 0x08;
/// In ST1.
const END_OF_CYLINDER: u8 = 0x80;
const DATA_ERROR: u8 = 0x20;
const OVERRUN: u8 = 0x10;
const NO_DATA: u8 = 0x04;
const NOT_WRITABLE: u8 = 0x02;
const MISSING_ADDRESS_MARK: u8 = 0x01;
/// In ST2.
const CONTROL_MARK: u8 = 0x40;
const DATA_ERROR_IN_FIELD: u8 = 0x20;
const WRONG_CYLINDER: u8 = 0x10;

/// The other end of a transfer.
pub trait Host {
    /// Takes the bytes of a sector. Answers how many it took and whether it wants no more.
    fn take(&mut self, data: &[u8]) -> (usize, bool);
    /// Fills `data`. Answers how many bytes it gave and whether it has no more.
    fn give(&mut self, data: &mut [u8]) -> (usize, bool);
}

/// The three status bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub [u8; 3]);

impl Status {
    fn failed(st0: u8, st1: u8, st2: u8) -> Self {
        Status([ABNORMAL | st0, st1, st2])
    }
}

/// The parameters of a transfer, as they go out in the result phase too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// C, H, R, N.
    pub cylinder: u8,
    /// H.
    pub head: u8,
    /// R.
    pub sector: u8,
    /// N: 128 << N bytes.
    pub size_code: u8,
}

/// The rest of the command.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What to do.
    pub transfer: Transfer,
    /// Side that the drive reads, from the command's second byte.
    pub side: u8,
    /// Last sector of the track, EOT.
    pub last: u8,
    /// Sectors that VERIFY looks at, if it is told.
    pub count: Option<u8>,
    /// Bits 1:0 of the data rate register.
    pub rate: u8,
}

/// Whether the heads find address marks at all on this side of what is in the drive.
pub fn readable(drive: &mut Drive, side: u8, mfm: bool, rate: u8) -> Result<&mut Diskette, Status> {
    let Some(diskette) = &mut drive.diskette else {
        return Err(Status::failed(NOT_READY, MISSING_ADDRESS_MARK, 0));
    };
    let geometry = diskette.geometry;
    if !mfm
        || !geometry.readable_at(rate)
        || side >= geometry.heads
        || drive.cylinder >= geometry.cylinders
    {
        return Err(Status::failed(0, MISSING_ADDRESS_MARK, 0));
    }
    Ok(diskette)
}

/// Runs the transfer. `place` is at the end where the result phase says it is.
pub fn run(drive: &mut Drive, request: Request, place: &mut Place, host: &mut dyn Host) -> Status {
    let mut side = request.side;
    let (Ok(status) | Err(status)) = sectors(drive, request, place, &mut side, host)
        .and_then(|status| flushed(drive, request.transfer.action).map(|()| status));
    let Status([st0, st1, st2]) = status;
    Status([st0 | if side != 0 { 4 } else { 0 }, st1, st2])
}

/// A diskette has no cache: what a command has written is safe at its end.
fn flushed(drive: &mut Drive, action: Action) -> Result<(), Status> {
    match &mut drive.diskette {
        Some(diskette) if action == Action::Write => diskette
            .flush()
            .map_err(|_| Status::failed(0, DATA_ERROR, 0)),
        _ => Ok(()),
    }
}

fn sectors(
    drive: &mut Drive,
    request: Request,
    place: &mut Place,
    side: &mut u8,
    host: &mut dyn Host,
) -> Result<Status, Status> {
    let action = request.transfer.action;
    let heads_stand_at = drive.cylinder;
    let diskette = readable(drive, *side, request.transfer.mfm, request.rate)?;
    if action == Action::Write && diskette.write_protected {
        return Err(Status::failed(0, NOT_WRITABLE, 0));
    }
    if action == Action::ReadTrack {
        place.sector = 1;
    }
    let mut left = request.count;
    loop {
        if place.cylinder != heads_stand_at {
            return Err(Status::failed(0, NO_DATA, WRONG_CYLINDER));
        }
        if place.size_code != 2
            || place.head != *side
            || !(1..=diskette.geometry.sectors).contains(&place.sector)
        {
            return Err(Status::failed(0, NO_DATA, 0));
        }
        let at = Sector {
            cylinder: place.cylinder,
            head: *side,
            sector: place.sector,
        };
        let broken = |_| Status::failed(0, DATA_ERROR, DATA_ERROR_IN_FIELD);
        let mut data = [0; SECTOR_BYTES];
        let (moved, last) = match action {
            Action::Write => {
                let (given, last) = host.give(&mut data);
                if given > 0 {
                    // What the host didn't give is written as zeroes.
                    diskette.write(at, &data).map_err(broken)?;
                }
                (given, last)
            }
            Action::Verify => {
                diskette.read(at, &mut data).map_err(broken)?;
                left = left.map(|left| left.wrapping_sub(1));
                (SECTOR_BYTES, left == Some(0))
            }
            // Every sector has the other mark.
            Action::ReadDeleted if request.transfer.skip => (SECTOR_BYTES, false),
            Action::Read | Action::ReadTrack | Action::ReadDeleted => {
                diskette.read(at, &mut data).map_err(broken)?;
                host.take(&data)
            }
        };
        if moved < SECTOR_BYTES && !last {
            return Err(Status::failed(0, OVERRUN, 0));
        }
        if action == Action::ReadDeleted && !request.transfer.skip {
            return Ok(Status([0, 0, CONTROL_MARK]));
        }
        let end = advance(place, side, request, diskette.geometry.heads);
        if last || (end && action == Action::Verify && left.is_none()) {
            return Ok(Status::default());
        }
        if end {
            return Err(Status::failed(0, END_OF_CYLINDER, 0));
        }
    }
}

/// The next sector (82077AA data sheet, table 5-4). Answers whether it is beyond the command's end.
fn advance(place: &mut Place, side: &mut u8, request: Request, heads: u8) -> bool {
    if place.sector != request.last {
        place.sector = place.sector.wrapping_add(1);
        return false;
    }
    place.sector = 1;
    if !request.transfer.multi_track {
        place.cylinder = place.cylinder.wrapping_add(1);
        return true;
    }
    place.head ^= 1;
    if *side == 0 && heads > 1 {
        *side = 1;
        return false;
    }
    place.cylinder = place.cylinder.wrapping_add(1);
    true
}

/// FORMAT TRACK: the host gives four bytes for each of `count` sectors, which are filled with `fill`.
pub fn format(
    drive: &mut Drive,
    request: Request,
    count: u8,
    fill: u8,
    host: &mut dyn Host,
) -> Status {
    let (Ok(status) | Err(status)) = format_sectors(drive, request, count, fill, host)
        .and_then(|()| flushed(drive, Action::Write).map(|()| Status::default()));
    status
}

fn format_sectors(
    drive: &mut Drive,
    request: Request,
    count: u8,
    fill: u8,
    host: &mut dyn Host,
) -> Result<(), Status> {
    let cylinder = drive.cylinder;
    let diskette = readable(drive, request.side, request.transfer.mfm, request.rate)?;
    if diskette.write_protected {
        return Err(Status::failed(0, NOT_WRITABLE, 0));
    }
    // The image has room for its own layout alone.
    if count != diskette.geometry.sectors {
        return Err(Status::failed(0, DATA_ERROR, 0));
    }
    for _ in 0..count {
        let mut field = [0; 4];
        if host.give(&mut field).0 < field.len() {
            return Err(Status::failed(0, OVERRUN, 0));
        }
        let [c, h, sector, size_code] = field;
        if (c, h, size_code) != (cylinder, request.side, 2)
            || !(1..=diskette.geometry.sectors).contains(&sector)
        {
            return Err(Status::failed(0, NO_DATA, 0));
        }
        let at = Sector {
            cylinder,
            head: request.side,
            sector,
        };
        diskette
            .write(at, &[fill; SECTOR_BYTES])
            .map_err(|_| Status::failed(0, DATA_ERROR, DATA_ERROR_IN_FIELD))?;
    }
    Ok(())
}
