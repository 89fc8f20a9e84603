//! Serial ports as streams: a client at the other end of COM1 or COM2.
//!
//! A machine file may name a Unix socket for a port, as Hyper-V's named pipes are named: for a terminal
//! program, or a debugger of the guest's kernel.

use crate::machine_file::SerialPortEntry;
use crate::running::Running;
use crate::terminal;
use management::listen_at;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The socket of a port, which goes when this is dropped.
pub struct Listener(PathBuf);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens for clients of a port. Each gets the bytes from when it came; a port without clients loses them, as
/// a line without a cable.
///
/// # Errors
/// One sentence with the socket's path.
pub fn listen(running: &Running, entry: &SerialPortEntry) -> Result<Listener, String> {
    let path = running.folder().join(&entry.socket);
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "COM{}: {}: something else is there, or listens there; name another socket",
            entry.port,
            path.display()
        ),
        _ => format!("COM{}: {}: {error}", entry.port, path.display()),
    };
    let listener = listen_at(&path).map_err(fail)?;
    let (running, index) = (running.clone(), entry.port.wrapping_sub(1));
    std::thread::Builder::new()
        .name("serial port".into())
        .spawn(move || accept(&listener, &running, index))
        .map_err(fail)?;
    Ok(Listener(path))
}

/// One client at a time, as with a cable; the next one waits.
fn accept(listener: &UnixListener, running: &Running, index: usize) {
    for stream in listener.incoming() {
        let (Ok(stream), Some(line)) = (stream, running.serial(index)) else {
            return;
        };
        let next = line.count();
        if let Ok(from) = stream.try_clone() {
            // A client that has gone is nobody's mistake.
            let _ = connect(running, index, from, stream, next);
        }
    }
}

/// Connects a client with the port `index` (0 is COM1) until one of them ends. What the port has put out is
/// sent from its byte `next` on.
///
/// # Errors
/// The client has gone.
pub fn connect(
    running: &Running,
    index: usize,
    mut from: impl Read + Send + 'static,
    mut to: UnixStream,
    mut next: u64,
) -> io::Result<()> {
    let Some(line) = running.serial(index) else {
        return Ok(());
    };
    let (machine, other) = (running.clone(), to.try_clone()?);
    let gone = Arc::new(AtomicBool::new(false));
    let (theirs, leaves) = (line.clone(), gone.clone());
    let read = move || {
        let mut bytes = [0; 256];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            terminal::send_to_serial(&machine, index, &bytes[..length]);
        }
        // The client has gone: nothing more is to be written to it.
        let _ = other.shutdown(Shutdown::Both);
        theirs.leave(&leaves);
    };
    std::thread::Builder::new()
        .name("serial client".into())
        .spawn(read)?;
    while let Some(bytes) = line.read_unless(&mut next, &gone) {
        to.write_all(&bytes)?;
    }
    to.shutdown(Shutdown::Both)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dynamic_memory::Granules;
    use crate::machine_file::MachineFile;
    use devices::ByteSink as _;

    #[test]
    fn clients_come_one_after_the_other_and_see_what_comes_then() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name: x\ngeneration: 1\nprocessors: 1\nmemory_mib: 16\nserial_ports: [{port: 2, socket: com2}]\n";
        std::fs::write(folder.path().join("machine.yaml"), text).unwrap();
        let file = MachineFile::read(folder.path()).unwrap();
        let entry = file.serial_ports[0].clone();
        let running = Running::new(folder.path().to_owned(), file, Granules::default());
        let mut line = running.serial(1).unwrap().clone();
        b"nobody hears".iter().for_each(|byte| line.put(*byte));
        let listener = listen(&running, &entry).unwrap();
        let error = listen(&running, &entry).err().unwrap();
        assert!(error.contains("COM2") && error.contains("com2"), "{error}");
        for word in [b"first", b"other"] {
            let mut client = UnixStream::connect(folder.path().join("com2")).unwrap();
            // Nothing says when the vmm has taken a client: it hears from then on.
            let said = std::iter::from_fn(|| {
                word.iter().for_each(|byte| line.put(*byte));
                client
                    .set_read_timeout(Some(std::time::Duration::from_millis(20)))
                    .ok()?;
                let mut bytes = [0; 5];
                Some(client.read_exact(&mut bytes).is_ok().then_some(bytes))
            });
            let heard = said.flatten().next().unwrap();
            assert!(word.repeat(2).windows(5).any(|part| part == heard));
        }
        drop(listener);
        assert!(!folder.path().join("com2").exists());
    }
}
