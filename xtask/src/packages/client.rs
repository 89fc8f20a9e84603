//! The host's package client, run with a state folder of our own.
//!
//! It takes the mirror, proxies and credentials from the host's own configuration, and checks
//! signatures against Debian's keyring. Hooks of the host's configuration are left out.

use super::lock::Pin;
use crate::context::{create_folder, write};
use crate::progress;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names a mirror when the host's own configuration has none.
const MIRROR_VARIABLE: &str = "ENTENTE_DEBIAN_MIRROR";

/// A package client with a fresh index.
pub struct Client {
    folder: PathBuf,
}

impl Client {
    /// Sets up the private state below `folder` and fetches the index of a release.
    pub fn prepare(folder: &Path, release: &str) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing; run: apt-get install debian-archive-keyring"
        );
        create_folder(&folder.join("state/lists/partial"))?;
        create_folder(&folder.join("cache/archives/partial"))?;
        let source = format!("deb [signed-by={KEYRING}] {} {release} main\n", mirror()?);
        write(&folder.join("sources.list"), source)?;
        write(&folder.join("apt.conf"), configuration(folder)?)?;
        let client = Self {
            folder: folder.to_path_buf(),
        };
        let spinner = progress::spinner("package index");
        client.run("apt-get", &["update", "--quiet=2", "--error-on=any"])?;
        spinner.finish_and_clear();
        Ok(client)
    }

    /// Versions and digests that the index has of these packages, the newest first; a package
    /// that it lacks is left out.
    pub fn pins(&self, names: &[&str]) -> Result<BTreeMap<String, Vec<Pin>>> {
        let arguments = [&["show", "--"], names].concat();
        // It fails when it knows none of the names.
        let output = self.output("apt-cache", &arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut pins: BTreeMap<String, Vec<Pin>> = BTreeMap::new();
        for stanza in text.split("\n\n") {
            let mut fields = fields(stanza);
            let mut take = |key| fields.remove(key);
            if let (Some(name), Some(version), Some(sha256)) =
                (take("Package"), take("Version"), take("SHA256"))
            {
                pins.entry(name).or_default().push(Pin { version, sha256 });
            }
        }
        Ok(pins)
    }

    /// Names that a package depends on directly.
    pub fn depends(&self, name: &str) -> Result<Vec<String>> {
        let text = self.run("apt-cache", &["show", "--no-all-versions", name])?;
        let fields = fields(&text);
        let depends = fields.get("Depends").map_or("", String::as_str);
        Ok(depends
            .split([',', '|'])
            .filter_map(|one| one.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// All packages that installing these would bring onto an empty system, in order.
    pub fn dependencies(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut arguments = vec!["install", "--simulate", "--no-install-recommends"];
        arguments.extend(names);
        let text = self.run("apt-get", &arguments)?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "))
            .filter_map(|rest| rest.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// Fetches packages: name, version and where the file goes.
    pub fn download(&self, packages: &[(&str, String, PathBuf)]) -> Result<()> {
        let folder = self.folder.join("download");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).context("an old download can't be removed")?;
        }
        create_folder(&folder)?;
        let wanted = packages
            .iter()
            .map(|(name, version, _)| format!("{name}={version}"));
        let output = self
            .command("apt-get")
            .args(["download", "--quiet=2"])
            .args(wanted)
            .current_dir(&folder)
            .output()
            .context("apt-get can't be started")?;
        told(&output, "packages can't be fetched")?;
        // Its files are called NAME_VERSION_ARCHITECTURE.deb.
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).context("the download can't be listed")? {
            let path = entry.context("the download can't be listed")?.path();
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some((name, _)) = file.split_once('_') {
                files.insert(name.to_owned(), path);
            }
        }
        for (name, version, to) in packages {
            let from = files
                .get(*name)
                .with_context(|| format!("the fetch of {name} {version} left no file"))?;
            std::fs::rename(from, to)
                .with_context(|| format!("{} can't be written", to.display()))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("{program} can't be started"))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.output(program, arguments)?;
        told(
            &output,
            &format!("{program} {} failed", arguments.join(" ")),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn told(output: &Output, what: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}:\n{}", said.trim());
    Ok(())
}

/// The host's own settings for acquiring, then ours: a private state and no hooks.
fn configuration(folder: &Path) -> Result<String> {
    let output = Command::new("apt-config")
        .arg("dump")
        .output()
        .context("apt-config can't be started; the pipeline needs a Debian host")?;
    told(&output, "apt-config dump failed")?;
    let mut text: String = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets"))
        .map(|line| format!("{line}\n"))
        .collect();
    let folder = folder.display();
    text.push_str(&format!(
        r#"Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
"#
    ));
    Ok(text)
}

/// The mirror that the host itself installs from.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Ok(mirror);
    }
    // Unlike `indextargets`, this also works before the host's first update.
    let output = Command::new("apt-get")
        .args(["update", "--print-uris"])
        .output()
        .context("apt-get can't be started; the pipeline needs a Debian host")?;
    told(&output, "apt-get update --print-uris failed")?;
    mirror_of(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        format!("the host's package sources name no Debian mirror; set {MIRROR_VARIABLE} to one")
    })
}

/// Among lines such as `'URI/dists/SUITE/InRelease' …`, the URI that serves most suites of a
/// Debian release: other vendors' repositories serve one.
fn mirror_of(uris: &str) -> Option<String> {
    const RELEASES: [&str; 9] = [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "sid",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    let mut suites: BTreeMap<&str, usize> = BTreeMap::new();
    for line in uris.lines() {
        let Some((base, suite)) = line
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once("/InRelease'"))
            .and_then(|(path, _)| path.split_once("/dists/"))
        else {
            continue;
        };
        let release = suite.split('-').next().unwrap_or(suite);
        if RELEASES.contains(&release) && !suite.ends_with("-security") {
            *suites.entry(base).or_default() += 1;
        }
    }
    let (base, _) = suites.into_iter().max_by_key(|(_, count)| *count)?;
    Some(base.to_owned())
}

/// The fields of one stanza; continuation lines are left out.
fn fields(stanza: &str) -> BTreeMap<String, String> {
    stanza
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_with_most_suites() {
        let uris = "'http://a.example/debian/dists/bookworm/InRelease' a 0 \n\
            'http://a.example/debian/dists/bookworm-updates/InRelease' b 0 \n\
            'http://a.example/debian-security/dists/bookworm-security/InRelease' c 0 \n\
            'http://z.example/linux/debian/dists/bookworm/InRelease' d 0 \n";
        assert_eq!(mirror_of(uris).unwrap(), "http://a.example/debian");
        assert_eq!(
            mirror_of("'http://u.example/dists/noble/InRelease' x 0"),
            None
        );
    }

    #[test]
    fn a_stanza_ends_at_the_empty_line() {
        let stanza = "Package: a\nDescription: x\n more: y\nSHA256: 1\n\nPackage: b\n";
        let fields = fields(stanza);
        assert_eq!(fields["Package"], "a");
        assert_eq!(fields["SHA256"], "1");
        assert_eq!(fields.len(), 3);
    }
}
