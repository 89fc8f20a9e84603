//! The floppy disk controller: an 82077AA with one drive, in PC/AT mode (82077AA data sheet, Intel
//! order number 290166).
//!
//! Seeks and transfers end at once. Absent: SCAN commands, single density, sectors of other sizes
//! than 512 bytes, deleted sectors, and the time that a diskette takes to turn.

mod command;
mod medium;
mod transfer;

pub use medium::Diskette;

use crate::bus::{Context, GuestMemory};
use crate::dma::{Data, Dma};
use command::{Action, Command, Transfer};
use medium::{Drive, SECTOR_BYTES};
use transfer::{ABNORMAL, Host, Place, Request, Status};

/// Ports that it answers at; 3F6h between them is the disk's.
pub const DIGITAL_OUTPUT: u16 = 0x3f2;
const TAPE: u16 = 0x3f3;
const STATUS: u16 = 0x3f4;
/// Command, parameter and result bytes.
pub const FIFO: u16 = 0x3f5;
/// Change line when read, data rate when written.
pub const DIGITAL_INPUT: u16 = 0x3f7;

const IRQ: u8 = 6;
const DMA_CHANNEL: u8 = 2;

/// In the digital output register: not in reset, and interrupts and DMA on.
const NOT_RESET: u8 = 0x04;
const DMA_GATE: u8 = 0x08;

const STATUS_REQUEST: u8 = 0x80;
const STATUS_TO_HOST: u8 = 0x40;
const STATUS_NO_DMA: u8 = 0x20;
const STATUS_BUSY: u8 = 0x10;

const SEEK_END: u8 = 0x20;
const EQUIPMENT_CHECK: u8 = 0x10;
/// ST0 of an invalid command, and of a reset's interrupts.
const INVALID: u8 = 0x80;
const READY_CHANGED: u8 = 0xc0;
/// What VERSION answers for an 82077AA.
const ENHANCED: u8 = 0x90;
/// CONFIGURE: seek before each transfer; no interrupts after a reset; what a reset sets.
const IMPLIED_SEEK: u8 = 0x40;
const POLLING_OFF: u8 = 0x10;
const FIFO_OFF: u8 = 0x20;

/// Where a command stands.
enum Phase {
    /// Bytes of a command came in, or none yet.
    Command(Vec<u8>),
    /// The host fetches sectors byte by byte; then comes the result.
    Reading(Bytes, [u8; 7]),
    /// The host brings sectors byte by byte.
    Writing {
        data: Vec<u8>,
        wanted: usize,
        command: Vec<u8>,
    },
    /// The host fetches the result.
    Result(Bytes),
}

/// Bytes that the host fetches.
struct Bytes {
    data: Vec<u8>,
    next: usize,
}

impl Bytes {
    fn new(data: Vec<u8>) -> Self {
        Bytes { data, next: 0 }
    }

    /// The next one, and whether it was the last.
    fn take(&mut self) -> (u8, bool) {
        let byte = self.data.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        (byte, self.next >= self.data.len())
    }
}

/// The controller and its drives.
pub struct Floppy {
    drives: [Drive; 4],
    output: u8,
    tape: u8,
    rate: u8,
    phase: Phase,
    /// ST0 of seeks and resets that nobody asked for yet.
    ended: [Option<u8>; 4],
    interrupt: bool,
    specify: [u8; 2],
    configure: [u8; 2],
    perpendicular: u8,
    lock: bool,
    last_sector: u8,
}

impl Floppy {
    /// A controller at power-on with one drive and what lies in it.
    pub fn new(diskette: Option<Diskette>) -> Self {
        let mut drives: [Drive; 4] = Default::default();
        drives[0] = Drive::present(diskette);
        Floppy {
            drives,
            output: 0,
            tape: 0,
            rate: 2,
            phase: Phase::Command(Vec::new()),
            ended: [None; 4],
            interrupt: false,
            specify: [0; 2],
            configure: [FIFO_OFF, 0],
            perpendicular: 0,
            lock: false,
            last_sector: 0,
        }
    }

    /// The machine is reset; diskettes stay where they are.
    pub fn reset(&mut self, context: &mut Context<'_>) {
        let diskette = self.drives[0].diskette.take();
        *self = Floppy::new(diskette);
        self.drive_line(context);
    }

    /// Puts another diskette into the drive, or none. Answers what lay in it.
    pub fn insert(&mut self, diskette: Option<Diskette>) -> Option<Diskette> {
        self.drives[0].changed = true;
        std::mem::replace(&mut self.drives[0].diskette, diskette)
    }

    /// Reads the byte at `port`.
    pub fn read(&mut self, port: u16, context: &mut Context<'_>) -> u8 {
        match port {
            DIGITAL_OUTPUT => self.output,
            TAPE => self.tape,
            STATUS => self.status(),
            FIFO => self.read_fifo(context),
            DIGITAL_INPUT if self.selected_drive().changed => 0x80,
            DIGITAL_INPUT => 0,
            _ => 0xff,
        }
    }

    /// Writes the byte at `port`.
    pub fn write(&mut self, port: u16, value: u8, dma: &mut Dma, context: &mut Context<'_>) {
        match port {
            DIGITAL_OUTPUT => {
                let was = std::mem::replace(&mut self.output, value);
                if value & NOT_RESET == 0 {
                    self.enter_reset();
                } else if was & NOT_RESET == 0 {
                    self.leave_reset();
                }
            }
            TAPE => self.tape = value & 3,
            STATUS => {
                self.rate = value & 3;
                if value & 0x80 != 0 && self.output & NOT_RESET != 0 {
                    self.enter_reset();
                    self.leave_reset();
                }
            }
            FIFO if self.output & NOT_RESET != 0 => self.write_fifo(value, dma, context),
            DIGITAL_INPUT => self.rate = value & 3,
            _ => {}
        }
        self.drive_line(context);
    }

    fn selected_drive(&self) -> &Drive {
        &self.drives[usize::from(self.output & 3)]
    }

    fn drive_line(&self, context: &mut Context<'_>) {
        let high = self.interrupt && self.output & DMA_GATE != 0;
        context.interrupts.set_isa(IRQ, high);
    }

    fn enter_reset(&mut self) {
        self.phase = Phase::Command(Vec::new());
        self.ended = [None; 4];
        self.interrupt = false;
        self.perpendicular &= 0x3c;
        if !self.lock {
            self.configure = [self.configure[0] & IMPLIED_SEEK | FIFO_OFF, 0];
        }
    }

    fn leave_reset(&mut self) {
        if self.configure[0] & POLLING_OFF == 0 {
            self.ended = [0, 1, 2, 3].map(|drive| Some(READY_CHANGED | drive));
            self.interrupt = true;
        }
    }

    fn status(&self) -> u8 {
        if self.output & NOT_RESET == 0 {
            return 0;
        }
        match &self.phase {
            Phase::Command(bytes) if bytes.is_empty() => STATUS_REQUEST,
            Phase::Command(_) => STATUS_REQUEST | STATUS_BUSY,
            Phase::Reading(..) => STATUS_REQUEST | STATUS_TO_HOST | STATUS_NO_DMA | STATUS_BUSY,
            Phase::Writing { .. } => STATUS_REQUEST | STATUS_NO_DMA | STATUS_BUSY,
            Phase::Result(_) => STATUS_REQUEST | STATUS_TO_HOST | STATUS_BUSY,
        }
    }

    fn read_fifo(&mut self, context: &mut Context<'_>) -> u8 {
        let (byte, last, next) = match &mut self.phase {
            Phase::Command(_) | Phase::Writing { .. } => return 0,
            Phase::Reading(bytes, result) => {
                let (byte, last) = bytes.take();
                (byte, last, Phase::Result(Bytes::new(result.to_vec())))
            }
            Phase::Result(bytes) => {
                self.interrupt = false;
                let (byte, last) = bytes.take();
                (byte, last, Phase::Command(Vec::new()))
            }
        };
        if last {
            self.phase = next;
        }
        self.drive_line(context);
        byte
    }

    fn write_fifo(&mut self, value: u8, dma: &mut Dma, context: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Command(bytes) => {
                bytes.push(value);
                if bytes.len() >= Command::of(bytes[0]).length() {
                    let bytes = std::mem::take(bytes);
                    self.execute(bytes, dma, context);
                }
            }
            Phase::Writing {
                data,
                wanted,
                command,
            } => {
                data.push(value);
                if data.len() >= *wanted {
                    let mut host = Fifo {
                        data: std::mem::take(data),
                        next: 0,
                    };
                    let command = std::mem::take(command);
                    let result = self.go_over_sectors(&command, &mut host);
                    self.finish(result.to_vec());
                }
            }
            Phase::Reading(..) | Phase::Result(_) => {}
        }
    }

    /// The result phase begins, with an interrupt.
    fn finish(&mut self, result: Vec<u8>) {
        self.interrupt = true;
        self.phase = Phase::Result(Bytes::new(result));
    }

    /// The result phase begins without one.
    fn answer(&mut self, result: Vec<u8>) {
        self.phase = Phase::Result(Bytes::new(result));
    }

    fn execute(&mut self, bytes: Vec<u8>, dma: &mut Dma, context: &mut Context<'_>) {
        let unit = usize::from(bytes.get(1).copied().unwrap_or(0) & 3);
        let parameter = |i: usize| bytes.get(i).copied().unwrap_or(0);
        match Command::of(bytes[0]) {
            Command::Transfer(transfer) => self.transfer(transfer.action, bytes, dma, context),
            Command::Format { .. } => self.transfer(Action::Write, bytes, dma, context),
            Command::ReadId { mfm } => self.read_id(parameter(1), mfm),
            Command::Recalibrate => self.seek(unit, 0),
            Command::Seek => self.seek(unit, parameter(2)),
            Command::RelativeSeek { inwards } => {
                let from = self.drives[unit].cylinder;
                let to = if inwards {
                    from.saturating_add(parameter(2))
                } else {
                    from.saturating_sub(parameter(2))
                };
                self.seek(unit, to);
            }
            Command::SenseInterrupt => {
                let ended = self
                    .ended
                    .iter_mut()
                    .enumerate()
                    .find(|(_, st0)| st0.is_some());
                let answer = match ended.and_then(|(drive, st0)| Some((drive, st0.take()?))) {
                    Some((drive, st0)) => vec![st0, self.drives[drive].cylinder],
                    None => vec![INVALID],
                };
                self.interrupt = false;
                self.answer(answer);
            }
            Command::Specify => self.specify = [parameter(1), parameter(2)],
            Command::SenseDrive => {
                let status = self.sense_drive(parameter(1));
                self.answer(vec![status]);
            }
            Command::Version => self.answer(vec![ENHANCED]),
            Command::DumpRegisters => {
                let registers = self.registers();
                self.answer(registers);
            }
            Command::Perpendicular => {
                // Which drives it is for changes only with OW, bit 7.
                let drives = if parameter(1) & 0x80 != 0 {
                    parameter(1)
                } else {
                    self.perpendicular
                };
                self.perpendicular = drives & 0x3c | parameter(1) & 3;
            }
            Command::Configure => self.configure = [parameter(2) & 0x7f, parameter(3)],
            Command::Lock(lock) => {
                self.lock = lock;
                self.answer(vec![u8::from(lock) << 4]);
            }
            Command::Invalid => self.answer(vec![INVALID]),
        }
    }

    fn seek(&mut self, unit: usize, cylinder: u8) {
        let drive = &mut self.drives[unit];
        let side = unit as u8;
        self.ended[unit] = Some(if drive.present {
            drive.seek(cylinder);
            SEEK_END | side
        } else {
            // Track 0 never comes.
            ABNORMAL | SEEK_END | EQUIPMENT_CHECK | side
        });
        self.interrupt = true;
    }

    fn read_id(&mut self, parameter: u8, mfm: bool) {
        let (unit, side) = (parameter & 3, parameter >> 2 & 1);
        let drive = &mut self.drives[usize::from(unit)];
        let cylinder = drive.cylinder;
        let found = transfer::readable(drive, side, mfm, self.rate)
            .map(|diskette| diskette.geometry.sectors);
        let (Status([st0, st1, st2]), sector) = match found {
            Ok(sectors) => (Status::default(), drive.next_sector(sectors)),
            Err(status) => (status, 0),
        };
        self.finish(vec![
            st0 | parameter & 7,
            st1,
            st2,
            cylinder,
            side,
            sector,
            2,
        ]);
    }

    fn sense_drive(&self, parameter: u8) -> u8 {
        let drive = &self.drives[usize::from(parameter & 3)];
        let protected = drive.diskette.as_ref().is_some_and(|d| d.write_protected);
        let track_0 = drive.present && drive.cylinder == 0;
        0x28 | parameter & 7 | u8::from(protected) << 6 | u8::from(track_0) << 4
    }

    /// DUMPREG (82077AA data sheet §5.2.8).
    fn registers(&self) -> Vec<u8> {
        let mut registers: Vec<u8> = self.drives.iter().map(|drive| drive.cylinder).collect();
        registers.extend(self.specify);
        registers.push(self.last_sector);
        registers.push(u8::from(self.lock) << 7 | self.perpendicular);
        registers.extend(self.configure);
        registers
    }

    /// Reads, writes, verifies or formats, over DMA or byte by byte as SPECIFY said.
    fn transfer(
        &mut self,
        action: Action,
        command: Vec<u8>,
        dma: &mut Dma,
        context: &mut Context<'_>,
    ) {
        // ND, bit 0 of the second byte.
        if self.specify[1] & 1 == 0 {
            let mut host = DmaHost {
                dma,
                memory: context.memory,
                gate: self.output & DMA_GATE != 0,
            };
            let result = self.go_over_sectors(&command, &mut host);
            return self.finish(result.to_vec());
        }
        if action == Action::Write {
            let wanted = self.bytes_from_host(&command);
            self.interrupt = true;
            self.phase = Phase::Writing {
                data: Vec::new(),
                wanted,
                command,
            };
            return;
        }
        let mut host = Fifo {
            data: Vec::new(),
            next: 0,
        };
        let result = self.go_over_sectors(&command, &mut host);
        if host.data.is_empty() {
            self.finish(result.to_vec());
        } else {
            self.interrupt = true;
            self.phase = Phase::Reading(Bytes::new(host.data), result);
        }
    }

    /// How many bytes the host brings for a write or a format: without DMA nothing ends it early.
    fn bytes_from_host(&self, command: &[u8]) -> usize {
        match (Command::of(command[0]), command) {
            (Command::Transfer(transfer), [_, _, _, _, sector, _, last, ..]) => {
                let track = usize::from(last.saturating_sub(*sector)) + 1;
                let both = transfer.multi_track && command[1] & 4 == 0;
                SECTOR_BYTES
                    * if both {
                        track + usize::from(*last)
                    } else {
                        track
                    }
            }
            (_, [_, _, _, count, ..]) => 4 * usize::from(*count).max(1),
            _ => 1,
        }
    }

    /// Answers the result phase: ST0 to ST2, C, H, R, N.
    fn go_over_sectors(&mut self, command: &[u8], host: &mut dyn Host) -> [u8; 7] {
        let parameter = |i: usize| command.get(i).copied().unwrap_or(0);
        let unit = parameter(1) & 3;
        let drive = &mut self.drives[usize::from(unit)];
        let code = Command::of(parameter(0));
        let mut request = Request {
            transfer: Transfer {
                action: Action::Write,
                multi_track: false,
                mfm: matches!(code, Command::Format { mfm: true }),
                skip: false,
            },
            side: parameter(1) >> 2 & 1,
            last: parameter(6),
            count: None,
            rate: self.rate,
        };
        let mut place = Place {
            cylinder: parameter(2),
            head: parameter(3),
            sector: parameter(4),
            size_code: parameter(5),
        };
        let Status([st0, st1, st2]) = if let Command::Transfer(transfer) = code {
            self.last_sector = request.last;
            request.transfer = transfer;
            // EC, where the other commands have nothing: the last byte counts sectors.
            request.count = (parameter(1) & 0x80 != 0).then(|| parameter(8));
            if self.configure[0] & IMPLIED_SEEK != 0 && drive.present {
                drive.seek(place.cylinder);
            }
            transfer::run(drive, request, &mut place, host)
        } else {
            self.last_sector = parameter(3);
            place = Place {
                cylinder: drive.cylinder,
                head: request.side,
                sector: 1,
                size_code: parameter(2),
            };
            transfer::format(drive, request, parameter(3), parameter(5), host)
        };
        let side = if st0 & 4 != 0 { 4 } else { request.side << 2 };
        [
            st0 | side | unit,
            st1,
            st2,
            place.cylinder,
            place.head,
            place.sector,
            place.size_code,
        ]
    }
}

/// Bytes go over the DMA controller.
struct DmaHost<'a> {
    dma: &'a mut Dma,
    memory: &'a dyn GuestMemory,
    gate: bool,
}

impl DmaHost<'_> {
    fn transfer(&mut self, data: Data<'_>) -> (usize, bool) {
        if !self.gate {
            return (0, false);
        }
        let moved = self.dma.transfer(DMA_CHANNEL, data, self.memory);
        (moved.bytes, moved.terminal_count)
    }
}

impl Host for DmaHost<'_> {
    fn take(&mut self, data: &[u8]) -> (usize, bool) {
        self.transfer(Data::ToMemory(data))
    }

    fn give(&mut self, data: &mut [u8]) -> (usize, bool) {
        self.transfer(Data::FromMemory(data))
    }
}

/// Bytes go through the FIFO: all of a command are here at once.
struct Fifo {
    data: Vec<u8>,
    next: usize,
}

impl Host for Fifo {
    fn take(&mut self, data: &[u8]) -> (usize, bool) {
        self.data.extend_from_slice(data);
        (data.len(), false)
    }

    fn give(&mut self, data: &mut [u8]) -> (usize, bool) {
        let from = self.data.get(self.next..).unwrap_or(&[]);
        let count = from.len().min(data.len());
        data[..count].copy_from_slice(&from[..count]);
        self.next += count;
        (count, false)
    }
}

#[cfg(test)]
#[path = "floppy/tests.rs"]
mod tests;
