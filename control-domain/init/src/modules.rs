//! Loads the kernel's modules: for each device the one that its modalias names.

use crate::console::report;
use crate::module_index::{ModuleIndex, name_of};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Modules to load at boot that no device asks for, one name a line, `#` starts a comment.
const LIST: &str = "/etc/entente/modules";

/// `kmem` would answer to the guests' memory too, and put it online as the kernel's own RAM.
const NEVER: &[&str] = &["kmem"];

/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2).
const COMPRESSED_FILE: i32 = 4;

/// The modules of the running kernel.
pub struct Modules {
    folder: PathBuf,
    index: ModuleIndex,
    /// Names that were tried already, so that each failure is reported once.
    tried: RefCell<BTreeSet<String>>,
    /// Aliases that were looked up already.
    seen: RefCell<BTreeSet<String>>,
}

impl Modules {
    /// Reads the index of `/lib/modules/<release>`.
    pub fn open() -> Result<Self, String> {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let folder = Path::new("/lib/modules").join(release);
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read_to_string(&path).map_err(|error| {
                format!("{}: {error}; was depmod run on the image?", path.display())
            })
        };
        let index = ModuleIndex::parse(&read("modules.dep")?, &read("modules.alias")?);
        Ok(Self {
            folder,
            index,
            tried: RefCell::default(),
            seen: RefCell::default(),
        })
    }

    /// Makes the kernel ask this program when it needs a module by name (a file system to be
    /// mounted, a cipher).
    pub fn serve_kernel_requests(&self) {
        let served = std::fs::read_link("/proc/self/exe").and_then(|path| {
            std::fs::write(
                "/proc/sys/kernel/modprobe",
                path.as_os_str().as_encoded_bytes(),
            )
        });
        if let Err(error) = served {
            report!("modules: the kernel can't ask for modules: {error}");
        }
    }

    /// Loads what [`LIST`] names.
    pub fn load_listed(&self) {
        let list = std::fs::read_to_string(LIST).unwrap_or_default();
        let names = list
            .lines()
            .map(|line| line.split('#').next().unwrap_or(line).trim());
        for name in names.filter(|name| !name.is_empty()) {
            if self.index.modules_for(name).next().is_none() {
                report!("modules: {LIST} names {name}, which this kernel does not have");
            }
            self.load_alias(name);
        }
    }

    /// Loads the modules of all devices, and of the devices that these bring, until none is new.
    pub fn load_for_devices(&self) {
        let mut loaded = 0;
        loop {
            let mut aliases = BTreeSet::new();
            collect_aliases(Path::new("/sys/devices"), &mut aliases);
            let new: Vec<String> = aliases.difference(&self.seen.borrow()).cloned().collect();
            if new.is_empty() {
                break;
            }
            loaded += new
                .iter()
                .map(|alias| self.load_alias(alias))
                .sum::<usize>();
            self.seen.borrow_mut().extend(new);
        }
        if loaded > 0 {
            report!(
                "modules: {loaded} of {} loaded for devices",
                self.index.len()
            );
        }
    }

    /// Loads the modules that answer to `alias`; answers how many are new.
    pub fn load_alias(&self, alias: &str) -> usize {
        let names: Vec<&str> = self.index.modules_for(alias).collect();
        names.into_iter().map(|name| self.load_module(name)).sum()
    }

    fn load_module(&self, module: &str) -> usize {
        if NEVER.contains(&module) || self.tried.borrow().contains(module) {
            return 0;
        }
        let mut loaded = 0;
        for file in self.index.load_order(module) {
            if !self.tried.borrow_mut().insert(name_of(file)) {
                continue;
            }
            match insert(&self.folder.join(file)) {
                Ok(new) => loaded += usize::from(new),
                // A driver that finds no hardware of its own says so: nothing is wrong.
                Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => report!("modules: {file}: {error}"),
            }
        }
        loaded
    }
}

/// Inserts one module; `false` when the kernel has it already.
fn insert(path: &Path) -> io::Result<bool> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    match rustix::system::finit_module(&file, c"", flags) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // The file was opened, so it is not the file that does not exist (init_module(2)).
        Err(Errno::NOENT) => Err(io::Error::other(
            "a module that it needs is not in the image",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Collects the content of every `modalias` file below `folder`, links not followed.
fn collect_aliases(folder: &Path, aliases: &mut BTreeSet<String>) {
    // Devices come and go while this runs: what can't be read is not there any more.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_aliases(&path, aliases),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                aliases.extend(
                    text.lines()
                        .map(str::to_owned)
                        .filter(|line| !line.is_empty()),
                );
            }
            _ => {}
        }
    }
}
