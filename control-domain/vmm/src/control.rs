//! The machine's socket: requests of clients, carried out. `management` is the protocol.

mod drives;
mod follow;
mod guest;

use crate::dynamic_memory;
use crate::inspect;
use crate::running::Running;
use management::{Answer, Folder, Request, read_line, write_line};
use serde_json::{Value, json};
use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Clients at the same time; further ones are turned away.
const MOST_CLIENTS: usize = 64;
/// How long clients have to take what is left when the machine has ended.
const TIME_TO_TAKE_LEAVE: Duration = Duration::from_secs(1);

/// The socket, until this is dropped.
pub struct Listener {
    socket: PathBuf,
    clients: Arc<AtomicUsize>,
}

/// Listens for clients, on threads that end with the process.
///
/// # Errors
/// One sentence: the machine runs already, or there can be no socket.
pub fn listen(running: &Running) -> Result<Listener, String> {
    let folder = Folder::usual();
    let name = running.hardware().file.name.clone();
    let (listener, socket) = (folder.listen(&name)?, folder.socket(&name)?);
    let clients = Arc::new(AtomicUsize::new(0));
    let (running, counted) = (running.clone(), clients.clone());
    std::thread::Builder::new()
        .name("management".into())
        .spawn(move || accept(&listener, &running, &counted))
        .map_err(|error| format!("can't listen for clients: {error}"))?;
    Ok(Listener { socket, clients })
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let step = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while self.clients.load(SeqCst) > 0 && waited < TIME_TO_TAKE_LEAVE {
            std::thread::sleep(step);
            waited += step;
        }
    }
}

fn accept(listener: &UnixListener, running: &Running, clients: &Arc<AtomicUsize>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is left, perhaps: later.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if clients.fetch_add(1, SeqCst) >= MOST_CLIENTS {
            let too_many = Answer::Error(format!("there are {MOST_CLIENTS} clients already"));
            let _ = write_line(&stream, &too_many);
            clients.fetch_sub(1, SeqCst);
            continue;
        }
        let (running, counted) = (running.clone(), clients.clone());
        let serve = move || {
            // A client that has gone is nobody's mistake.
            let _ = serve(&running, stream);
            counted.fetch_sub(1, SeqCst);
        };
        let thread = std::thread::Builder::new().name("client".into());
        if thread.spawn(serve).is_err() {
            clients.fetch_sub(1, SeqCst);
        }
    }
}

fn serve(running: &Running, stream: UnixStream) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let request = match read_line::<Request>(&mut from) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return write_line(stream, &Answer::Error(format!("no such request: {error}")));
        }
        Err(error) => return Err(error),
    };
    match request {
        Request::Console { port } => follow::console(running, port, from, stream),
        Request::Events => follow::events(running, stream),
        Request::Screenshot => screenshot(running, stream),
        request => write_line(stream, &Answer::from(carry_out(running, request))),
    }
}

fn carry_out(running: &Running, request: Request) -> Result<Value, String> {
    match request {
        Request::State => Ok(inspect::state(running)),
        Request::Show => Ok(inspect::tree(running)),
        Request::Stop { turn_off } => stop(running, turn_off),
        Request::Type { text } => guest::type_text(running, &text),
        Request::Freeze { seconds } => guest::freeze(running, seconds),
        Request::Thaw => guest::thaw(running),
        Request::Memory { assign_mib } => match assign_mib {
            Some(mib) => dynamic_memory::assign(running, mib),
            None => dynamic_memory::state(running),
        },
        Request::CopyFile {
            source,
            destination,
            create_path,
            force,
        } => guest::copy_file(running, &source, &destination, create_path, force),
        Request::AddDisk { place, path } => drives::add_disk(running, place, path),
        Request::ResizeDisk { place, size_bytes } => {
            drives::resize_disk(running, place, size_bytes)
        }
        Request::RemoveDisk { place } => drives::remove(running, place),
        Request::InsertDisc { place, path } => drives::change_disc(running, place, path),
        Request::Console { .. } | Request::Events | Request::Screenshot => {
            Err("it has more than an answer".into())
        }
    }
}

fn stop(running: &Running, turn_off: bool) -> Result<Value, String> {
    if running.machine().is_none() {
        return Err("it is just starting".into());
    }
    if turn_off {
        running.turn_off("turned off");
    } else if !running.ask_to_power_off() {
        return Err("the guest has no driver that shuts it down, and no system that watches the power button; \
            --turn-off ends it like a power cut"
            .into());
    }
    Ok(json!({"asked": !turn_off}))
}

fn screenshot(running: &Running, mut stream: UnixStream) -> io::Result<()> {
    let picture = running
        .machine()
        .and_then(|machine| machine.with_board(|board, _, _| board.picture()));
    let Some(picture) = picture else {
        let why = "the screen is off, or in a mode that no picture is made of";
        return write_line(stream, &Answer::Error(why.into()));
    };
    let size = json!({"width": picture.width, "height": picture.height});
    write_line(&stream, &Answer::Ok(size))?;
    stream.write_all(&picture.rgb)
}
