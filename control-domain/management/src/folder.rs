//! Where the sockets of running machines are.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The folder in the control domain.
const FOLDER: &str = "/run/entente/machines";
/// The folder with a folder for each machine, of the sockets between its guest and programs.
const SOCKETS_FOLDER: &str = "/run/entente/sockets";
/// Names another one, for tests.
const VARIABLE: &str = "ENTENTE_MACHINES_RUNNING";
/// Longest name of a machine in bytes: an address of a Unix socket has room for 108, of which some are
/// the folder's.
const MOST_NAME_BYTES: usize = 64;

/// The folder that holds a socket for each running machine, called as the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The usual one, or what the environment names.
    pub fn usual() -> Self {
        Self(std::env::var_os(VARIABLE).map_or_else(|| FOLDER.into(), PathBuf::from))
    }

    /// The socket of a machine.
    ///
    /// # Errors
    /// If no machine can be called so.
    pub fn socket(&self, machine: &str) -> Result<PathBuf, String> {
        check_name(machine)?;
        Ok(self.0.join(machine))
    }

    /// Listens for a machine's clients; nobody but the owner may connect.
    ///
    /// # Errors
    /// One sentence: another process has the machine, or the socket can't be made.
    pub fn listen(&self, machine: &str) -> Result<UnixListener, String> {
        let socket = self.socket(machine)?;
        let fail = |error: io::Error| format!("{}: {error}", socket.display());
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0).map_err(fail)?;
        listen_at(&socket).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("machine {machine} is running already"),
            _ => fail(error),
        })
    }

    /// Names of the machines that have a socket, sorted. Some may have been killed.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// The folder of the sockets between a machine's guest and programs.
///
/// # Errors
/// If no machine can be called so.
pub fn sockets_of(machine: &str) -> Result<PathBuf, String> {
    check_name(machine)?;
    Ok(Path::new(SOCKETS_FOLDER).join(machine))
}

/// Listens at a path, in place of a process that was killed and left its socket.
///
/// # Errors
/// `AddrInUse` if another process listens there, or something else lies there.
pub fn listen_at(socket: &Path) -> io::Result<UnixListener> {
    let is_socket = socket.symlink_metadata().map(|m| m.file_type().is_socket());
    if is_socket.unwrap_or(false) {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if UnixStream::connect(socket).is_err_and(|error| refused(&error)) {
            std::fs::remove_file(socket)?;
        }
    }
    UnixListener::bind(socket)
}

/// Whether a machine can be called so.
///
/// # Errors
/// Why not.
pub fn check_name(machine: &str) -> Result<(), String> {
    match machine {
        "" => Err("a machine has a name".into()),
        name if name.len() > MOST_NAME_BYTES => Err(format!(
            "name {name:?}: at most {MOST_NAME_BYTES} bytes, it has {}",
            name.len()
        )),
        name if name.starts_with('.') || name.contains(['/', '\0', '\n']) => Err(format!(
            "name {name:?}: it is the name of a file too: no / and no line end in it, no dot at its start"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_listens_once_and_again_after_a_kill() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder(place.path().join("deep/er"));
        assert!(folder.names().is_empty());
        let listener = folder.listen("first one").unwrap();
        let error = folder.listen("first one").unwrap_err();
        assert!(error.contains("running already"), "{error}");
        assert_eq!(folder.names(), ["first one"]);
        // A closed listener leaves its file.
        drop(listener);
        assert!(folder.listen("first one").is_ok());
        let long = "x".repeat(65);
        for name in ["", "..", "a/b", "a\nb", long.as_str()] {
            assert!(folder.listen(name).is_err(), "{name:?}");
        }
    }
}
