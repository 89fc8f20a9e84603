//! The file systems of the kernel and the firmware.

use crate::console::report;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;

struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    data: Option<&'static CStr>,
}

const NOTHING_RUNS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const KERNEL: &[Mount] = &[
    Mount {
        target: "/proc",
        kind: "proc",
        flags: NOTHING_RUNS,
        data: None,
    },
    Mount {
        target: "/sys",
        kind: "sysfs",
        flags: NOTHING_RUNS,
        data: None,
    },
    Mount {
        target: "/dev",
        kind: "devtmpfs",
        flags: DEVICES,
        data: Some(c"mode=0755"),
    },
    Mount {
        target: "/dev/pts",
        kind: "devpts",
        flags: DEVICES,
        data: Some(c"gid=5,mode=0620"),
    },
    Mount {
        target: "/run",
        kind: "tmpfs",
        flags: NO_DEVICES,
        data: Some(c"mode=0755"),
    },
    Mount {
        target: "/tmp",
        kind: "tmpfs",
        flags: NO_DEVICES,
        data: Some(c"mode=1777"),
    },
    Mount {
        target: "/sys/kernel/security",
        kind: "securityfs",
        flags: NOTHING_RUNS,
        data: None,
    },
];

const EFI_VARIABLES: Mount = Mount {
    target: "/sys/firmware/efi/efivars",
    kind: "efivarfs",
    flags: NOTHING_RUNS,
    data: None,
};

/// Mounts what every program expects, and says whether the kernel is locked down.
pub fn mount_kernel_file_systems() {
    for each in KERNEL {
        // Those below /sys exist only if the kernel has them, the others are made if the image
        // left them out.
        let _ = std::fs::create_dir_all(each.target);
        each.mount();
    }
    if let Ok(lockdown) = std::fs::read_to_string("/sys/kernel/security/lockdown") {
        report!("lockdown: {}", lockdown.trim());
    }
}

/// Mounts the UEFI variables, readable and writable. Needs the modules, where efivarfs is one.
pub fn mount_firmware_file_systems() {
    if !std::path::Path::new("/sys/firmware/efi").exists() {
        report!("UEFI variables: none, the kernel was not started by UEFI");
        return;
    }
    if EFI_VARIABLES.mount() {
        let count = std::fs::read_dir(EFI_VARIABLES.target).map_or(0, Iterator::count);
        report!("UEFI variables: {count} at {}", EFI_VARIABLES.target);
    }
}

impl Mount {
    /// `true` when it is mounted now. What is mounted already is left as it is.
    fn mount(&self) -> bool {
        match mount(self.kind, self.target, self.kind, self.flags, self.data) {
            Ok(()) | Err(Errno::BUSY) => true,
            Err(error) => {
                report!("{} can't be mounted at {}: {error}", self.kind, self.target);
                false
            }
        }
    }
}
