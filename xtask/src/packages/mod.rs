//! Distribution packages: Debian 13, pinned by version and SHA-256.
//!
//! The host's own package client fetches them with a private state folder, so no root is needed
//! and the host's own packages are never touched. `image-recipes/packages.lock` says which; a
//! version that the mirror has dropped is resolved again with a warning, or refused under
//! `--locked`.
//!
//! ```ignore
//! let store = packages::Store::open(&context)?;
//! for package in store.fetch(&["seabios"])? { packages::unpack(&package.path, &folder)?; }
//! let all = store.fetch_with_dependencies(&["grub-pc", "linux-image-amd64"])?;
//! ```

mod client;
mod lock;
mod other_release;
mod tree;

use crate::context::{Context, create_folder};
use crate::{digest, progress};
use anyhow::{Context as _, Result, ensure};
use client::Client;
use lock::{Lock, Pin};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
pub use tree::Tree;

/// The Debian release whose packages are used where no other one is named.
pub const RELEASE: &str = "trixie";

/// One package that lies in the cache and has the digest of the lock file.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name, without architecture.
    pub name: String,
    /// Debian's version.
    pub version: String,
    /// The `.deb` file.
    pub path: PathBuf,
}

/// The cache of packages together with the lock file. One process at a time holds it.
pub struct Store {
    folder: PathBuf,
    lock: RefCell<Lock>,
    lock_path: PathBuf,
    locked: bool,
    /// By release.
    clients: RefCell<BTreeMap<String, Rc<Client>>>,
    _guard: std::fs::File,
}

impl Store {
    /// Opens the cache of a checkout; waits while another process uses it.
    pub fn open(context: &Context) -> Result<Self> {
        let folder = context.cache.join("packages");
        create_folder(&folder)?;
        let guard = std::fs::File::create(folder.join("guard"))
            .with_context(|| format!("{} can't be written", folder.display()))?;
        guard
            .lock()
            .with_context(|| format!("{} can't be locked", folder.display()))?;
        let lock_path = context.root.join("image-recipes/packages.lock");
        Ok(Self {
            lock: RefCell::new(Lock::read(&lock_path)?),
            lock_path,
            folder,
            locked: context.locked,
            clients: RefCell::default(),
            _guard: guard,
        })
    }

    /// The named packages alone, in the order of the names; `RELEASE/NAME` is one of another release.
    pub fn fetch(&self, names: &[&str]) -> Result<Vec<Package>> {
        let absent: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| self.cached(name).is_none())
            .collect();
        if !absent.is_empty() {
            self.resolve(&absent)?;
            self.download(&absent)?;
        }
        names.iter().map(|name| self.checked(name)).collect()
    }

    /// The named packages and all that they depend on, without recommendations, in the order in
    /// which the package client would unpack them. Those of another release come last and alone.
    pub fn fetch_with_dependencies(&self, names: &[&str]) -> Result<Vec<Package>> {
        self.fetch_with_dependencies_of(None, names)
    }

    /// The same for names of another release than the usual one.
    pub fn fetch_with_dependencies_of(
        &self,
        release: Option<&str>,
        names: &[&str],
    ) -> Result<Vec<Package>> {
        let (others, names): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains('/'));
        let names = self.with_dependencies(release, &names)?;
        let names = names.iter().map(String::as_str).chain(others);
        self.fetch(&names.collect::<Vec<_>>())
    }

    /// The package that a meta package stands for: its one dependency whose name starts with
    /// `prefix`, such as the kernel image behind `linux-image-cloud-amd64`.
    pub fn resolve_meta(&self, meta: &str, prefix: &str) -> Result<String> {
        let wanted = |names: &[String]| behind_meta(names, meta, prefix);
        let key = format!("{meta} -> {prefix}*");
        let known = self.lock.borrow().sets.get(&key).and_then(|n| wanted(n));
        if let Some(name) = known {
            if self.available(&[&name])? {
                return Ok(name);
            }
            self.warn_of_dropped(&name);
        }
        self.may_change(&format!("the meta package {meta}"))?;
        let depends = self.client(RELEASE)?.depends(meta)?;
        let name = wanted(&depends)
            .with_context(|| format!("{meta} depends on no package named {prefix}…"))?;
        self.change(|lock| {
            lock.sets.insert(key, vec![name.clone()]);
        })?;
        Ok(name)
    }

    fn with_dependencies(&self, release: Option<&str>, names: &[&str]) -> Result<Vec<String>> {
        let key = match release {
            Some(release) => format!("{release}: {}", names.join(" ")),
            None => names.join(" "),
        };
        let known = self.lock.borrow().sets.get(&key).cloned();
        if let Some(set) = known {
            let dropped = self.dropped(&set)?;
            if dropped.is_empty() {
                return Ok(set);
            }
            self.warn_of_dropped(&format!("{}, which {key} needs", dropped.join(", ")));
            // Later versions may need other packages, as a kernel's meta package another kernel.
            self.may_change(&format!("what {key} depends on"))?;
            self.change(|lock| {
                let stands = |set: &Vec<String>| !dropped.iter().any(|name| set.contains(name));
                lock.sets.retain(|_, set| stands(set));
            })?;
        }
        self.may_change(&format!("what {key} depends on"))?;
        let client = self.client(release.unwrap_or(RELEASE))?;
        let set = client.dependencies(names)?;
        let set: Vec<String> = set.iter().map(|name| of_release(release, name)).collect();
        self.change(|lock| {
            lock.sets.insert(key, set.clone());
        })?;
        Ok(set)
    }

    /// Whether each package is in the cache, or is one that the mirror still has in some version.
    fn available(&self, names: &[&str]) -> Result<bool> {
        let mut absent = names
            .iter()
            .filter(|name| self.cached(name).is_none())
            .peekable();
        if absent.peek().is_none() {
            return Ok(true);
        }
        let index = self.offered(&absent.copied().collect::<Vec<_>>())?;
        Ok(names
            .iter()
            .all(|name| self.cached(name).is_some() || index.contains_key(*name)))
    }

    /// Those that are not in the cache, and of which the mirror has no more the lock's version, if the lock has one.
    fn dropped(&self, names: &[String]) -> Result<Vec<String>> {
        let absent = names.iter().filter(|name| self.cached(name).is_none());
        let absent: Vec<&str> = absent.map(String::as_str).collect();
        if absent.is_empty() {
            return Ok(Vec::new());
        }
        let index = self.offered(&absent)?;
        let lock = self.lock.borrow();
        let is_there = |name: &&str| {
            let mut offered = index.get(*name).into_iter().flatten();
            match lock.packages.get(*name) {
                Some(locked) => offered.any(|pin| pin.version == locked.version),
                None => offered.next().is_some(),
            }
        };
        let dropped = absent.into_iter().filter(|name| !is_there(name));
        Ok(dropped.map(str::to_owned).collect())
    }

    /// The file of a package that the lock names and the cache holds.
    fn cached(&self, name: &str) -> Option<PathBuf> {
        let lock = self.lock.borrow();
        let path = self.path(name, lock.packages.get(name)?);
        path.exists().then_some(path)
    }

    /// Brings the lock up to date for packages that have to be fetched: those that it lacks, and
    /// those whose version the mirror has dropped.
    fn resolve(&self, names: &[&str]) -> Result<()> {
        let index = self.offered(names)?;
        let mut changed = Vec::new();
        for name in names {
            let offered = index
                .get(*name)
                .with_context(|| format!("{} has no package {}", parts(name).0, parts(name).1))?;
            let locked = self.lock.borrow().packages.get(*name).cloned();
            if let Some(old) = locked {
                if let Some(same) = offered.iter().find(|pin| pin.version == old.version) {
                    ensure!(
                        same.sha256 == old.sha256,
                        "the mirror's {name} {} is not the one of the lock file: SHA-256 {}",
                        old.version,
                        same.sha256
                    );
                    continue;
                }
                self.warn_of_dropped(&format!("{name} {}", old.version));
            }
            let new = offered.first().context("a package without a version")?;
            changed.push(((*name).to_owned(), new.clone()));
        }
        if let Some((name, _)) = changed.first() {
            self.may_change(&format!("the package {name}"))?;
            self.change(|lock| lock.packages.extend(changed))?;
        }
        Ok(())
    }

    fn download(&self, names: &[&str]) -> Result<()> {
        /// Packages fetched by one call of the client.
        const BATCH: usize = 16;
        let bar = progress::bar("packages", names.len() as u64);
        let by_release = by_release(names);
        let batches = by_release.iter().flat_map(|(release, names)| {
            let batches = names.chunks(BATCH);
            batches.map(move |batch| (release, batch))
        });
        for (release, batch) in batches {
            let mut wanted = Vec::new();
            for name in batch {
                let lock = self.lock.borrow();
                let pin = lock
                    .packages
                    .get(*name)
                    .context("a package was not resolved")?;
                let path = self.path(name, pin);
                wanted.push((without_release(name), pin.version.clone(), path));
            }
            bar.set_message(batch.join(" "));
            self.client(release)?.download(&wanted)?;
            bar.inc(batch.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn checked(&self, name: &str) -> Result<Package> {
        let lock = self.lock.borrow();
        let pin = lock
            .packages
            .get(name)
            .context("a package was not resolved")?;
        let path = self.path(name, pin);
        let found = digest::of_file(&path)?;
        ensure!(
            found == pin.sha256,
            "{} has SHA-256 {found}, the lock file says {}; delete it and try again",
            path.display(),
            pin.sha256
        );
        Ok(Package {
            name: without_release(name).to_owned(),
            version: pin.version.clone(),
            path,
        })
    }

    fn warn_of_dropped(&self, what: &str) {
        eprintln!(
            "warning: the mirror has dropped {what}; it is resolved again for {}",
            self.lock_path.display()
        );
    }

    fn path(&self, name: &str, pin: &Pin) -> PathBuf {
        let (name, version) = (without_release(name), pin.version.replace(':', "%3a"));
        self.folder.join(format!("{name}_{version}.deb"))
    }

    /// The package client for a release, with a fresh index.
    fn client(&self, release: &str) -> Result<Rc<Client>> {
        if let Some(client) = self.clients.borrow().get(release) {
            return Ok(client.clone());
        }
        let folder = match release {
            RELEASE => "client".to_owned(),
            other => format!("client-{other}"),
        };
        let client = Rc::new(Client::prepare(&self.folder.join(folder), release)?);
        let mut clients = self.clients.borrow_mut();
        clients.insert(release.to_owned(), client.clone());
        Ok(client)
    }

    /// Versions and digests that the mirror has of packages, the newest first; see [`Client::pins`].
    fn offered(&self, names: &[&str]) -> Result<BTreeMap<String, Vec<Pin>>> {
        let mut offered = BTreeMap::new();
        for (release, names) in by_release(names) {
            let bare: Vec<&str> = names.iter().map(|name| without_release(name)).collect();
            let mut index = self.client(release)?.pins(&bare)?;
            for name in names {
                if let Some(pins) = index.remove(without_release(name)) {
                    offered.insert(name.to_owned(), pins);
                }
            }
        }
        Ok(offered)
    }

    fn may_change(&self, what: &str) -> Result<()> {
        ensure!(
            !self.locked,
            "{what} would change {}; run without --locked",
            self.lock_path.display()
        );
        Ok(())
    }

    fn change(&self, edit: impl FnOnce(&mut Lock)) -> Result<()> {
        let mut lock = self.lock.borrow_mut();
        edit(&mut lock);
        lock.write(&self.lock_path)
    }
}

/// What a package of a release is called here and in the lock: `RELEASE/NAME`, or its name alone if it is of
/// [`RELEASE`].
pub fn of_release(release: Option<&str>, name: &str) -> String {
    match release {
        None | Some(RELEASE) => name.to_owned(),
        Some(release) => format!("{release}/{name}"),
    }
}

/// The release and the name of a package that is called so.
fn parts(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or((RELEASE, key))
}

fn without_release(key: &str) -> &str {
    parts(key).1
}

/// In the order in which they were named.
fn by_release<'a>(names: &[&'a str]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut by_release: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        by_release.entry(parts(name).0).or_default().push(name);
    }
    by_release
}

/// Among what a meta package depends on, the one package whose name starts with `prefix`.
fn behind_meta(depends: &[String], meta: &str, prefix: &str) -> Option<String> {
    let mut wanted = depends.iter().filter(|name| name.starts_with(prefix));
    wanted.find(|name| *name != meta).cloned()
}

/// Unpacks the files of a package below a folder, which is made. As dpkg does, it leaves links to folders there where
/// the package has a folder: those of older releases have `/lib`.
pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    create_folder(into)?;
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb can't be started")?;
    let files = archive.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["--extract", "--preserve-permissions"])
        .args(["--keep-directory-symlink", "--warning=no-timestamp"])
        .arg("--directory")
        .arg(into)
        .stdin(files)
        .status();
    let read = archive.wait().context("dpkg-deb can't be waited for")?;
    ensure!(
        unpacked.context("tar can't be started")?.success() && read.success(),
        "{} can't be unpacked",
        deb.display()
    );
    Ok(())
}

/// The folder of a package's files, unpacked once into the cache.
pub fn unpacked(context: &Context, store: &Store, name: &str) -> Result<PathBuf> {
    let fetched = store.fetch(&[name])?;
    let package = fetched.first().context("nothing was fetched")?;
    let stem = package.path.file_stem().unwrap_or_default();
    let folder = context.cache.join("unpacked").join(stem);
    if !folder.exists() {
        let part = folder.with_extension("part");
        if part.exists() {
            std::fs::remove_dir_all(&part)
                .with_context(|| format!("{} can't be removed", part.display()))?;
        }
        unpack(&package.path, &part)?;
        std::fs::rename(&part, &folder)
            .with_context(|| format!("{} can't be written", folder.display()))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_sorted_by_release() {
        let names = ["bash", "bookworm/ovmf", "dash", "bookworm/bash"];
        let sorted = by_release(&names);
        assert_eq!(sorted[RELEASE], ["bash", "dash"]);
        assert_eq!(sorted["bookworm"], ["bookworm/ovmf", "bookworm/bash"]);
        assert_eq!(of_release(Some(RELEASE), without_release(names[1])), "ovmf");
        assert_eq!(of_release(Some("bookworm"), "ovmf"), names[1]);
    }
}
