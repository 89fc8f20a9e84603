//! SynIC messages and the queue in which they wait for their slot (TLFS, HV_MESSAGE).

/// A message of 256 bytes as words. Word 0: type in 31:0, payload size in 39:32, flags in 47:40.
/// Word 1: sender or port. Words 2 to 31: payload.
pub type Message = [u64; 32];

/// Bit of word 0: more messages wait for this slot.
pub const MESSAGE_PENDING: u64 = 1 << 40;

/// Most payload bytes in a message.
pub const MAX_PAYLOAD_BYTES: u64 = 240;

/// Messages that a processor can hold back, as many as a port of Hyper-V has buffers (TLFS, Message
/// Buffers).
pub const QUEUE_LENGTH: usize = 16;

/// Has it a type, and a payload that fits?
pub fn is_legal_message(message: &Message) -> bool {
    message[0] as u32 != 0 && message[0] >> 32 & 0xff <= MAX_PAYLOAD_BYTES
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostError {
    /// Too many messages wait: post again later.
    QueueFull,
    /// The source number is above 15, the type is 0 or the payload longer than 240 bytes.
    Invalid,
}

/// Messages in the order in which they were posted, for all sources of a processor. The messages
/// lie last, so that an empty queue touches few bytes.
#[derive(Debug)]
#[repr(C)]
pub struct MessageQueue {
    length: usize,
    /// Source of each message in use.
    source: [Option<u8>; QUEUE_LENGTH],
    /// Indices of the messages in use, oldest first.
    order: [u8; QUEUE_LENGTH],
    messages: [Message; QUEUE_LENGTH],
}

impl MessageQueue {
    /// Empty.
    pub fn new() -> Self {
        Self {
            messages: [[0; 32]; QUEUE_LENGTH],
            source: [None; QUEUE_LENGTH],
            order: [0; QUEUE_LENGTH],
            length: 0,
        }
    }

    /// Is nothing queued at all?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Is there room for another message?
    pub fn has_room(&self) -> bool {
        self.length < QUEUE_LENGTH
    }

    /// Appends.
    pub fn push(&mut self, source: u8, message: &Message) -> Result<(), PostError> {
        let free = self
            .source
            .iter()
            .position(Option::is_none)
            .ok_or(PostError::QueueFull)?;
        self.messages[free] = *message;
        self.source[free] = Some(source);
        self.order[self.length] = free as u8;
        self.length += 1;
        Ok(())
    }

    /// The oldest message of a source.
    pub fn first(&self, source: u8) -> Option<&Message> {
        self.place(source)
            .map(|place| &self.messages[usize::from(self.order[place])])
    }

    /// Takes the oldest message of a source out.
    pub fn pop(&mut self, source: u8) {
        if let Some(place) = self.place(source) {
            self.source[usize::from(self.order[place])] = None;
            self.order.copy_within(place + 1..self.length, place);
            self.length -= 1;
        }
    }

    fn place(&self, source: u8) -> Option<usize> {
        self.order[..self.length]
            .iter()
            .position(|&index| self.source[usize::from(index)] == Some(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Message {
        let mut message = [0; 32];
        message[2] = number;
        message
    }

    #[test]
    fn each_source_is_first_in_first_out() {
        let mut queue = MessageQueue::new();
        for number in 0..6 {
            queue.push((number % 2) as u8, &message(number)).unwrap();
        }
        for number in [1, 3, 5] {
            assert_eq!(queue.first(1).unwrap()[2], number);
            queue.pop(1);
        }
        assert!(queue.first(1).is_none());
        for number in [0, 2, 4] {
            assert_eq!(queue.first(0).unwrap()[2], number);
            queue.pop(0);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn all_is_bounded() {
        let mut queue = MessageQueue::new();
        for number in 0..QUEUE_LENGTH as u64 {
            assert!(queue.has_room());
            assert_eq!(queue.push((number % 3) as u8, &message(number)), Ok(()));
        }
        assert!(!queue.has_room());
        assert_eq!(queue.push(2, &message(0)), Err(PostError::QueueFull));
        queue.pop(0);
        queue.pop(9);
        assert_eq!(queue.push(5, &message(7)), Ok(()));
        assert_eq!(queue.first(5).unwrap()[2], 7);
        assert_eq!(queue.first(0).unwrap()[2], 3);
        assert!(queue.first(9).is_none());
    }
}
