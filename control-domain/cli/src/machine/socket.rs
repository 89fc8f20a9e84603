//! `entente socket`: standard input and output, connected to a service of a running guest.

use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{listen_at, sockets_of};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The longest line that a machine begins with.
const MOST_LINE_BYTES: usize = 256;
const LISTEN: Opt = Opt::flag("listen", "wait until the guest connects to the port");

/// `entente socket NAME PORT`
pub const SOCKET: Command = Command {
    name: "socket",
    summary: "connect standard input and output to a port of a running guest (AF_VSOCK in Linux)",
    operands: &["NAME", "PORT"],
    options: &[LISTEN],
    notes: "PORT may be the GUID of a service too. It ends when the guest ends the connection. docs/sockets.md is for programs.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let (machine, port) = (given.text(0)?, given.text(1)?);
    let folder = sockets_of(machine).map_err(Failure::Failed)?;
    let stream = match given.has(LISTEN.name) {
        true => accept(&folder.join(port)),
        false => connect(&folder.join("connect"), port),
    };
    stream
        .and_then(exchange)
        .map_err(|why| Failure::Failed(format!("machine {machine}, port {port}: {why}")))?;
    Ok(Report::new(String::new(), Value::Null))
}

/// Waits for one connection of the guest.
fn accept(socket: &Path) -> io::Result<UnixStream> {
    let listener = listen_at(socket)?;
    let accepted = listener.accept();
    std::fs::remove_file(socket)?;
    accepted.map(|(stream, _)| stream)
}

fn connect(socket: &Path, port: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "CONNECT {port}")?;
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MOST_LINE_BYTES && stream.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line);
    match line.strip_prefix("ERROR ") {
        Some(why) => Err(io::Error::other(why.to_owned())),
        None if line.starts_with("OK ") => Ok(stream),
        None => Err(io::Error::other("no program of the guest listens there")),
    }
}

/// Passes bytes on, both ways, until the guest sends no more.
fn exchange(mut from: UnixStream) -> io::Result<()> {
    let mut to = from.try_clone()?;
    std::thread::spawn(move || {
        // A guest that has gone is seen by the other direction.
        let _ = io::copy(&mut io::stdin(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut out = io::stdout();
    io::copy(&mut from, &mut out)?;
    out.flush()
}
