//! RNDIS control messages and their answers. Source: [MS-RNDIS] §2.2.

use crate::adapter::Adapter;
use crate::wire::rndis::{COMPLETE, HEADER_LENGTH, Header, MessageType, Request, Status, message};
use crate::wire::{self};
use zerocopy::byteorder::little_endian::U32;

/// Frames that one message may carry.
pub(crate) const MOST_PACKETS_A_MESSAGE: u32 = 8;
/// Bytes of one message to us.
const MOST_TRANSFER: u32 = 0x4000 * MOST_PACKETS_A_MESSAGE;
/// Frames in a message begin at multiples of this power of two.
const ALIGNMENT_POWER: u32 = 3;
/// RNDIS 1.0.
const VERSION: [u32; 2] = [1, 0];
/// Bytes of QUERY_CMPLT before its value.
const QUERY_COMPLETE: u32 = 16;

/// Answers a control message, if it has an answer.
pub(crate) fn control(adapter: &mut Adapter, bytes: &[u8]) -> Option<Vec<u8>> {
    let header: Header = wire::at(bytes, 0)?;
    let length = usize::try_from(header.length.get()).ok()?;
    let body = bytes.get(HEADER_LENGTH..length)?;
    let kind = MessageType(header.kind.get());
    // A message without its number can't be answered.
    let id: U32 = wire::at(body, 0)?;
    let words = match kind {
        MessageType::INITIALIZE => {
            adapter.reset();
            let [major, minor] = VERSION;
            // Connectionless, Ethernet.
            let [connectionless, ethernet] = [1, 0];
            vec![
                Status::SUCCESS.0,
                major,
                minor,
                connectionless,
                ethernet,
                MOST_PACKETS_A_MESSAGE,
                MOST_TRANSFER,
                ALIGNMENT_POWER,
                0,
                0,
            ]
        }
        MessageType::QUERY => return Some(query(adapter, id, body)),
        MessageType::SET => vec![set(adapter, body).0],
        // The filter and the list of addresses are gone (§2.2.12).
        MessageType::RESET => {
            adapter.reset();
            let words = [Status::SUCCESS.0, 1].map(U32::new);
            return Some(answer(kind, &words));
        }
        MessageType::KEEPALIVE => vec![Status::SUCCESS.0],
        MessageType::HALT => {
            adapter.reset();
            return None;
        }
        _ => return None,
    };
    let words: Vec<U32> = [id]
        .into_iter()
        .chain(words.into_iter().map(U32::new))
        .collect();
    Some(answer(kind, &words))
}

fn answer(kind: MessageType, words: &[U32]) -> Vec<u8> {
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_bytes()).collect();
    message(kind.0 | COMPLETE, &body)
}

fn query(adapter: &Adapter, id: U32, body: &[u8]) -> Vec<u8> {
    let request: Option<Request> = wire::at(body, 0);
    let result = match request {
        Some(request) => adapter.query(request.oid.get()),
        None => Err(Status::INVALID_LENGTH),
    };
    let (status, value) = match result {
        Ok(value) => (Status::SUCCESS, value),
        Err(status) => (status, Vec::new()),
    };
    let offset = if value.is_empty() { 0 } else { QUERY_COMPLETE };
    let words = [id.get(), status.0, value.len() as u32, offset];
    let mut answer: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    answer.extend(value);
    message(MessageType::QUERY.0 | COMPLETE, &answer)
}

fn set(adapter: &mut Adapter, body: &[u8]) -> Status {
    let Some(request) = wire::at::<Request>(body, 0) else {
        return Status::INVALID_LENGTH;
    };
    let start = request.offset.get() as usize;
    let value = start
        .checked_add(request.length.get() as usize)
        .and_then(|end| body.get(start..end));
    match value {
        Some(value) => adapter.set(request.oid.get(), value),
        None => Status::INVALID_LENGTH,
    }
}

/// INDICATE_STATUS: the cable was plugged in or out (§2.2.7).
pub(crate) fn link(connected: bool) -> Vec<u8> {
    let status = match connected {
        true => Status::MEDIA_CONNECT,
        false => Status::MEDIA_DISCONNECT,
    };
    let words = [status.0, 0, 0];
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    message(MessageType::INDICATE_STATUS.0, &body)
}
