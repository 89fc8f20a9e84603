//! The guests' memory: the pool that the hypervisor left, cut once into equal pieces.
//!
//! The kernel offers a soft-reserved range as one device-DAX device (`dax0.0`) that fills its
//! region. While nothing can be mapped yet, that device is shrunk to one granule and a further
//! device is made for each of the others; then all are bound to the `device_dax` driver and never
//! touched again. The interface is in the kernel's `Documentation/ABI/testing/sysfs-bus-dax`.

use crate::console::report;
use std::fs::{read_link, read_to_string, write};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DEVICES: &str = "/sys/bus/dax/devices";
const DRIVER: &str = "/sys/bus/dax/drivers/device_dax";

/// The driver finds the ranges in the background; how long to wait for the first device.
const PATIENCE: Duration = Duration::from_millis(500);

/// Cuts every region of the pool into granules of `granule_mib` MiB. Answers their device files,
/// in the order of their addresses.
pub fn cut_pool(granule_mib: u64) -> Vec<PathBuf> {
    let size_bytes = granule_mib << 20;
    let whole = wait_for_devices();
    if whole.is_empty() {
        report!("pool: empty, no memory is set aside for guests; was the hypervisor started?");
        return Vec::new();
    }
    let mut granules = Vec::new();
    for name in whole {
        match cut_region(&name, size_bytes) {
            Ok(names) => granules.extend(names.iter().map(|name| Path::new("/dev").join(name))),
            Err(error) => report!("pool: {error}"),
        }
    }
    granules.retain(|device| {
        let exists = wait_for_node(device);
        if !exists {
            report!("pool: {} did not appear", device.display());
        }
        exists
    });
    report!("pool: {} granules of {granule_mib} MiB", granules.len());
    granules
}

/// Cuts the region that the device `first` fills. Answers the names of the granules.
fn cut_region(first: &str, size_bytes: u64) -> Result<Vec<String>, String> {
    let device = Path::new(DEVICES).join(first);
    let total_bytes = read_number(&device.join("size"))?;
    let align_bytes = read_number(&device.join("align"))?;
    let count = granule_count(total_bytes, size_bytes, align_bytes)
        .map_err(|reason| format!("{first} of {total_bytes} bytes is not cut: {reason}"))?;
    let region = device
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.parent()?.join("dax_region")))
        .ok_or_else(|| format!("{first} has no region"))?;

    // A device that a driver holds can't be resized. At this point nobody can have mapped it.
    if let Ok(driver) = read_link(device.join("driver")) {
        set(&device.join("driver/unbind"), first)?;
        if driver.file_name().is_some_and(|name| name == "kmem") {
            return Err(format!(
                "{first} was taken as RAM by kmem; leave that module out"
            ));
        }
    }
    let mut names = vec![first.to_owned()];
    if total_bytes != size_bytes {
        set(&device.join("size"), &size_bytes.to_string())?;
    }
    for _ in 1..count {
        set(&region.join("create"), "1")?;
        // Reading it names the device that was made last.
        let name = get(&region.join("create"))?;
        set(
            &Path::new(DEVICES).join(&name).join("size"),
            &size_bytes.to_string(),
        )?;
        names.push(name);
    }
    for name in &names {
        bind(name)?;
    }
    Ok(names)
}

/// Gives a device to the driver that lets user space map it.
fn bind(name: &str) -> Result<(), String> {
    if Path::new(DEVICES).join(name).join("driver").exists() {
        return Ok(());
    }
    set(&Path::new(DRIVER).join("new_id"), name)
}

/// How many granules of `size_bytes` a region holds.
fn granule_count(total_bytes: u64, size_bytes: u64, align_bytes: u64) -> Result<u64, String> {
    if align_bytes == 0 || !size_bytes.is_multiple_of(align_bytes) {
        return Err(format!(
            "a granule of {size_bytes} bytes is not a multiple of {align_bytes}"
        ));
    }
    match total_bytes.checked_div(size_bytes) {
        None | Some(0) => Err(format!(
            "it holds no granule of {size_bytes} bytes; give a smaller entente.granule_mib"
        )),
        Some(count) => Ok(count),
    }
}

/// The devices that fill a region: `daxN.0`, in the order of N.
fn wait_for_devices() -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let entries = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
        let mut regions: Vec<u32> = entries
            .filter_map(|entry| whole_region(entry.file_name().to_str()?))
            .collect();
        regions.sort_unstable();
        if !regions.is_empty() || Instant::now() > end {
            return regions
                .iter()
                .map(|region| format!("dax{region}.0"))
                .collect();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// N of `daxN.0`.
fn whole_region(name: &str) -> Option<u32> {
    name.strip_prefix("dax")?.strip_suffix(".0")?.parse().ok()
}

/// devtmpfs makes the node when the device is bound.
fn wait_for_node(device: &Path) -> bool {
    let end = Instant::now() + PATIENCE;
    while !device.exists() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn set(path: &Path, value: &str) -> Result<(), String> {
    write(path, value).map_err(|error| format!("writing {value} to {}: {error}", path.display()))
}

fn get(path: &Path) -> Result<String, String> {
    let text = read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned())
}

fn read_number(path: &Path) -> Result<u64, String> {
    let text = get(path)?;
    text.parse()
        .map_err(|_| format!("{} holds {text:?}, not a number", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} can't be read: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_pool_is_cut_into_whole_granules() {
        assert_eq!(granule_count(512 * MIB, 256 * MIB, 2 * MIB), Ok(2));
        assert_eq!(granule_count(511 * MIB, 128 * MIB, 2 * MIB), Ok(3));
        assert_eq!(granule_count(256 * MIB, 256 * MIB, 2 * MIB), Ok(1));
    }

    #[test]
    fn what_can_not_be_cut_is_refused() {
        assert!(granule_count(128 * MIB, 256 * MIB, 2 * MIB).is_err());
        assert!(granule_count(512 * MIB, 3 * MIB, 2 * MIB).is_err());
        assert!(granule_count(512 * MIB, 0, 2 * MIB).is_err());
        assert!(granule_count(512 * MIB, 2 * MIB, 0).is_err());
        assert!(granule_count(0, 2 * MIB, 2 * MIB).is_err());
    }

    #[test]
    fn only_devices_that_fill_a_region_are_cut() {
        assert_eq!(whole_region("dax0.0"), Some(0));
        assert_eq!(whole_region("dax12.0"), Some(12));
        assert_eq!(whole_region("dax0.1"), None);
        assert_eq!(whole_region("dax0.10"), None);
        assert_eq!(whole_region("mapping0"), None);
    }
}
