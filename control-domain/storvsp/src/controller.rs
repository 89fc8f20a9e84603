//! A controller: packets in, outcomes out.

use crate::io::{Address, Completion, Io, Pending};
use crate::offer::Attachment;
use crate::session::Session;
use crate::wire::{
    CDB_LENGTH, Header, LONG_LENGTH, Operation, Properties, Request, SHORT_LENGTH,
    SUPPORTS_SUBCHANNELS, SrbStatus, Status, Version,
};
use guest_buffer::{Buffer, Memory};
use scsi::{Action, Target, Unit};
use zerocopy::IntoBytes;

/// What came over the ring.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// To be repeated in the completion.
    pub transaction_id: u64,
    /// Whether the guest wants one.
    pub wants_completion: bool,
    /// What follows the ring's own header and the ranges.
    pub payload: &'a [u8],
    /// The ranges of a GPA-direct packet.
    pub buffer: Buffer,
}

/// What is to be done about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Done,
    /// The completion is to be sent.
    Complete(Completion),
    /// The medium has work, and the completion comes with its end.
    Start(Box<Io>),
    /// So many subchannels are to be offered, then the completion sent.
    Subchannels(u16, Option<Completion>),
    /// The guest has put out the medium of a drive; the completion is to be sent.
    Ejected(Address, Option<Completion>),
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Controller {
    attachment: Attachment,
    target: Target,
    most_subchannels: u16,
    most_transfer: u32,
    session: Session,
}

impl Controller {
    /// A controller without units. An IDE disk is unit 0 of its controller, and has no subchannels.
    pub fn new(attachment: Attachment, most_subchannels: u16, most_transfer: u32) -> Self {
        Self {
            attachment,
            target: Target::default(),
            most_subchannels: match attachment {
                Attachment::Scsi { .. } => most_subchannels,
                Attachment::Ide { .. } => 0,
            },
            most_transfer,
            session: Session::default(),
        }
    }

    /// How it is announced.
    pub fn offer(&self) -> vmbus::Offer {
        self.attachment.offer()
    }

    /// The guest has opened the first channel: everything begins anew.
    pub fn opened(&mut self) {
        self.session = Session::default();
    }

    /// Adds a unit. Answers what to tell the guest.
    pub fn add(&mut self, lun: u8, unit: Unit) -> Option<Vec<u8>> {
        self.target.add(lun, unit);
        self.notice()
    }

    /// Takes a unit away. Answers it, and what to tell the guest.
    pub fn remove(&mut self, lun: u8) -> Option<(Unit, Option<Vec<u8>>)> {
        let unit = self.target.remove(lun)?;
        Some((unit, self.notice()))
    }

    /// The unit, to look at or to change.
    pub fn unit(&mut self, lun: u8) -> Option<&mut Unit> {
        self.target.unit(lun)
    }

    /// All units with their numbers.
    pub fn units(&self) -> impl Iterator<Item = (u8, &Unit)> {
        self.target.units()
    }

    /// The version that was agreed on.
    pub fn version(&self) -> Option<Version> {
        self.session.ready()
    }

    /// A packet of our own that needs no answer: look at the bus again.
    fn notice(&self) -> Option<Vec<u8>> {
        let version = self.session.ready()?;
        let header = Header {
            operation: Operation::ENUMERATE_BUS.0.into(),
            flags: 0.into(),
            status: Status::SUCCESS.0.into(),
        };
        let mut packet = header.as_bytes().to_vec();
        let short = version <= Version::WIN7;
        packet.resize(if short { SHORT_LENGTH } else { LONG_LENGTH }, 0);
        Some(packet)
    }

    /// Takes a packet of any of the controller's channels. `memory` is where parameters of commands and
    /// small answers are.
    pub fn receive<M: Memory + ?Sized>(&mut self, packet: Packet<'_>, memory: &M) -> Outcome {
        let pending = Pending::new(
            packet.transaction_id,
            packet.wants_completion,
            packet.payload,
        );
        let ready = self.session.ready();
        match (pending.operation(), ready) {
            (
                Operation::BEGIN_INITIALIZATION
                | Operation::QUERY_PROTOCOL_VERSION
                | Operation::QUERY_PROPERTIES
                | Operation::END_INITIALIZATION,
                _,
            ) => self.handshake(pending),
            (Operation::FCHBA_DATA, _) => answer(pending.complete(Status::NOT_SUPPORTED)),
            (_, None) => answer(pending.complete(Status::INVALID_DEVICE_STATE)),
            (Operation::CREATE_SUB_CHANNELS, _) => self.subchannels(pending),
            (Operation::EXECUTE_SRB, _) => self.execute(pending, packet.buffer, memory),
            (Operation::RESET_LUN, _) => self.reset(pending, true),
            (Operation::RESET_ADAPTER | Operation::RESET_BUS, _) => self.reset(pending, false),
            _ => answer(pending.complete(Status::INVALID_DEVICE_REQUEST)),
        }
    }

    fn handshake(&mut self, mut pending: Pending) -> Outcome {
        let operation = pending.operation();
        let payload = pending.payload();
        let wanted = Version(u16::from_le_bytes([payload[0], payload[1]]));
        let status = self.session.step(operation, wanted);
        if status == Status::SUCCESS && operation == Operation::QUERY_PROPERTIES {
            let flags = match self.most_subchannels {
                0 => 0,
                _ => SUPPORTS_SUBCHANNELS,
            };
            let properties = Properties {
                reserved: 0.into(),
                most_subchannels: self.most_subchannels.into(),
                reserved1: 0.into(),
                flags: flags.into(),
                most_transfer: self.most_transfer.into(),
                reserved2: 0.into(),
            };
            payload.fill(0);
            let bytes = properties.as_bytes();
            payload[..bytes.len()].copy_from_slice(bytes);
        }
        answer(pending.complete(status))
    }

    fn subchannels(&mut self, mut pending: Pending) -> Outcome {
        let payload = pending.payload();
        let count = u16::from_le_bytes([payload[0], payload[1]]);
        match count {
            1.. if count <= self.most_subchannels => {
                Outcome::Subchannels(count, pending.complete(Status::SUCCESS))
            }
            _ => answer(pending.complete(Status::INVALID_PARAMETER)),
        }
    }

    fn reset(&mut self, pending: Pending, one: bool) -> Outcome {
        let Some(request) = pending.request() else {
            return answer(pending.complete(Status::INVALID_PARAMETER));
        };
        match (one, self.find(&request)) {
            (false, _) => self.target.reset(None),
            (true, Some(address)) => self.target.reset(Some(address.lun)),
            (true, None) => return answer(pending.complete(Status::DEVICE_DOES_NOT_EXIST)),
        }
        answer(pending.complete(Status::SUCCESS))
    }

    /// Bus and target: a SCSI controller has one of each. For an IDE disk guests say 0 or its channel as
    /// the bus, and its drive as the target.
    fn find(&self, request: &Request) -> Option<Address> {
        let address = Address {
            target: request.target,
            lun: request.lun,
        };
        let found = match self.attachment {
            Attachment::Scsi { .. } => request.path == 0 && request.target == 0,
            Attachment::Ide { drive, .. } => request.target == drive && request.lun == 0,
        };
        found.then_some(address)
    }

    /// A command where there is no unit. Whoever looks for SCSI units is told in data that there is none: Linux
    /// takes a refused INQUIRY for one that was answered with zeros, a disk, and takes its unit at bus 0 away
    /// when REPORT LUNS at another bus ends with INVALID_LUN.
    fn nobody<M: Memory + ?Sized>(
        &self,
        pending: Pending,
        cdb: &[u8],
        buffer: Buffer,
        memory: &M,
    ) -> Outcome {
        if let Attachment::Scsi { .. } = self.attachment
            && let Some(Action::Data(mut data)) = Target::answer_of_none(cdb)
        {
            data.truncate(usize::try_from(buffer.length()).unwrap_or(usize::MAX));
            if buffer.store(memory, 0, &data).is_ok() {
                return answer(pending.succeed(data.len() as u32));
            }
        }
        answer(pending.refuse(SrbStatus::INVALID_LUN))
    }

    fn execute<M: Memory + ?Sized>(
        &mut self,
        pending: Pending,
        mut buffer: Buffer,
        memory: &M,
    ) -> Outcome {
        let Some(request) = pending.request() else {
            return answer(pending.complete(Status::INVALID_PARAMETER));
        };
        let length = usize::from(request.cdb_length).min(CDB_LENGTH);
        let cdb = &request.cdb_or_sense[..length];
        let found = self.find(&request);
        let Some(address) = found.filter(|address| self.target.answers(address.lun, cdb)) else {
            return self.nobody(pending, cdb, buffer, memory);
        };
        let room = u64::from(request.transfer_length.get());
        if room > buffer.length() {
            return answer(pending.refuse(SrbStatus::INVALID_REQUEST));
        }
        buffer.truncate(room);
        let mut parameters = vec![0; self.target.parameter_length(address.lun, cdb)];
        match buffer.load(memory, 0, &mut parameters) {
            Ok(there) => parameters.truncate(there),
            Err(_) => return answer(pending.refuse(SrbStatus::INVALID_REQUEST)),
        }
        match self.target.command(address.lun, cdb, &parameters) {
            Action::Data(data) => match buffer.store(memory, 0, &data) {
                Ok(()) => answer(pending.succeed((data.len() as u64).min(room) as u32)),
                Err(_) => answer(pending.refuse(SrbStatus::INVALID_REQUEST)),
            },
            Action::Check(sense) => answer(pending.check(&sense)),
            Action::Ejected => Outcome::Ejected(address, pending.succeed(0)),
            Action::Medium(request) if request.transfer_length() > room => {
                answer(pending.refuse(SrbStatus::DATA_OVERRUN))
            }
            Action::Medium(request) => {
                buffer.truncate(request.transfer_length());
                let unit = self.target.unit(address.lun);
                let block_size = unit.map_or(0, |unit| unit.block_size());
                Outcome::Start(Box::new(Io {
                    address,
                    request,
                    buffer,
                    block_size,
                    pending,
                }))
            }
        }
    }
}

fn answer(completion: Option<Completion>) -> Outcome {
    completion.map_or(Outcome::Done, Outcome::Complete)
}
