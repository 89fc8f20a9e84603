//! Requests that go on after their answer.

use crate::running::Running;
use crate::terminal;
use management::{Answer, write_line};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// What of a serial line's past is shown to who comes later, in bytes.
const PAST_BYTES: u64 = 4096;

/// Both directions of a serial line, `port` as people count: 1 is COM1.
pub fn console(
    running: &Running,
    port: usize,
    mut from: impl Read + Send + 'static,
    mut to: UnixStream,
) -> io::Result<()> {
    let index = port.wrapping_sub(1);
    let Some(line) = running.serial(index) else {
        let why = format!("there is no COM{port}");
        return write_line(to, &Answer::Error(why));
    };
    write_line(&to, &Answer::Ok(Value::Null))?;
    let (machine, other) = (running.clone(), to.try_clone()?);
    let read = move || {
        let mut bytes = [0; 256];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            terminal::send_to_serial(&machine, index, &bytes[..length]);
        }
        // The client has gone: nothing more is to be written to it.
        let _ = other.shutdown(Shutdown::Both);
    };
    std::thread::Builder::new()
        .name("console".into())
        .spawn(read)?;
    let mut next = line.count().saturating_sub(PAST_BYTES);
    while let Some(bytes) = line.read(&mut next) {
        to.write_all(&bytes)?;
    }
    to.shutdown(Shutdown::Both)
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
