//! Packages of other Debian releases: kernels of guests, firmware. They are named `RELEASE/NAME`, in the lock too.

use super::client::Client;
use super::lock::Pin;
use super::{Package, Store, behind_meta};
use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;

impl Store {
    /// The kernel that a meta package of another release stands for, without the tools that it depends on; see
    /// [`Store::resolve_meta`].
    pub fn fetch_kernel_of(&self, release: &str, meta: &str, prefix: &str) -> Result<Vec<Package>> {
        let key = format!("{release}: {meta} -> {prefix}*");
        let keyed = |name: &String| format!("{release}/{name}");
        let known = self.lock.borrow().sets.get(&key).cloned();
        if let Some(names) = &known
            && names.iter().all(|name| self.cached(&keyed(name)).is_some())
        {
            return names
                .iter()
                .map(|name| self.checked(&keyed(name)))
                .collect();
        }
        let client = self.client_of(release)?;
        let names = match known {
            // What the lock says, as long as the release has it.
            Some(names) if has_all(&client, &names)? => names,
            _ => resolve(&client, release, meta, prefix)?,
        };
        let wanted = self.pins_of(&client, release, &names)?;
        if self.lock.borrow().sets.get(&key) != Some(&names) {
            self.may_change(&key)?;
            self.change(|lock| {
                lock.sets.insert(key, names.clone());
            })?;
        }
        client.download(&wanted)?;
        names
            .iter()
            .map(|name| self.checked(&keyed(name)))
            .collect()
    }

    /// Fetches one package of another release, without what it depends on.
    pub(super) fn fetch_of(&self, release: &str, name: &str) -> Result<()> {
        let client = self.client_of(release)?;
        let names = [name.to_owned()];
        client.download(&self.pins_of(&client, release, &names)?)
    }

    fn client_of(&self, release: &str) -> Result<Client> {
        Client::prepare(&self.folder.join(format!("client-{release}")), release)
    }

    /// Name, version and file of each package, with the lock brought up to date.
    fn pins_of<'a>(
        &self,
        client: &Client,
        release: &str,
        names: &'a [String],
    ) -> Result<Vec<(&'a str, String, PathBuf)>> {
        let mut index = client.pins(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let pinned = names.iter().map(|name| {
            let offered = index.remove(name).unwrap_or_default();
            let pin = self.pin(&format!("{release}/{name}"), offered)?;
            let path = self.path(name, &pin);
            Ok((name.as_str(), pin.version, path))
        });
        pinned.collect()
    }

    /// The pin of the lock, if it is among what is offered, else the newest, for the lock.
    fn pin(&self, key: &str, offered: Vec<Pin>) -> Result<Pin> {
        let locked = self.lock.borrow().packages.get(key).cloned();
        if let Some(locked) = locked
            && let Some(same) = offered.iter().find(|pin| pin.version == locked.version)
        {
            ensure!(
                same.sha256 == locked.sha256,
                "the mirror's {key} {} is not the one of the lock file: SHA-256 {}",
                same.version,
                same.sha256
            );
            return Ok(locked);
        }
        let newest = offered.into_iter().next();
        let newest = newest.with_context(|| format!("there is no package {key}"))?;
        self.may_change(&format!("the package {key}"))?;
        self.change(|lock| {
            lock.packages.insert(key.to_owned(), newest.clone());
        })?;
        Ok(newest)
    }
}

fn has_all(client: &Client, names: &[String]) -> Result<bool> {
    let index = client.pins(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(names.iter().all(|name| index.contains_key(name)))
}

/// The kernel's package, and what it depends on by its own version. A kernel in several packages wants its release's
/// `linux-base`.
fn resolve(client: &Client, release: &str, meta: &str, prefix: &str) -> Result<Vec<String>> {
    let image = behind_meta(&client.depends(meta)?, meta, prefix)
        .with_context(|| format!("{meta} of {release} depends on no {prefix}…"))?;
    let version = image.trim_start_matches(prefix);
    let mut parts = client.depends(&image)?;
    parts.retain(|part| part.starts_with("linux-") && part.ends_with(version));
    if !parts.is_empty() {
        parts.push("linux-base".into());
    }
    parts.push(image);
    Ok(parts)
}
