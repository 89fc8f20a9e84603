//! What the host's program has sent, on its way to the guest.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use vmbus::Doorbell;

/// Most bytes that wait; then the program waits.
const MOST_BYTES: usize = 64 << 10;
/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// The bytes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: VecDeque<u8>,
    /// The program sends nothing more.
    ended: bool,
    /// Nobody takes anything any more.
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads ahead on a thread of its own, which ends with the stream, and rings when there is something.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn fill_from(&self, mut stream: UnixStream, bell: Doorbell) -> io::Result<()> {
        let inbox = self.clone();
        let read = move || {
            let mut buffer = vec![0; READ_BYTES];
            loop {
                let read = match stream.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.unwrap_or(0),
                };
                let waiting = inbox.lock();
                let full = |w: &mut Waiting| w.bytes.len() >= MOST_BYTES && !w.closed;
                let waited = inbox.0.1.wait_while(waiting, full);
                let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
                waiting.bytes.extend(&buffer[..read]);
                waiting.ended = read == 0;
                let over = waiting.ended || waiting.closed;
                drop(waiting);
                bell.ring();
                if over {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("socket".into());
        thread.spawn(read).map(drop)
    }

    /// The next bytes, at most so many; nothing at the end. `None`: none are there yet.
    pub fn peek(&self, most: usize) -> Option<Vec<u8>> {
        let waiting = self.lock();
        let bytes: Vec<u8> = waiting.bytes.iter().take(most).copied().collect();
        (!bytes.is_empty() || waiting.ended).then_some(bytes)
    }

    /// Takes them away.
    pub fn consume(&self, count: usize) {
        let mut waiting = self.lock();
        let count = count.min(waiting.bytes.len());
        waiting.bytes.drain(..count);
        self.0.1.notify_all();
    }

    /// Nobody takes anything any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.1.notify_all();
    }
}
