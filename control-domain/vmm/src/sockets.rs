//! Sockets between the guest and programs of the control domain: which Unix socket belongs to which service.
//! docs/sockets.md is for who writes such programs.

use crate::machine::Machine;
use crate::running::Running;
use crate::vmbus_host::Vmbus;
use hv_socket::{Connection, Life, Service};
use hypercall::Calls;
use management::listen_at;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};
use vmbus::{ConnectRequest, Endpoint};

/// The socket on which programs ask to be connected to the guest.
const TO_GUEST: &str = "connect";
/// Connections of a machine at the same time.
const MOST_CONNECTIONS: usize = 64;
/// How long a guest has to take a connection, and a program to say what it wants.
const TIME_TO_CONNECT: Duration = Duration::from_secs(10);
/// Longest line that says so.
const MOST_LINE_BYTES: u64 = 64;

/// A machine's sockets. Clones are the same.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    folder: PathBuf,
    /// Programs that wait to be connected.
    programs: Mutex<Vec<(UnixStream, Service)>>,
    connections: AtomicUsize,
    /// Tells our ends of connections apart.
    next_port: AtomicU32,
}

/// The socket of programs, until this is dropped.
pub struct Listener(PathBuf);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.join(TO_GUEST));
        // Programs may listen there still.
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Sockets {
    /// The sockets in a machine's folder.
    pub fn at(folder: PathBuf) -> Self {
        Self(Arc::new(Shared {
            folder,
            ..Shared::default()
        }))
    }

    fn listen(&self) -> io::Result<UnixListener> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0.folder)?;
        listen_at(&self.0.folder.join(TO_GUEST))
    }

    fn next_program(&self) -> Option<(UnixStream, Service)> {
        let mut programs = self
            .0
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        programs.pop()
    }
}

/// Listens for programs, on threads that end with the process.
///
/// # Errors
/// One sentence: there can be no socket.
pub fn listen(running: &Running) -> Result<Listener, String> {
    let sockets = running.sockets();
    let folder = sockets.0.folder.clone();
    let fail = |error: io::Error| format!("{}: {error}", folder.display());
    let listener = sockets.listen().map_err(fail)?;
    let running = running.clone();
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let running = running.clone();
            // One for which there is no thread finds its stream closed.
            let thread = std::thread::Builder::new().name("socket".into());
            let _ = thread.spawn(move || ask(&running, stream));
        }
    };
    let thread = std::thread::Builder::new().name("sockets".into());
    thread.spawn(accept).map_err(fail)?;
    Ok(Listener(folder.clone()))
}

/// Reads what a program wants, and has it connected.
fn ask(running: &Running, mut stream: UnixStream) {
    let wanted = read_wish(&stream);
    let machine = running.machine();
    let vmbus = machine.as_ref().and_then(|machine| machine.vmbus.as_ref());
    match (wanted, vmbus) {
        (Ok(service), Some(vmbus)) => {
            let programs = &running.sockets().0.programs;
            let mut programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
            programs.push((stream, service));
            drop(programs);
            vmbus.bus.connect_bell().ring();
        }
        (Ok(_), None) => refuse(&mut stream, "the machine is just starting"),
        (Err(why), _) => refuse(&mut stream, &why),
    }
}

fn refuse(stream: &mut UnixStream, why: &str) {
    // A program that has gone is nobody's mistake.
    let _ = stream.write_all(format!("ERROR {why}\n").as_bytes());
}

/// `CONNECT 5000` or `CONNECT 00001388-facb-11e6-bd58-64006a7986d3`.
fn read_wish(stream: &UnixStream) -> Result<Service, String> {
    let fail = |error: io::Error| error.to_string();
    stream
        .set_read_timeout(Some(TIME_TO_CONNECT))
        .map_err(fail)?;
    // A byte at a time: what follows the line is the guest's.
    let mut line = String::new();
    let from = BufReader::with_capacity(1, stream);
    from.take(MOST_LINE_BYTES)
        .read_line(&mut line)
        .map_err(fail)?;
    stream.set_read_timeout(None).map_err(fail)?;
    match line.trim_end().split_once(' ') {
        Some(("CONNECT", service)) => service.parse(),
        _ => Err("the first line is CONNECT and a port or a GUID".into()),
    }
}

impl<C: Calls + Sync> Machine<C> {
    /// Connects both ways until the machine stops.
    pub(crate) fn serve_sockets<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        vmbus: &'scope Vmbus,
    ) {
        while !self.stopping() {
            while let Some(request) = vmbus.bus.next_connect() {
                self.connect_out(scope, vmbus, &request);
            }
            while let Some((stream, service)) = vmbus.sockets.next_program() {
                self.connect_in(scope, vmbus, stream, service);
            }
            vmbus.bus.connect_bell().wait(None);
        }
    }

    /// The guest wants to reach a program.
    fn connect_out<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        vmbus: &'scope Vmbus,
        request: &ConnectRequest,
    ) {
        let service = Service(request.service);
        let path = vmbus.sockets.0.folder.join(service.to_string());
        let full = vmbus.sockets.0.connections.load(SeqCst) >= MOST_CONNECTIONS;
        match UnixStream::connect(path) {
            Ok(stream) if !full => {
                let device = Connection::from_guest(stream, request.endpoint, service);
                self.start_connection(scope, vmbus, device);
            }
            _ => vmbus.bus.refuse_connect(&self.vmbus_guest(), request),
        }
    }

    /// A program wants to reach the guest.
    fn connect_in<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        vmbus: &'scope Vmbus,
        mut stream: UnixStream,
        service: Service,
    ) {
        if vmbus.sockets.0.connections.load(SeqCst) >= MOST_CONNECTIONS {
            return refuse(&mut stream, "there are too many connections already");
        }
        // Above the ports that people choose.
        let port = vmbus.sockets.0.next_port.fetch_add(1, SeqCst) | 1 << 31;
        let endpoint = Service::of_port(port).0;
        let greeting = format!("OK {service}\n");
        let device = Connection::to_guest(stream, endpoint, service, &greeting);
        self.start_connection(scope, vmbus, device);
    }

    fn start_connection<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        vmbus: &'scope Vmbus,
        device: Connection,
    ) {
        vmbus.sockets.0.connections.fetch_add(1, SeqCst);
        let life = device.life();
        let endpoint = vmbus.bus.add(Box::new(device));
        self.flush_vmbus(vmbus);
        scope.spawn(move || {
            self.serve_connection(vmbus, &endpoint, &life);
            vmbus.sockets.0.connections.fetch_sub(1, SeqCst);
        });
    }

    fn serve_connection(&self, vmbus: &Vmbus, endpoint: &Arc<Endpoint>, life: &Life) {
        let offered = Instant::now();
        while !self.stopping() && !life.has_ended() {
            let served = vmbus.bus.serve(&self.vmbus_guest(), endpoint);
            let mut timeout = served.next_ns.map(|ns| self.clock.until_ns(ns));
            if !life.was_opened() {
                let left = TIME_TO_CONNECT.saturating_sub(offered.elapsed());
                if left.is_zero() {
                    break;
                }
                timeout = Some(left);
            }
            if !life.has_ended() {
                endpoint.doorbell().wait(timeout);
            }
        }
        vmbus.bus.remove(&self.vmbus_guest(), endpoint);
        self.flush_vmbus(vmbus);
    }
}
