//! Granules of the guest pool: which of them this machine has. Whoever has one holds a lock on its file,
//! which ends with the process.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Where the kernel shows granules, and how their names begin.
const FOLDER: &str = "/dev";
const PREFIX: &str = "dax";

/// A granule that is this machine's.
#[derive(Debug)]
pub struct Granule {
    /// Its file.
    pub path: PathBuf,
    /// Open for as long as it is ours.
    _locked: File,
}

/// Takes free granules in this order until there is enough; all that the control domain has, if none are
/// named.
///
/// # Errors
/// One sentence that says what is missing.
pub fn take(named: &[PathBuf], needed_bytes: u64) -> Result<Vec<Granule>, String> {
    let all = match named {
        [] => in_folder(Path::new(FOLDER)),
        named => named.to_vec(),
    };
    let (mut taken, mut bytes, mut others) = (Vec::new(), 0u64, 0);
    for path in all {
        if bytes >= needed_bytes {
            break;
        }
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                others += 1;
                continue;
            }
            Err(error) => return Err(fail(error.into())),
        }
        bytes = bytes.saturating_add(guest_memory::granule_bytes(&file).map_err(fail)?);
        taken.push(Granule {
            path,
            _locked: file,
        });
    }
    if bytes < needed_bytes {
        return Err(format!(
            "the machine needs {} MiB of the guests' memory, {} are free, and {others} granules are other machines'; \
             stop one, or give this one less memory_mib",
            needed_bytes >> 20,
            bytes >> 20
        ));
    }
    Ok(taken)
}

/// By number, so that all machines ask in the same order.
fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbered = names.filter_map(|name| {
        let (region, number) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let numbers: (u32, u32) = (region.parse().ok()?, number.parse().ok()?);
        Some((numbers, folder.join(&name)))
    });
    let mut numbered: Vec<_> = numbered.collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_never_take_the_same_granule() {
        let folder = std::env::temp_dir().join(format!("granules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["dax0.10", "dax0.2", "dax0.1", "dax", "other"] {
            let file = File::create(folder.join(name)).unwrap();
            file.set_len(2 << 20).unwrap();
        }
        let all = in_folder(&folder);
        let names = |taken: &[Granule]| {
            let name = |granule: &Granule| granule.path.file_name().unwrap().to_owned();
            taken.iter().map(name).collect::<Vec<_>>()
        };
        let first = take(&all, 3 << 20).unwrap();
        assert_eq!(names(&first), ["dax0.1", "dax0.2"]);
        let second = take(&all, 1).unwrap();
        assert_eq!(names(&second), ["dax0.10"]);
        let error = take(&all, 1).unwrap_err();
        assert!(error.contains("3 granules are other machines'"), "{error}");
        drop(first);
        assert_eq!(names(&take(&all, 4 << 20).unwrap()), ["dax0.1", "dax0.2"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
