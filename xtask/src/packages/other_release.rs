//! Kernels of other Debian releases.

use super::client::Client;
use super::{Package, Store, behind_meta, of_release};
use anyhow::{Context as _, Result};

impl Store {
    /// The kernel that a meta package of another release stands for, without the tools that it depends on; see
    /// [`Store::resolve_meta`].
    pub fn fetch_kernel_of(&self, release: &str, meta: &str, prefix: &str) -> Result<Vec<Package>> {
        let key = format!("{release}: {meta} -> {prefix}*");
        let known = self.lock.borrow().sets.get(&key).cloned();
        let keyed = |names: &[String]| -> Vec<String> {
            let names = names.iter();
            names.map(|name| of_release(Some(release), name)).collect()
        };
        let is_there = |names: &[String]| {
            let names = keyed(names);
            self.available(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let names = match known {
            Some(names) if is_there(&names)? => names,
            _ => {
                self.may_change(&key)?;
                let names = resolve(&*self.client(release)?, release, meta, prefix)?;
                self.change(|lock| {
                    lock.sets.insert(key, names.clone());
                })?;
                names
            }
        };
        self.fetch(&keyed(&names).iter().map(String::as_str).collect::<Vec<_>>())
    }
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
