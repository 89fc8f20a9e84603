//! Requests that go on after their answer.

use crate::running::Running;
use crate::serial_port;
use management::{Answer, write_line};
use serde_json::Value;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// What of a serial line's past is shown to who comes later, in bytes.
const PAST_BYTES: u64 = 4096;

/// Both directions of a serial line, `port` as people count: 1 is COM1.
pub fn console(
    running: &Running,
    port: usize,
    from: impl Read + Send + 'static,
    to: UnixStream,
) -> io::Result<()> {
    let index = port.wrapping_sub(1);
    let Some(line) = running.serial(index) else {
        let why = format!("there is no COM{port}");
        return write_line(to, &Answer::Error(why));
    };
    write_line(&to, &Answer::Ok(Value::Null))?;
    let next = line.count().saturating_sub(PAST_BYTES);
    serial_port::connect(running, index, from, to, next)
}

/// All events, from the first that is kept to the machine's end.
pub fn events(running: &Running, to: UnixStream) -> io::Result<()> {
    write_line(&to, &Answer::Ok(Value::Null))?;
    let mut next = 0;
    while let Some(events) = running.events().history().read(&mut next) {
        for event in events {
            write_line(&to, &event)?;
        }
    }
    Ok(())
}
