//! Replays the corpus of the fuzz targets.
#![allow(clippy::unwrap_used)]

use disk_testing::replay;

#[test]
fn storage() {
    replay("storage", channel_fuzz::storage);
}

#[test]
fn bus() {
    replay("bus", channel_fuzz::bus);
}

#[test]
fn network() {
    replay("network", channel_fuzz::network);
}
