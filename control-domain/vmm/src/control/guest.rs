//! What the guest's own drivers and daemons are asked for.

use crate::running::Running;
use crate::terminal::type_keys;
use integration_services::backup;
use integration_services::file_copy::{CREATE_PATH, Destination, OVERWRITE};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Bytes of a text that is typed at a time.
const MOST_TYPED: usize = 1024;
/// How long a guest has to write back what it holds, and to come to rest.
const TIME_TO_FREEZE: Duration = Duration::from_secs(120);
/// How long it has to go on.
const TIME_TO_THAW: Duration = Duration::from_secs(60);
/// How long it has for a piece of a file.
const TIME_FOR_A_PIECE: Duration = Duration::from_secs(60);

/// Types a text at the machine's keyboard.
pub fn type_text(running: &Running, text: &str) -> Result<Value, String> {
    if text.len() > MOST_TYPED {
        return Err(format!("at most {MOST_TYPED} bytes are typed at a time"));
    }
    type_keys(running, text.as_bytes());
    Ok(Value::Null)
}

/// Brings the guest's file systems to rest, for a time.
pub fn freeze(running: &Running, seconds: u64) -> Result<Value, String> {
    let most = backup::MOST.as_secs();
    if seconds == 0 || seconds > most {
        return Err(format!("a guest is frozen for 1 to {most} seconds"));
    }
    let file_systems = &running.services().file_systems;
    file_systems.freeze(Duration::from_secs(seconds), TIME_TO_FREEZE)?;
    Ok(json!({"seconds": seconds}))
}

/// Lets them go on.
pub fn thaw(running: &Running) -> Result<Value, String> {
    running.services().file_systems.thaw(TIME_TO_THAW)?;
    Ok(Value::Null)
}

/// Copies a file into the guest.
pub fn copy_file(
    running: &Running,
    source: &Path,
    destination: &str,
    create_path: bool,
    force: bool,
) -> Result<Value, String> {
    let path = running.folder().join(source);
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(&path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(format!("{}: it is not a file", path.display()));
    }
    let create = if create_path { CREATE_PATH } else { 0 };
    let overwrite = if force { OVERWRITE } else { 0 };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let to = Destination::new(destination, &name, create | overwrite)?;
    let copies = &running.services().copies;
    copies.copy(file, metadata.len(), &to, TIME_FOR_A_PIECE)?;
    let destination = format!("{}{}", to.folder, to.file);
    Ok(json!({"destination": destination, "bytes": metadata.len()}))
}
