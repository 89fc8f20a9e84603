//! RNDIS packets into frames. Source: [MS-RNDIS] §2.2.14.

use crate::offload::{Frame, Offload};
use crate::wire;
use crate::wire::rndis::{HEADER_LENGTH, Header, INFO_LENGTH, Info, MessageType, Packet};

/// Fewest bytes of a frame: its Ethernet header.
const LEAST_FRAME: usize = 14;

/// A message that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// All frames of a message. `bytes` is our own copy of it.
pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<Frame>, Malformed> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    // What is left behind the last packet may be what aligned it.
    while let Some(header) = wire::at::<Header>(rest, 0) {
        let length = header.length.get() as usize;
        if header.kind.get() != MessageType::PACKET.0 || length < HEADER_LENGTH {
            return Err(Malformed);
        }
        let body = rest.get(HEADER_LENGTH..length).ok_or(Malformed)?;
        frames.push(frame(body)?);
        rest = &rest[length..];
    }
    match frames.is_empty() {
        true => Err(Malformed),
        false => Ok(frames),
    }
}

fn frame(body: &[u8]) -> Result<Frame, Malformed> {
    let packet: Packet = wire::at(body, 0).ok_or(Malformed)?;
    let data = part(body, packet.data_offset.get(), packet.data_length.get())?;
    if data.len() < LEAST_FRAME {
        return Err(Malformed);
    }
    let info = part(body, packet.info_offset.get(), packet.info_length.get())?;
    Ok(Frame {
        bytes: data.to_vec(),
        offload: beside(info)?,
    })
}

fn beside(mut rest: &[u8]) -> Result<Offload, Malformed> {
    let mut offload = Offload::default();
    while !rest.is_empty() {
        let info: Info = wire::at(rest, 0).ok_or(Malformed)?;
        let length = info.length.get() as usize;
        if length < INFO_LENGTH {
            return Err(Malformed);
        }
        let whole = rest.get(..length).ok_or(Malformed)?;
        let offset = info.offset.get() as usize;
        let value: Option<[u8; 4]> = wire::at(whole, offset);
        if let Some(value) = value {
            offload.add(info.kind.get(), u32::from_le_bytes(value));
        }
        rest = &rest[length..];
    }
    Ok(offload)
}

fn part(body: &[u8], offset: u32, length: u32) -> Result<&[u8], Malformed> {
    let start = offset as usize;
    let end = start.checked_add(length as usize).ok_or(Malformed)?;
    match length {
        0 => Ok(&[]),
        _ => body.get(start..end).ok_or(Malformed),
    }
}
