//! Replays the corpus of the fuzz targets.
#![allow(clippy::unwrap_used)]

use disk_testing::replay;

#[test]
fn vhd() {
    replay("vhd", disk_fuzz::vhd);
}

#[test]
fn vhdx() {
    replay("vhdx", disk_fuzz::vhdx);
}

#[test]
fn vmdk() {
    replay("vmdk", disk_fuzz::vmdk);
}
