//! The partition that holds the machines, found by its name in the partition table.

use crate::console::report;
use crate::modules::Modules;
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_at, unmount as unmount_from};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the GPT partition.
const NAME: &str = "entente-data";

/// Where it is mounted.
const TARGET: &str = "/data";

/// Disks are found in the background; how long to wait for the last one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Mounts the partition, read-write, as ext4. Answers its device.
pub fn mount(modules: Option<&Modules>) -> Result<PathBuf, String> {
    let end = Instant::now() + PATIENCE;
    let device = loop {
        if let Some(device) = find() {
            break device;
        }
        if Instant::now() > end {
            return Err(format!(
                "no partition named {NAME} after {} s; make one, or give entente.nodata",
                PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(PAUSE);
        // A controller that was found meanwhile may need a further driver for its disks.
        if let Some(modules) = modules {
            modules.load_for_devices();
        }
    };
    let _ = std::fs::create_dir_all(TARGET);
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_at(&device, TARGET, "ext4", flags, None).map_err(|error| {
        format!(
            "{} can't be mounted at {TARGET} as ext4: {error}",
            device.display()
        )
    })?;
    Ok(device)
}

/// Takes the partition off, before the PC goes down.
pub fn unmount() {
    match unmount_from(TARGET, UnmountFlags::empty()) {
        // Not mounted is fine.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => report!("{TARGET} can't be unmounted: {error}; it was synced"),
    }
}

fn find() -> Option<PathBuf> {
    std::fs::read_dir("/sys/class/block")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let uevent = std::fs::read_to_string(entry.path().join("uevent")).ok()?;
            let device = Path::new("/dev").join(device_named(&uevent, NAME)?);
            device.exists().then_some(device)
        })
}

/// `DEVNAME` of the block device whose uevent text carries the partition name `name`.
fn device_named<'a>(uevent: &'a str, name: &str) -> Option<&'a str> {
    let value = |key: &str| {
        uevent
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    (value("PARTNAME")? == name).then(|| value("DEVNAME"))?
}

#[cfg(test)]
mod tests {
    use super::device_named;

    const DATA: &str = "MAJOR=259\nMINOR=2\nDEVNAME=nvme0n1p2\nDEVTYPE=partition\nDISKSEQ=1\n\
                        PARTN=2\nPARTNAME=entente-data\n";

    #[test]
    fn the_partition_is_known_by_its_whole_name() {
        assert_eq!(device_named(DATA, "entente-data"), Some("nvme0n1p2"));
        assert_eq!(device_named(DATA, "entente"), None);
    }

    #[test]
    fn disks_and_nameless_partitions_are_passed_over() {
        assert_eq!(
            device_named("MAJOR=8\nDEVNAME=sda\nDEVTYPE=disk\n", "entente-data"),
            None
        );
        assert_eq!(
            device_named("PARTNAME=entente-data\n", "entente-data"),
            None
        );
        assert_eq!(device_named("", "entente-data"), None);
    }
}
