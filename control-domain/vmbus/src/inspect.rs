//! The bus as it is at a moment, for people and for tests that nothing is left behind.

use crate::version::Version;
use uuid::Uuid;

/// The bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusState {
    /// The version that the guest speaks, if it is connected.
    pub version: Option<Version>,
    /// Channels that the guest has been offered and knows.
    pub channels: usize,
    /// Lists of pages that the guest has described, or begun to.
    pub gpadls: usize,
    /// Messages that wait for room.
    pub messages_waiting: usize,
    /// Channels on which the guest may signal.
    pub ports: usize,
    /// The devices.
    pub devices: Vec<DeviceState>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// What people call it.
    pub name: String,
    /// The kind of device.
    pub interface: Uuid,
    /// Which of its kind.
    pub instance: Uuid,
    /// Its open channels: 0 and subchannels.
    pub open_channels: Vec<u16>,
    /// Lists of pages that its open channels know.
    pub gpadls: usize,
}
