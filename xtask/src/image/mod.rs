//! `cargo xtask image`: a disk image from a recipe, the same bytes every time.

mod cpio;
mod data_disk;
pub mod esp;
mod initramfs;
mod kernel_modules;
mod libraries;
pub mod partition_table;
mod pe;

use crate::context::{Context, read, write};
use crate::guest_disk::{self, OtherRelease};
use crate::machine_disks::MachineDisk;
use crate::packages::{self, Store};
use crate::recipe::Recipe;
use crate::{digest, machine_disks, toolchain};
use anyhow::{Context as _, Result, ensure};
pub use data_disk::format_ext4;
use partition_table::Part;
use qemu_tests::{DiskKind, Kernel};
use std::path::{Path, PathBuf};

/// Where the partition of the data disk starts, in bytes.
pub const DATA_OFFSET: u64 = partition_table::ALIGNMENT;

/// What [`build`] made.
#[derive(Clone, Debug)]
pub struct Image {
    /// The unified kernel image alone.
    pub unified: PathBuf,
    /// The disk image that boots.
    pub disk: PathBuf,
    /// The control domain's kernel, for a boot without the hypervisor.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// Its command line.
    pub command_line: String,
}

impl Image {
    /// The control domain without the hypervisor.
    pub fn as_kernel(&self) -> Kernel {
        Kernel {
            linux: self.kernel.clone(),
            initramfs: self.initramfs.clone(),
            command_line: self.command_line.clone(),
        }
    }
}

/// Changes to a recipe for one build.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Words added to the kernel's command line.
    pub append: Vec<String>,
    /// Words of the recipe left out of the kernel's command line.
    pub without_words: Vec<String>,
    /// Leaves the hypervisor and the disk image out: the control domain alone.
    pub without_hypervisor: bool,
    /// An executable in the hypervisor's place, such as another stub for unified images.
    pub stub: Option<PathBuf>,
}

/// The kernel counts ticks of the 8254 for a sixth of a second and panics where it sees none; an emulator that the host
/// gives no time is such a PC.
const EMULATED: &str = "no_timer_check";

impl Changes {
    /// Words for an image that only an emulator boots.
    pub fn emulated(append: impl IntoIterator<Item = String>) -> Self {
        Self {
            append: append.into_iter().chain([EMULATED.to_owned()]).collect(),
            ..Self::default()
        }
    }
}

/// Builds the named recipe's image into `out/`.
pub fn build(context: &Context, recipe: &Recipe, changes: &Changes) -> Result<Image> {
    let store = Store::open(context)?;
    let control = control_domain(context, &store, recipe, changes)?;
    let at = |suffix: &str| context.out.join(format!("{}.{suffix}", recipe.name));
    write(&at("vmlinuz"), &control.linux)?;
    write(&at("initramfs"), &control.initramfs)?;
    if !changes.without_hypervisor {
        let (unified, manifest) = unified_image(context, recipe, changes, &control)?;
        write(&at("manifest.yaml"), manifest)?;
        write(&at("efi"), &unified)?;
        write_disk(&at("img"), recipe, &unified)?;
    }
    Ok(Image {
        unified: at("efi"),
        disk: at("img"),
        kernel: at("vmlinuz"),
        initramfs: at("initramfs"),
        command_line: control.command_line,
    })
}

/// Where [`machines`] writes to.
pub fn data_disk_path(context: &Context, recipe: &Recipe) -> PathBuf {
    context.out.join(format!("{}-data.img", recipe.name))
}

/// Builds the disk that holds the machines: what lies in `out/data/`, with the recipe's machine as
/// its guest's recipe makes it (`machines/NAME/` for each).
pub fn machines(context: &Context, recipe: &Recipe) -> Result<PathBuf> {
    machines_with(context, recipe, &mut |_| Ok(()))
}

/// The same after a change to that machine's folder.
pub fn machines_with(
    context: &Context,
    recipe: &Recipe,
    change: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<PathBuf> {
    // The store is closed again before the change, which may want it.
    let machine = guest_disk::install(
        context,
        &Store::open(context)?,
        &recipe.data.machine,
        OtherRelease::default(),
    )?;
    change(&machine)?;
    data_disk::build(context, recipe, &context.out.join("data"))
}

/// The same at `path`, for a machine with another release or other disks than its guest's recipe gives it; see
/// [`machine_disks`].
pub fn machine_with_disks(
    context: &Context,
    recipe: &Recipe,
    other: OtherRelease,
    kinds: &[DiskKind],
    path: &Path,
) -> Result<Vec<MachineDisk>> {
    let folder = context.out.join("data");
    let remove = || match folder.exists() {
        true => std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{} can't be removed", folder.display())),
        false => Ok(()),
    };
    remove()?;
    let machine =
        guest_disk::install(context, &Store::open(context)?, &recipe.data.machine, other)?;
    let disks = machine_disks::replace(&machine, &context.out.join("disks"), kinds)?;
    let made = data_disk::build(context, recipe, &folder)?;
    std::fs::rename(&made, path).with_context(|| format!("{} can't be moved", made.display()))?;
    remove()?;
    Ok(disks)
}

/// What the hypervisor starts.
struct ControlDomain {
    package: String,
    release: String,
    linux: Vec<u8>,
    initramfs: Vec<u8>,
    command_line: String,
    os_release: String,
}

fn control_domain(
    context: &Context,
    store: &Store,
    recipe: &Recipe,
    changes: &Changes,
) -> Result<ControlDomain> {
    let kernel = &recipe.kernel;
    let package = store.resolve_meta(&kernel.meta_package, &kernel.package_prefix)?;
    let folder = packages::unpacked(context, store, &package)?;
    let release = package
        .strip_prefix("linux-image-")
        .context("a kernel package's name starts with linux-image-")?
        .to_owned();
    let modules = folder.join("usr/lib/modules").join(&release);
    let os_release = format!(
        "ID=entente\nNAME=\"Entente\"\nPRETTY_NAME=\"{}\"\nVERSION_ID={}\n",
        recipe.title,
        env!("CARGO_PKG_VERSION")
    );
    let mut words = recipe.command_line.clone();
    for left_out in &changes.without_words {
        ensure!(
            words.contains(left_out),
            "recipe {} has no word {left_out} in its command line",
            recipe.name
        );
        words.retain(|word| word != left_out);
    }
    words.extend_from_slice(&changes.append);
    Ok(ControlDomain {
        linux: read(&folder.join(format!("boot/vmlinuz-{release}")))?,
        initramfs: initramfs::build(context, store, recipe, &modules, &release, &os_release)?,
        command_line: words.join(" "),
        os_release,
        package,
        release,
    })
}

/// The hypervisor with the control domain in its sections, and a manifest of what went in.
fn unified_image(
    context: &Context,
    recipe: &Recipe,
    changes: &Changes,
    control: &ControlDomain,
) -> Result<(Vec<u8>, String)> {
    let hypervisor = match &changes.stub {
        Some(stub) => stub.clone(),
        None => toolchain::build(context, &recipe.hypervisor, toolchain::UEFI)?,
    };
    let mut executable = pe::Executable::parse(read(&hypervisor)?)
        .context("the hypervisor is no executable that sections can be added to")?;
    let sbat = format!(
        "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
         entente,1,Entente,entente,{},\n",
        env!("CARGO_PKG_VERSION")
    );
    let sections: [(&str, &[u8]); 6] = [
        (".osrel", control.os_release.as_bytes()),
        (".cmdline", control.command_line.as_bytes()),
        (".uname", control.release.as_bytes()),
        (".sbat", sbat.as_bytes()),
        (".linux", &control.linux),
        (".initrd", &control.initramfs),
    ];
    let mut manifest = format!(
        "recipe: {}\ncompiler: {}\nrust_library: {}\nkernel: {}\nsections:\n",
        recipe.name,
        toolchain::version()?,
        toolchain::ensure_target(context, toolchain::UEFI)?.name(),
        control.package,
    );
    for (name, content) in sections {
        executable.add_section(name, content)?;
        manifest.push_str(&format!(
            "  {name}: {{size: {}, sha256: {}}}\n",
            content.len(),
            digest::of_bytes(content)
        ));
    }
    Ok((executable.into_bytes(), manifest))
}

fn write_disk(path: &Path, recipe: &Recipe, unified: &[u8]) -> Result<()> {
    let seed = digest::of_bytes(unified);
    let volume = digest::derived_uuid(&seed, "system volume");
    let volume_id = u32::from_le_bytes([volume[0], volume[1], volume[2], volume[3]]);
    let system = esp::build(
        recipe.esp_mib << 20,
        volume_id,
        &[("EFI/BOOT/BOOTX64.EFI", unified)],
    )?;
    let part = Part {
        label: "entente-esp".to_owned(),
        kind: gpt::partition_types::EFI,
        size: recipe.esp_mib << 20,
    };
    let (mut file, offsets) = partition_table::create(path, &seed, &[part])?;
    for offset in offsets {
        partition_table::write_sparse(&mut file, offset, &system)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}
