//! What happens to a machine.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// To which machine.
    pub machine: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The machine was started.
    Started,
    /// The guest has reset the machine.
    Reset,
    /// The guest answers heartbeats.
    HeartbeatAlive,
    /// The guest does not answer heartbeats any more.
    HeartbeatLost,
    /// The guest was asked to shut down.
    ShutdownAsked,
    /// The guest's file systems are at rest.
    FileSystemsFrozen,
    /// They go on.
    FileSystemsThawed,
    /// The guest has crashed, and says so.
    GuestCrash {
        /// What it says, line by line.
        report: Vec<String>,
    },
    /// The host has no room for what the guest writes to a disk; the guest waits.
    DiskOutOfRoom {
        /// Which disk.
        disk: String,
        /// What the host says.
        why: String,
    },
    /// There is room again.
    DiskHasRoom {
        /// Which disk.
        disk: String,
    },
    /// A disk was attached.
    DiskAdded {
        /// Where.
        place: String,
        /// Its file.
        path: String,
    },
    /// A disk has another size.
    DiskResized {
        /// Where.
        place: String,
        /// The new one.
        size_bytes: u64,
    },
    /// A disk was detached.
    DiskRemoved {
        /// Where.
        place: String,
    },
    /// There is another disc in a DVD drive, or none.
    DiscChanged {
        /// Where.
        place: String,
        /// Its image.
        path: Option<String>,
    },
    /// The machine has ended.
    Ended {
        /// How.
        how: String,
    },
}

impl Event {
    /// Something that happens now.
    pub fn now(machine: &str, what: What) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            unix_ms: since.unwrap_or(Duration::ZERO).as_millis() as u64,
            machine: machine.into(),
            what,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Reset => f.write_str("guest reset"),
            Self::HeartbeatAlive => f.write_str("the guest answers heartbeats"),
            Self::HeartbeatLost => f.write_str("the guest does not answer heartbeats any more"),
            Self::ShutdownAsked => f.write_str("the guest is asked to shut down"),
            Self::FileSystemsFrozen => f.write_str("the guest's file systems are frozen"),
            Self::FileSystemsThawed => f.write_str("the guest's file systems go on"),
            Self::GuestCrash { report } => f.write_str(&report.join("\n")),
            Self::DiskOutOfRoom { disk, why } => {
                write!(f, "{disk}: {why}; the guest waits until there is room")
            }
            Self::DiskHasRoom { disk } => write!(f, "{disk}: the guest goes on"),
            Self::DiskAdded { place, path } => write!(f, "{place}: disk {path} added"),
            Self::DiskResized { place, size_bytes } => {
                write!(f, "{place}: {size_bytes} bytes now")
            }
            Self::DiskRemoved { place } => write!(f, "{place}: removed"),
            Self::DiscChanged { place, path } => match path {
                Some(path) => write!(f, "{place}: disc {path} inserted"),
                None => write!(f, "{place}: disc ejected"),
            },
            Self::Ended { how } => f.write_str(how),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            unix_ms: 5,
            machine: "m".into(),
            what: What::DiskHasRoom { disk: "d".into() },
        };
        let text = serde_json::to_string(&event).unwrap();
        let expected = r#"{"unix_ms":5,"machine":"m","event":"disk-has-room","disk":"d"}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Event>(expected).unwrap(), event);
    }
}
