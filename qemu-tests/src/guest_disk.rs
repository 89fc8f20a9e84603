//! The disks of a row's guest, as data.

use serde::Deserialize;

/// As which file, or chain of files, a guest's disk lies on the data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A fixed VHD.
    VhdFixed,
    /// A dynamic VHD.
    VhdDynamic,
    /// A differencing VHD on a dynamic one.
    VhdDifferencing,
    /// Two differencing VHDs over a dynamic one.
    VhdChain,
    /// A fixed VHDX.
    VhdxFixed,
    /// A dynamic VHDX.
    VhdxDynamic,
    /// A differencing VHDX on a dynamic one.
    VhdxDifferencing,
    /// Two differencing VHDXs over a dynamic one.
    VhdxChain,
    /// A differencing VHDX on a streamOptimized VMDK, as an appliance (OVA) brings it.
    VmdkOverlay,
}

impl DiskKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::VhdFixed,
        Self::VhdDynamic,
        Self::VhdDifferencing,
        Self::VhdChain,
        Self::VhdxFixed,
        Self::VhdxDynamic,
        Self::VhdxDifferencing,
        Self::VhdxChain,
        Self::VmdkOverlay,
    ];

    /// As rows name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VhdFixed => "vhd-fixed",
            Self::VhdDynamic => "vhd-dynamic",
            Self::VhdDifferencing => "vhd-differencing",
            Self::VhdChain => "vhd-chain",
            Self::VhdxFixed => "vhdx-fixed",
            Self::VhdxDynamic => "vhdx-dynamic",
            Self::VhdxDifferencing => "vhdx-differencing",
            Self::VhdxChain => "vhdx-chain",
            Self::VmdkOverlay => "vmdk-overlay",
        }
    }
}

/// A file in a guest, on one of its disks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskHolds {
    /// Which of its disks; 0 is the one that boots.
    #[serde(default)]
    pub disk: usize,
    /// Its path there.
    pub path: String,
    /// A part of its text.
    pub text: String,
}
