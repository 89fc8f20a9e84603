//! A machine's TPM: `swtpm`, a process beside the vmm, with its state in the machine's folder.
//!
//! Commands go to it over a socket, one after the other, and changes of the locality and cancellations over a
//! second one (swtpm's `swtpm_ioctls(3)`). It ends when the vmm does, however that ends.

use crate::running::Running;
use devices::tpm::TpmBackend;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

const PROGRAM: &str = "swtpm";
/// Where it keeps its state, in the machine's folder.
const FOLDER: &str = "tpm";
/// Bytes of a response before its parameters, with its size at 2 (TPM 2.0 Library Part 1, §18).
const HEADER_BYTES: usize = 10;
/// A response that says that it has more is not one.
const MOST_RESPONSE_BYTES: usize = 4096;
/// TPM_RC_FAILURE, as a response, for commands that nobody executes any more.
const FAILURE: [u8; HEADER_BYTES] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];
// Commands of the control channel.
const SHUT_DOWN: u32 = 3;
const SET_LOCALITY: u32 = 5;
const CANCEL: u32 = 9;

/// Starts the TPM of a machine that is about to run.
///
/// # Errors
/// As [`SoftwareTpm::start`].
pub fn start(running: &Running) -> Result<SoftwareTpm, String> {
    let machine = running.clone();
    SoftwareTpm::start(running.folder(), move |number, response| {
        if let Some(machine) = machine.machine() {
            machine.with_board(|board, _, _| board.respond_tpm(number, response));
        }
    })
}

/// A TPM that runs.
pub struct SoftwareTpm {
    process: Child,
    control: Control,
    commands: Sender<(u64, u8, Vec<u8>)>,
}

impl SoftwareTpm {
    /// Starts the TPM of the machine in a folder. `respond` is given each response with its command's number, on a
    /// thread of the TPM's.
    ///
    /// # Errors
    /// One sentence: the program or its state is missing.
    pub fn start(
        folder: &Path,
        respond: impl Fn(u64, &[u8]) + Send + 'static,
    ) -> Result<Self, String> {
        let state = folder.join(FOLDER);
        let of_state = |error: io::Error| format!("TPM: {}: {error}", state.display());
        std::fs::create_dir_all(&state).map_err(of_state)?;
        let of_socket = |error: io::Error| format!("TPM: no socket: {error}");
        let (data, its_data) = pair().map_err(of_socket)?;
        let (control, its_control) = pair().map_err(of_socket)?;
        let process = Command::new(PROGRAM)
            .args(["socket", "--tpm2", "--terminate", "--flags", "not-need-init"])
            .arg("--tpmstate")
            .arg(format!("dir={},mode=0600", state.display()))
            .args(["--locality", "allow-set-locality"])
            .arg("--fd")
            .arg(its_data.as_raw_fd().to_string())
            .arg("--ctrl")
            .arg(format!("type=unixio,clientfd={}", its_control.as_raw_fd()))
            .spawn()
            .map_err(|error| {
                format!("TPM: {PROGRAM} can't be started: {error}; is it in the image? Without it, take `tpm` out of the machine file")
            })?;
        let (commands, received) = channel();
        let control = Control(Arc::new(Mutex::new(control)));
        let for_thread = control.clone();
        std::thread::Builder::new()
            .name("TPM".into())
            .spawn(move || serve(data, &for_thread, &received, respond))
            .map_err(of_socket)?;
        Ok(Self {
            process,
            control,
            commands,
        })
    }
}

impl TpmBackend for SoftwareTpm {
    fn execute(&mut self, number: u64, locality: u8, command: &[u8]) {
        // Without its thread the machine has no TPM any more; that was said.
        let _ = self.commands.send((number, locality, command.to_vec()));
    }

    fn cancel(&mut self) {
        if let Err(error) = self.control.ask(&CANCEL.to_be_bytes()) {
            eprintln!("entente-vmm: TPM: a command can't be cancelled: {error}");
        }
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        // It has written what it keeps before it answered: this is for its log alone.
        let _ = self.control.ask(&SHUT_DOWN.to_be_bytes());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The control channel.
#[derive(Clone)]
struct Control(Arc<Mutex<UnixStream>>);

impl Control {
    fn ask(&self, request: &[u8]) -> io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(request)?;
        let mut result = [0; 4];
        stream.read_exact(&mut result)?;
        match u32::from_be_bytes(result) {
            0 => Ok(()),
            code => Err(io::Error::other(format!("TPM error {code:#x}"))),
        }
    }
}

/// A socket of ours, and one that a child inherits.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let (ours, theirs) = socketpair(family, kind, SocketFlags::empty(), None)?;
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC)?;
    Ok((ours.into(), theirs.into()))
}

fn serve(
    mut data: UnixStream,
    control: &Control,
    commands: &Receiver<(u64, u8, Vec<u8>)>,
    respond: impl Fn(u64, &[u8]),
) {
    let mut current = 0;
    for (number, locality, command) in commands {
        let mut answered = || -> io::Result<Vec<u8>> {
            if locality != current {
                let [a, b, c, d] = SET_LOCALITY.to_be_bytes();
                control.ask(&[a, b, c, d, locality])?;
                current = locality;
            }
            data.write_all(&command)?;
            read_response(&mut data)
        };
        match answered() {
            Ok(response) => respond(number, &response),
            Err(error) => {
                eprintln!("entente-vmm: TPM: {error}; a command has failed");
                respond(number, &FAILURE);
            }
        }
    }
}

fn read_response(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut response = vec![0; HEADER_BYTES];
    from.read_exact(&mut response)?;
    let size = response.iter().skip(2).take(4);
    let size = size.fold(0, |size, byte| size << 8 | usize::from(*byte));
    if !(HEADER_BYTES..=MOST_RESPONSE_BYTES).contains(&size) {
        return Err(io::Error::other(format!(
            "a response of {size} bytes; there are {HEADER_BYTES} to {MOST_RESPONSE_BYTES}"
        )));
    }
    response.resize(size, 0);
    from.read_exact(&mut response[HEADER_BYTES..])?;
    Ok(response)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A command without sessions: its code and its parameters.
    fn command(code: u32, parameters: &[u8]) -> Vec<u8> {
        let size = (HEADER_BYTES + parameters.len()) as u32;
        let head = [&[0x80, 0x01], &size.to_be_bytes()[..], &code.to_be_bytes()];
        [&head.concat(), parameters].concat()
    }

    /// TPM2_PCR_Extend of PCR 16 with a SHA-256 digest, with an empty password.
    fn extend() -> Vec<u8> {
        let session = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let handle = 16u32.to_be_bytes();
        let digests = [&[0, 0, 0, 1, 0, 0x0b][..], &[7; 32]].concat();
        let parameters = [&handle[..], &[0, 0, 0, 9], &session, &digests].concat();
        let mut extend = command(0x182, &parameters);
        extend[1] = 0x02;
        extend
    }

    /// TPM2_PCR_Read of PCR 16.
    fn read_pcr() -> Vec<u8> {
        command(0x17e, &[0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 1])
    }

    fn start(folder: &Path) -> (SoftwareTpm, mpsc::Receiver<(u64, Vec<u8>)>) {
        let (to, responses) = mpsc::channel();
        let respond = move |number, response: &[u8]| to.send((number, response.to_vec())).unwrap();
        (SoftwareTpm::start(folder, respond).unwrap(), responses)
    }

    #[test]
    fn commands_are_executed_and_the_state_is_kept() {
        if Command::new(PROGRAM).arg("--version").output().is_err() {
            eprintln!("skipped: there is no {PROGRAM}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // TPM2_Startup (clear); TPM2_NV_ReadPublic of an index that is not there.
        let startup = command(0x144, &[0, 0]);
        let (mut tpm, responses) = start(folder.path());
        let mut ask = |number, locality, command: &[u8]| {
            tpm.execute(number, locality, command);
            let (of, response) = responses.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(of, number);
            (response[6..10].to_vec(), response)
        };
        assert_eq!(ask(1, 0, &startup).0, [0; 4]);
        assert_eq!(ask(2, 0, &startup).0, [0, 0, 1, 0], "it is started");
        let (_, before) = ask(3, 0, &read_pcr());
        assert_eq!(ask(4, 3, &extend()).0, [0; 4]);
        let (_, after) = ask(5, 0, &read_pcr());
        assert_eq!((before.len(), after.len()), (after.len(), before.len()));
        assert_ne!(before[30..], after[30..]);
        assert!(before.ends_with(&[0; 32]));
        drop(tpm);
        assert!(folder.path().join("tpm/tpm2-00.permall").exists());
        // A start later: PCRs are as at power-on.
        let (mut tpm, responses) = start(folder.path());
        tpm.execute(1, 0, &startup);
        tpm.execute(2, 0, &read_pcr());
        let (_, response) = responses.iter().take(2).last().unwrap();
        assert!(response.ends_with(&[0; 32]));
    }

    #[test]
    fn responses_that_can_not_be_are_refused() {
        for size in [0u32, 9, 4097, u32::MAX] {
            let bytes = [&[0x80, 1][..], &size.to_be_bytes(), &[0; 40]].concat();
            let error = read_response(&mut bytes.as_slice()).unwrap_err();
            assert!(error.to_string().contains(&size.to_string()), "{error}");
        }
        let short = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 1];
        assert!(read_response(&mut short.as_slice()).is_err());
    }
}
