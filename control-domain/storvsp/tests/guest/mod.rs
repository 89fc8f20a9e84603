//! A guest's side of a channel: memory, packets put together and taken apart.
#![allow(dead_code, reason = "each test file uses its part")]

use disk::{Disk, DiskError, Extent, Place};
use guest_buffer::{Buffer, Piece};
use guest_memory::GuestMemory;
use scsi::{DiskConfig, DiskUnit, Identity, Unit};
use storvsp::wire::{Operation, Version};
use storvsp::{Attachment, Completion, Controller, Outcome, Packet, perform};
use uuid::Uuid;

pub const BLOCKS: u64 = 4096;
pub const MOST_TRANSFER: u32 = 1 << 20;

/// A disk in memory that counts flushes, and fails at one offset.
pub struct Medium {
    pub bytes: Vec<u8>,
    pub flushes: u32,
    pub bad: Option<u64>,
    pub discarded: Vec<(u64, u64)>,
}

impl Medium {
    pub fn new() -> Self {
        Self {
            bytes: (0..BLOCKS * 512).map(|i| (i / 512 ^ i) as u8).collect(),
            flushes: 0,
            bad: None,
            discarded: Vec::new(),
        }
    }

    fn check(&self, offset: u64, length: usize) -> Result<std::ops::Range<usize>, DiskError> {
        disk::check_range(self.size(), offset, length)?;
        let range = offset..offset + length as u64;
        match self.bad.is_some_and(|bad| range.contains(&bad)) {
            true => Err(disk::invalid(offset, "broken")),
            false => Ok(range.start as usize..range.end as usize),
        }
    }
}

impl Disk for Medium {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        data.copy_from_slice(&self.bytes[self.check(offset, data.len())?]);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let range = self.check(offset, data.len())?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.flushes += 1;
        Ok(())
    }

    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.discarded.push((offset, length));
        Ok(())
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        Ok(Extent {
            length: self.size() - offset,
            place: Place::File { depth: 0, offset },
        })
    }
}

pub fn disk_unit() -> Unit {
    Unit::Disk(DiskUnit::new(DiskConfig {
        identity: Identity([7; 16]),
        block_size: 512,
        physical_block_size: 4096,
        blocks: BLOCKS,
        read_only: false,
        thin: true,
        most_transfer: MOST_TRANSFER,
    }))
}

/// What a request came back with.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub srb_status: u8,
    pub scsi_status: u8,
    pub moved: u32,
    pub sense: Vec<u8>,
}

pub struct Bench {
    pub controller: Controller,
    pub medium: Medium,
    pub ram: GuestMemory,
    pub packet_length: usize,
}

impl Bench {
    pub fn new(attachment: Attachment) -> Self {
        Self {
            controller: Controller::new(attachment, 4, MOST_TRANSFER),
            medium: Medium::new(),
            ram: GuestMemory::anonymous(2 << 20).expect("memory"),
            packet_length: 64,
        }
    }

    /// A SCSI controller with a disk at unit 0, after its handshake.
    pub fn ready() -> Self {
        let mut bench = Self::new(Attachment::Scsi {
            instance: Uuid::from_bytes([9; 16]),
        });
        assert_eq!(
            bench.controller.add(0, disk_unit()),
            None,
            "no one listens yet"
        );
        bench.shake_hands(Version::THRESHOLD);
        bench
    }

    pub fn shake_hands(&mut self, version: Version) {
        for (operation, payload) in [
            (Operation::BEGIN_INITIALIZATION, 0),
            (Operation::QUERY_PROTOCOL_VERSION, version.0),
            (Operation::QUERY_PROPERTIES, 0),
            (Operation::END_INITIALIZATION, 0),
        ] {
            assert_eq!(self.control(operation, &payload.to_le_bytes()).0, 0);
        }
        assert_eq!(self.controller.version(), Some(version));
    }

    pub fn send(&mut self, payload: &[u8], buffer: Buffer) -> Outcome {
        let packet = Packet {
            transaction_id: 77,
            wants_completion: true,
            payload,
            buffer,
        };
        self.controller.receive(packet, &self.ram)
    }

    /// A packet that is no request. Answers status and payload.
    pub fn control(&mut self, operation: Operation, payload: &[u8]) -> (u32, Vec<u8>) {
        let bytes = self.packet(operation, payload);
        let completion = match self.send(&bytes, Buffer::default()) {
            Outcome::Complete(completion) | Outcome::Subchannels(_, Some(completion)) => completion,
            other => panic!("no completion: {other:?}"),
        };
        assert_eq!(completion.payload.len(), self.packet_length);
        take_apart(&completion)
    }

    pub fn packet(&self, operation: Operation, payload: &[u8]) -> Vec<u8> {
        let mut bytes = operation.0.to_le_bytes().to_vec();
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes.resize(self.packet_length, 0);
        bytes
    }

    /// A SCSI request at path 0 with its buffer.
    pub fn request(&self, target: u8, lun: u8, cdb: &[u8], buffer: &Buffer) -> Vec<u8> {
        let mut payload = vec![52, 0, 0, 0, 0, 0, target, lun, cdb.len() as u8, 20, 1, 0];
        payload.extend((buffer.length() as u32).to_le_bytes());
        payload.extend(cdb);
        self.packet(Operation::EXECUTE_SRB, &payload)
    }

    /// Sends a request to unit 0 and does what it asks for.
    pub fn execute(&mut self, cdb: &[u8], pieces: &[(u64, u64)]) -> Ended {
        self.execute_at(0, 0, cdb, pieces)
    }

    pub fn execute_at(&mut self, target: u8, lun: u8, cdb: &[u8], pieces: &[(u64, u64)]) -> Ended {
        let buffer = Buffer::new(pieces.iter().map(|&(gpa, length)| Piece { gpa, length }));
        let packet = self.request(target, lun, cdb, &buffer);
        let completion = match self.send(&packet, buffer) {
            Outcome::Complete(completion) => completion,
            Outcome::Start(io) => perform(io, &mut self.medium, &self.ram).expect("it is wanted"),
            other => panic!("no request: {other:?}"),
        };
        let (status, payload) = take_apart(&completion);
        assert_eq!(status == 0, payload[2] == 1, "both say the same");
        Ended {
            srb_status: payload[2],
            scsi_status: payload[3],
            moved: u32::from_le_bytes(payload[12..16].try_into().expect("four")),
            sense: payload[16..16 + usize::from(payload[9]).min(20)].to_vec(),
        }
    }

    pub fn peek(&self, gpa: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram.read(gpa as u64, &mut bytes).expect("memory");
        bytes
    }
}

fn take_apart(completion: &Completion) -> (u32, Vec<u8>) {
    assert_eq!(completion.transaction_id, 77);
    let word = |at: usize| {
        let bytes = completion.payload[at..at + 4].try_into().expect("four");
        u32::from_le_bytes(bytes)
    };
    assert_eq!(word(0), Operation::COMPLETE_IO.0);
    (word(8), completion.payload[12..].to_vec())
}
