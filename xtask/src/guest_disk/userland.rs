//! The guest's userland: packages set up by their own maintainers' scripts, packed as `root.tar`.

use super::is_kernel;
use super::recipe::GuestRecipe;
use super::sandbox::Sandbox;
use crate::context::{create_folder, write};
use crate::packages::{self, Package, Store};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The archive's name in the working folder.
pub const ARCHIVE: &str = "root.tar";

/// fakeroot's parts, which are no part of the userland but work with its C library.
const FAKEROOT: [(&str, &str); 3] = [
    ("usr/bin/fakeroot-sysv", "fakeroot"),
    ("usr/bin/faked-sysv", "faked"),
    (
        "usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-sysv.so",
        "libfakeroot.so",
    ),
];

/// Runs a command inside with owners and modes remembered in a file. Of an unchanged file it says
/// that root owns it. The namespace knows one user, so a real change is not even tried.
const REMEMBERING: &str = "export FAKEROOTDONTTRYCHOWN=1
    fakeroot() { sh /build/fakeroot --lib /build/libfakeroot.so --faked /build/faked \"$@\"; }";

/// The kernel's package leaves its initramfs to a later step: made under fakeroot, its many
/// processes at a time confuse fakeroot's messages.
///
/// All packages are unpacked at once; dependencies are in order again when they are set up.
const INSTALL: &str = r#"
export INITRD=No
fakeroot -s /build/owners -- sh -euc '
dpkg --force-depends --unpack /build/packages/*.deb
dpkg --configure --pending
test -z "$(dpkg --audit)"
'"#;

/// The initramfs by Debian's own hooks, and the link to it that the kernel's package would have
/// made.
const INITRAMFS: &str = "
update-initramfs -c -k all
cd /
rm -f vmlinuz.old
ln -s boot/initrd.img-* initrd.img
";

/// What is not the system but the trace of its making is left out: logs, caches of inode numbers,
/// the files before the last change.
const PACK: &str = r#"
fakeroot -i /build/owners -- tar --create --file=/build/root.tar --directory=/ \
    --format=gnu --sort=name --numeric-owner --mtime=@$SOURCE_DATE_EPOCH --clamp-mtime \
    --exclude='./build' --exclude='./dev/*' --exclude='./proc/*' --exclude='./run/*' \
    --exclude='./tmp/*' --exclude='./var/tmp/*' --exclude='./var/log/*.log' \
    --exclude='./var/cache/ldconfig/aux-cache' --exclude='./var/cache/debconf/*-old' \
    --exclude='./var/lib/dpkg/*-old' .
"#;

/// Folders that are links to those of the same name in `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// fakeroot's packages, of the guest's release.
pub fn fakeroot(store: &Store, recipe: &GuestRecipe) -> Result<Vec<Package>> {
    let names = ["fakeroot", "libfakeroot"].map(|name| recipe.of_release(name));
    store.fetch(&names.each_ref().map(String::as_str))
}

/// Makes [`ARCHIVE`] in `work`; `root` becomes the tree.
pub fn build(
    recipe: &GuestRecipe,
    packages: &[Package],
    fakeroot: &[Package],
    root: &Path,
    work: &Path,
) -> Result<()> {
    lend_fakeroot(fakeroot, work)?;
    // As debootstrap does it for a release whose packages don't bring these links.
    create_folder(root)?;
    for name in MERGED {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))
            .with_context(|| format!("{} can't be linked", root.join(name).display()))?;
        create_folder(&root.join("usr").join(name))?;
    }
    // Unpacked once without dpkg, so that there is a dpkg to do it properly.
    // The kernel is left to it: an older one has a folder where /lib is a link.
    let needed: Vec<Package> = packages.iter().filter(|p| !is_kernel(p)).cloned().collect();
    let guest = Sandbox::unpack(&needed, root, work)?;
    offer_packages(packages, &work.join("packages"))?;
    exclude(recipe, root)?;

    let no_services = root.join("usr/sbin/policy-rc.d");
    write(&no_services, "#!/bin/sh\nexit 101\n")?;
    set_mode(&no_services, 0o755)?;
    guest.run("setting up the guest's packages", &remembering(INSTALL))?;
    remove_file(&no_services)?;

    for (path, text) in recipe.files() {
        write_file(root, Path::new(path), &text)?;
    }
    guest.run("the recipe's commands", &remembering(&commands(recipe)))?;
    guest.run("the guest's initramfs", INITRAMFS)?;
    guest.run("packing the userland", &remembering(PACK))
}

fn remembering(script: &str) -> String {
    format!("{REMEMBERING}\n{script}")
}

fn commands(recipe: &GuestRecipe) -> String {
    let mut script = String::new();
    for command in &recipe.commands {
        let quoted = command.replace('\'', r"'\''");
        let _ = writeln!(
            script,
            "fakeroot -i /build/owners -s /build/owners -- sh -euc '{quoted}'"
        );
    }
    script
}

/// Writes a file of the userland. One that is there keeps owner and mode; what is new gets the
/// usual ones, whatever the umask is.
fn write_file(root: &Path, path: &Path, text: &str) -> Result<()> {
    let folders: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in folders.into_iter().rev().map(|folder| root.join(folder)) {
        if !folder.exists() {
            create_folder(&folder)?;
            set_mode(&folder, 0o755)?;
        }
    }
    let file = root.join(path);
    let new = !file.exists();
    // A link in the tree that starts at its root would lead into the host's.
    let real = match new {
        true => file.parent().unwrap_or(root),
        false => &file,
    }
    .canonicalize();
    ensure!(
        real.is_ok_and(|real| root.canonicalize().is_ok_and(|root| real.starts_with(root))),
        "/{} is behind a link out of the userland; name what the link leads to",
        path.display()
    );
    std::fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
    match new {
        true => set_mode(&file, 0o644),
        false => Ok(()),
    }
}

fn lend_fakeroot(packages: &[Package], work: &Path) -> Result<()> {
    let folder = work.join("fakeroot-packages");
    for package in packages {
        packages::unpack(&package.path, &folder)?;
    }
    for (from, name) in FAKEROOT {
        let from = folder.join(from);
        std::fs::copy(&from, work.join(name))
            .with_context(|| format!("{} can't be copied", from.display()))?;
    }
    Ok(())
}

fn offer_packages(packages: &[Package], folder: &Path) -> Result<()> {
    create_folder(folder)?;
    for package in packages {
        let to = folder.join(format!("{}.deb", package.name));
        std::fs::hard_link(&package.path, &to)
            .or_else(|_| std::fs::copy(&package.path, &to).map(|_| ()))
            .with_context(|| format!("{} can't be offered", package.path.display()))?;
    }
    Ok(())
}

/// Tells dpkg what to leave out, and takes away what the first unpacking brought of it.
fn exclude(recipe: &GuestRecipe, root: &Path) -> Result<()> {
    let mut lines = String::new();
    for folder in &recipe.exclude {
        let _ = writeln!(lines, "path-exclude={folder}/*");
        super::remove(&root.join(folder.trim_start_matches('/')))?;
    }
    let file = root.join("etc/dpkg/dpkg.cfg.d/excluded-folders");
    write(&file, lines)?;
    set_mode(&file, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("the mode of {} can't be set", path.display()))
}

fn remove_file(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("{} can't be removed", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_inside_the_tree_alone() {
        let base = std::env::temp_dir().join(format!("userland-{}", std::process::id()));
        let root = base.join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(base.join("outside"), "host").unwrap();
        std::os::unix::fs::symlink(base.join("outside"), root.join("etc/link")).unwrap();
        std::os::unix::fs::symlink(&base, root.join("up")).unwrap();

        write_file(&root, Path::new("etc/new/deep"), "text").unwrap();
        let mode = |path: &str| {
            std::fs::metadata(root.join(path))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("etc/new") & 0o777, 0o755);
        assert_eq!(mode("etc/new/deep") & 0o777, 0o644);
        set_mode(&root.join("etc/new/deep"), 0o600).unwrap();
        write_file(&root, Path::new("etc/new/deep"), "other").unwrap();
        assert_eq!(mode("etc/new/deep") & 0o777, 0o600);

        assert!(write_file(&root, Path::new("etc/link"), "guest").is_err());
        assert!(write_file(&root, Path::new("up/new"), "guest").is_err());
        assert_eq!(
            std::fs::read_to_string(base.join("outside")).unwrap(),
            "host"
        );
        assert!(!base.join("new").exists());
        std::fs::remove_dir_all(base).unwrap();
    }
}
