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

use crate::context::{Context, create_folder};
use crate::{digest, progress};
use anyhow::{Context as _, Result, bail, ensure};
use client::Client;
use lock::{Lock, Pin};
use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian release whose packages are used.
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
    client: OnceCell<Client>,
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
            client: OnceCell::new(),
            _guard: guard,
        })
    }

    /// The named packages alone, in the order of the names.
    pub fn fetch(&self, names: &[&str]) -> Result<Vec<Package>> {
        let bar = progress::bar("packages", names.len() as u64);
        let fetched = names
            .iter()
            .map(|name| {
                bar.set_message((*name).to_owned());
                let package = self.fetch_one(name);
                bar.inc(1);
                package
            })
            .collect();
        bar.finish_and_clear();
        fetched
    }

    /// The named packages and all that they depend on, without recommendations, in the order in
    /// which the package client would unpack them.
    pub fn fetch_with_dependencies(&self, names: &[&str]) -> Result<Vec<Package>> {
        let names = self.with_dependencies(names)?;
        self.fetch(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The package that a meta package stands for: its one dependency whose name starts with
    /// `prefix`, such as the kernel image behind `linux-image-cloud-amd64`.
    pub fn resolve_meta(&self, meta: &str, prefix: &str) -> Result<String> {
        let wanted = |names: &[String]| {
            names
                .iter()
                .find(|name| name.starts_with(prefix) && *name != meta)
                .cloned()
        };
        let key = format!("{meta} -> {prefix}*");
        let known = self.lock.borrow().sets.get(&key).and_then(|n| wanted(n));
        if let Some(name) = known {
            return Ok(name);
        }
        self.may_change(&format!("the meta package {meta}"))?;
        let depends = self.client()?.depends(meta)?;
        let name = wanted(&depends)
            .with_context(|| format!("{meta} depends on no package named {prefix}…"))?;
        self.change(|lock| {
            lock.sets.insert(key, vec![name.clone()]);
        })?;
        Ok(name)
    }

    fn with_dependencies(&self, names: &[&str]) -> Result<Vec<String>> {
        let key = names.join(" ");
        if let Some(set) = self.lock.borrow().sets.get(&key) {
            return Ok(set.clone());
        }
        self.may_change(&format!("what {key} depends on"))?;
        let set = self.client()?.dependencies(names)?;
        self.change(|lock| {
            lock.sets.insert(key, set.clone());
        })?;
        Ok(set)
    }

    fn fetch_one(&self, name: &str) -> Result<Package> {
        let pinned = self.lock.borrow().packages.get(name).cloned();
        let pin = match pinned {
            Some(pin) if self.path(name, &pin).exists() => pin,
            Some(pin) if self.client()?.pin(name, Some(&pin.version))?.is_some() => pin,
            Some(pin) => self.resolve_again(name, &pin)?,
            None => {
                self.may_change(&format!("the package {name}"))?;
                self.resolve(name)?
            }
        };
        let path = self.path(name, &pin);
        if !path.exists() {
            self.client()?.download(name, &pin.version, &path)?;
        }
        let found = digest::of_file(&path)?;
        ensure!(
            found == pin.sha256,
            "{} has SHA-256 {found}, the lock file says {}; delete it and try again",
            path.display(),
            pin.sha256
        );
        Ok(Package {
            name: name.to_owned(),
            version: pin.version,
            path,
        })
    }

    fn resolve_again(&self, name: &str, old: &Pin) -> Result<Pin> {
        self.may_change(&format!(
            "{name} {}, which the mirror no longer has",
            old.version
        ))?;
        let new = self.resolve(name)?;
        eprintln!(
            "warning: the mirror has dropped {name} {}; {} is used and written to the lock file",
            old.version, new.version
        );
        Ok(new)
    }

    fn resolve(&self, name: &str) -> Result<Pin> {
        let Some(pin) = self.client()?.pin(name, None)? else {
            // The set or meta package that named it may be older than the mirror.
            self.change(|lock| lock.sets.retain(|_, set| !set.iter().any(|n| n == name)))?;
            bail!(
                "{RELEASE} has no package {name}; what led to it was resolved at another time: run the command again"
            );
        };
        self.change(|lock| {
            lock.packages.insert(name.to_owned(), pin.clone());
        })?;
        Ok(pin)
    }

    fn path(&self, name: &str, pin: &Pin) -> PathBuf {
        self.folder
            .join(format!("{name}_{}.deb", pin.version.replace(':', "%3a")))
    }

    fn client(&self) -> Result<&Client> {
        if self.client.get().is_none() {
            let client = Client::prepare(&self.folder.join("client"))?;
            let _ = self.client.set(client);
        }
        self.client.get().context("the package client is not ready")
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

/// Unpacks the files of a package below a folder, which is made.
pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    create_folder(into)?;
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .args([deb, into])
        .status()
        .context("dpkg-deb can't be started")?;
    ensure!(status.success(), "{} can't be unpacked", deb.display());
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
