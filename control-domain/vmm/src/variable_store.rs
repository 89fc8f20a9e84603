//! The file in a machine's folder that holds the variables of its UEFI firmware, byte for byte what its
//! flash holds.
//!
//! It is made from the firmware's template at the first start: whole, or not at all. Later it is changed in
//! place, in the order in which the firmware wrote ([`devices::FlashMemory`] says when what is durable), and
//! never grows; so a power cut leaves of the last piece any part, and all pieces before it. The firmware's
//! own format is made for just that.

use crate::memory::BusMemory;
use crate::secure_boot;
use devices::FlashMemory;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name.
const NAME: &str = "variables.fd";

/// An open store. Clones are the same.
#[derive(Clone, Debug)]
pub struct VariableStore {
    file: Arc<File>,
    path: Arc<Path>,
    size: u32,
}

impl VariableStore {
    /// Opens the store in `folder`, or makes it from `template`.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open(folder: &Path, template: &[u8]) -> Result<Self, String> {
        let path = folder.join(NAME);
        let in_file = |error: io::Error| format!("{}: {error}", path.display());
        if !path.exists() {
            create(folder, &path, template).map_err(in_file)?;
        }
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(in_file)?;
        let size = file.metadata().map_err(in_file)?.len();
        if size != template.len() as u64 {
            return Err(format!(
                "{}: has {size} bytes, the firmware's variables {}; put it aside to begin with new ones",
                path.display(),
                template.len()
            ));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.into(),
            size: size as u32,
        })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// All of it.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn load(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; self.size as usize];
        let read = self.file.read_exact_at(&mut bytes, 0);
        read.map_err(|e| format!("{}: {e}", self.path.display()))?;
        Ok(bytes)
    }

    /// Turns Secure Boot on or off; the rest stays as it is.
    ///
    /// # Errors
    /// One sentence with the file's name: it can't be written, or there are no keys to turn it on with.
    pub fn set_secure_boot(&self, on: bool) -> Result<(), String> {
        let bytes = self.load()?;
        let path = self.path.display();
        let Some(offset) = secure_boot::setting(&bytes) else {
            return match on {
                false => Ok(()),
                true => Err(format!(
                    "{path}: has no keys for Secure Boot; put it aside to begin with new variables, or set secure_boot: off"
                )),
            };
        };
        if bytes[offset as usize] == u8::from(on) {
            return Ok(());
        }
        let saved = self.save(offset, &[on.into()]);
        saved.map_err(|e| format!("{path}: {e}"))
    }

    fn save(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset.into())?;
        self.file.sync_data()
    }
}

/// A file of this content appears, whole and durable.
fn create(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let part: PathBuf = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

/// The variables in the machine's granules, from where the guest reads them, and in the file.
pub struct PoolVariables {
    memory: BusMemory,
    /// Where they begin in the granules.
    offset: u64,
    store: VariableStore,
    /// What differs between the two.
    unsaved: Option<Range<u32>>,
}

impl PoolVariables {
    /// The variables at `offset` in the granules, which hold what the file holds.
    pub fn new(memory: BusMemory, offset: u64, store: VariableStore) -> Self {
        Self {
            memory,
            offset,
            store,
            unsaved: None,
        }
    }
}

impl FlashMemory for PoolVariables {
    fn size(&self) -> u32 {
        self.store.size
    }

    fn read(&self, offset: u32, data: &mut [u8]) {
        let mapping = self.memory.0.mapping();
        mapping.read(self.offset + u64::from(offset), data);
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        let mapping = self.memory.0.mapping();
        mapping.write(self.offset + u64::from(offset), data);
        let end = offset + data.len() as u32;
        let unsaved = self.unsaved.get_or_insert(offset..end);
        *unsaved = unsaved.start.min(offset)..unsaved.end.max(end);
    }

    fn flush(&mut self) -> bool {
        let Some(range) = self.unsaved.clone() else {
            return true;
        };
        let mut bytes = vec![0; range.len()];
        self.read(range.start, &mut bytes);
        match self.store.save(range.start, &bytes) {
            Ok(()) => {
                self.unsaved = None;
                true
            }
            Err(error) => {
                let path = self.store.path.display();
                eprintln!("entente-vmm: {path}: the firmware's variables can't be saved: {error}");
                false
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use guest_memory::GuestMemory;

    #[test]
    fn a_store_is_made_once_and_keeps_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let template = vec![0xff; 8192];
        let store = VariableStore::open(folder.path(), &template).unwrap();
        assert_eq!(store.load().unwrap(), template);
        let memory = BusMemory(Arc::new(GuestMemory::anonymous(4 << 20).unwrap()));
        memory.0.mapping().write(2 << 20, &template);
        let mut variables = PoolVariables::new(memory, 2 << 20, store);
        variables.write(10, &[1]);
        variables.write(7, &[2, 3]);
        let again = VariableStore::open(folder.path(), &template).unwrap();
        assert_eq!(again.load().unwrap(), template, "not saved yet");
        assert!(variables.flush() && variables.flush());
        let mut wanted = template.clone();
        wanted[7..11].copy_from_slice(&[2, 3, 0xff, 1]);
        assert_eq!(again.load().unwrap(), wanted);
        let names: Vec<_> = folder.path().read_dir().unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left of making it");
    }

    #[test]
    fn secure_boot_is_turned_on_and_off_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (template, offset) = secure_boot::example(Some(1));
        let store = VariableStore::open(folder.path(), &template).unwrap();
        for on in [true, false, false, true] {
            store.set_secure_boot(on).unwrap();
            let mut wanted = template.clone();
            wanted[offset as usize] = on.into();
            assert_eq!(store.load().unwrap(), wanted);
        }
        let folder = tempfile::tempdir().unwrap();
        let (template, _) = secure_boot::example(None);
        let store = VariableStore::open(folder.path(), &template).unwrap();
        store.set_secure_boot(false).unwrap();
        assert_eq!(store.load().unwrap(), template);
        let error = store.set_secure_boot(true).unwrap_err();
        assert!(error.contains("has no keys"), "{error}");
    }

    #[test]
    fn a_store_of_other_firmware_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), [0; 100]).unwrap();
        let error = VariableStore::open(folder.path(), &[0; 4096]).unwrap_err();
        assert!(error.contains("variables.fd: has 100 bytes"), "{error}");
        // A start that was interrupted leaves a part, which is of no account.
        std::fs::remove_file(folder.path().join(NAME)).unwrap();
        std::fs::write(folder.path().join("variables.part"), [1; 9]).unwrap();
        let store = VariableStore::open(folder.path(), &[5; 4096]).unwrap();
        assert_eq!(store.load().unwrap(), [5; 4096]);
    }
}
