//! What a machine can be asked for.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A request: `{"command": "stop", "turn_off": false}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state of the machine in a few words: for lists.
    State,
    /// The state of everything in the machine, as a tree.
    Show,
    /// The machine is to end.
    Stop {
        /// As a power cut, instead of asking the guest.
        #[serde(default)]
        turn_off: bool,
    },
    /// A serial port: bytes both ways follow the answer.
    Console {
        /// As people count: 1 is COM1.
        #[serde(default = "one")]
        port: usize,
    },
    /// What the screen shows: red, green and blue of each pixel follow the answer, which says `width` and
    /// `height`.
    Screenshot,
    /// Presses the keys of a US keyboard that type a text, one after the other.
    Type {
        /// At most 1024 bytes; what no key types is passed over.
        text: String,
    },
    /// What happens from now on, and what happened before: lines follow the answer until the machine ends.
    Events,
    /// Brings the guest's file systems to rest, so that its disks can be copied.
    Freeze {
        /// After this time they go on by themselves.
        #[serde(default = "a_minute")]
        seconds: u64,
    },
    /// Lets the guest's file systems go on.
    Thaw,
    /// How much memory the machine has, where that may change.
    Memory {
        /// It is to have so much, in MiB.
        #[serde(default)]
        assign_mib: Option<u64>,
    },
    /// Copies a file into the guest.
    CopyFile {
        /// The file; a path that does not begin with / is in the machine's folder.
        source: PathBuf,
        /// Its path in the guest; one that ends with a separator is a folder.
        destination: String,
        /// Makes the folder, if it is not there.
        #[serde(default)]
        create_path: bool,
        /// Replaces a file that is there.
        #[serde(default)]
        force: bool,
    },
    /// Attaches a disk to a SCSI controller.
    AddDisk {
        /// Where; the first free place if it is not said.
        #[serde(default)]
        place: Option<Place>,
        /// Its file; a path that does not begin with / is in the machine's folder.
        path: PathBuf,
    },
    /// Gives a disk at a SCSI controller another size, while the guest runs.
    ResizeDisk {
        /// Where.
        place: Place,
        /// Its new size.
        size_bytes: u64,
    },
    /// Detaches a disk or a DVD drive from a SCSI controller.
    RemoveDisk {
        /// Where.
        place: Place,
    },
    /// Puts a disc into a DVD drive; what was there comes out.
    InsertDisc {
        /// The drive; the first one if it is not said.
        #[serde(default)]
        place: Option<Place>,
        /// The image; none takes out what is there.
        #[serde(default)]
        path: Option<PathBuf>,
    },
}

fn one() -> usize {
    1
}

fn a_minute() -> u64 {
    60
}

/// Where a drive is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "controller", rename_all = "lowercase", deny_unknown_fields)]
pub enum Place {
    /// The IDE controller.
    Ide {
        /// 0 to 3.
        location: usize,
    },
    /// A SCSI controller.
    Scsi {
        /// Which one, 0 to 3.
        #[serde(default)]
        number: usize,
        /// 0 to 63.
        location: usize,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ide { location } => write!(f, "IDE location {location}"),
            Self::Scsi { number, location } => {
                write!(f, "SCSI controller {number} location {location}")
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn requests_are_written_as_documented() {
        let stop = read(r#"{"command":"stop","turn_off":true}"#).unwrap();
        assert_eq!(stop, Request::Stop { turn_off: true });
        let stop = read(r#"{"command":"stop"}"#).unwrap();
        assert_eq!(stop, Request::Stop { turn_off: false });
        let add = read(
            r#"{"command":"add-disk","path":"/d.vhdx","place":{"controller":"scsi","location":3}}"#,
        );
        let (number, location) = (0, 3);
        let place = Some(Place::Scsi { number, location });
        let path = "/d.vhdx".into();
        assert_eq!(add.unwrap(), Request::AddDisk { place, path });
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"command":"fly"}"#,
            r#"{"command":"stop","gently":true}"#,
            r#"{"command":"remove-disk"}"#,
            r#"{"command":"remove-disk","place":{"controller":"scsi"}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
