//! Single packages of other Debian releases: kernels of guests.

use super::client::Client;
use super::{Package, Store, behind_meta};
use anyhow::{Context as _, Result, ensure};

impl Store {
    /// The package that a meta package of another release stands for, without what it depends on; see
    /// [`Store::resolve_meta`].
    pub fn fetch_behind_meta(&self, release: &str, meta: &str, prefix: &str) -> Result<Package> {
        let key = format!("{release}: {meta} -> {prefix}*");
        let known = self.lock.borrow().sets.get(&key).cloned();
        if let Some([name]) = known.as_deref()
            && self.cached(name).is_some()
        {
            return self.checked(name);
        }
        let client = Client::prepare(&self.folder.join(format!("client-{release}")), release)?;
        let name = match known.and_then(|names| names.first().cloned()) {
            // What the lock says, as long as the release has it.
            Some(name) if client.pins(&[&name])?.contains_key(&name) => name,
            _ => behind_meta(&client.depends(meta)?, meta, prefix)
                .with_context(|| format!("{meta} of {release} depends on no {prefix}…"))?,
        };
        let offered = client.pins(&[&name])?.remove(&name);
        let pin = offered.and_then(|pins| pins.into_iter().next());
        let pin = pin.with_context(|| format!("{release} has no package {name}"))?;
        let locked = self.lock.borrow().packages.get(&name).cloned();
        if let Some(locked) = locked.filter(|locked| locked.version == pin.version) {
            ensure!(
                locked.sha256 == pin.sha256,
                "the mirror's {name} {} is not the one of the lock file: SHA-256 {}",
                pin.version,
                pin.sha256
            );
        } else {
            self.may_change(&format!("the package {name}"))?;
            self.change(|lock| {
                lock.sets.insert(key, vec![name.clone()]);
                lock.packages.insert(name.clone(), pin.clone());
            })?;
        }
        client.download(&[(&name, pin.version.clone(), self.path(&name, &pin))])?;
        self.checked(&name)
    }
}
