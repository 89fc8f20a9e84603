//! Rows: one boot each, as data. A file may say that the same is to hold in further PCs, or for guests with
//! another kernel or disk, which makes a row for each; what it expects may be a [`part`] of several rows.

use crate::emulator::{Cpu, EmulatorName};
use crate::given_file::GivenFile;
use crate::guest_disk::{DiskHolds, DiskKind};
use crate::name_server::Names;
use crate::part;
use crate::watch::{Expectation, Limits};
use anyhow::{Context as _, Result, ensure};
use regex::Regex;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// When a row is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowSet {
    /// By every `cargo xtask test`.
    Test,
    /// By the nightly matrix alone.
    Matrix,
}

/// What is booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// The image: the hypervisor, which starts the control domain.
    #[default]
    Image,
    /// The control domain's kernel alone.
    WithoutHypervisor,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name: that of its file, for a further row with what differs behind it.
    #[serde(skip)]
    pub name: String,
    /// One sentence: what it proves.
    pub proves: String,
    /// When it is run.
    pub set: RowSet,
    /// What is booted.
    #[serde(default)]
    pub boot: Boot,
    /// The recipe of the image; the one that is usual for the emulator unless named.
    #[serde(default)]
    pub recipe: Option<String>,
    /// What emulates the PC.
    #[serde(default)]
    pub emulator: EmulatorName,
    /// Its processor: `intel`, `amd` or the emulator's name of a model.
    #[serde(default)]
    pub cpu: Cpu,
    /// Words added to the control domain's kernel command line.
    #[serde(default)]
    pub append: Vec<String>,
    /// Words left out of the control domain's kernel command line.
    #[serde(default)]
    pub without_words: Vec<String>,
    /// Whether the disk with the machines is there.
    #[serde(default)]
    pub data_disk: bool,
    /// Further machines there, which are copies of the usual one.
    #[serde(default)]
    pub copies: Vec<String>,
    /// Further machines there, by the names of their guests' recipes.
    #[serde(default)]
    pub guests: Vec<String>,
    /// Further files there, or others in their place: text by path.
    #[serde(default)]
    pub data_files: BTreeMap<String, String>,
    /// Further files there that others made, by path.
    #[serde(default)]
    pub given_files: BTreeMap<String, GivenFile>,
    /// Files that a server in QEMU's network gives by TFTP, by path: `{tftp}` in the arguments is their folder.
    #[serde(default)]
    pub tftp_files: BTreeMap<String, GivenFile>,
    /// CPUs.
    #[serde(default = "two")]
    pub processors: u32,
    /// RAM in MiB; what is usual for the emulator unless named.
    #[serde(default)]
    pub memory_mib: Option<u32>,
    /// Further arguments for the emulator.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Names that are known in QEMU's network `names`, with their IPv4 addresses; behind it is `beyond`.
    #[serde(default)]
    pub names: Names,
    /// Lines that must appear, in this order.
    pub expect: Vec<Expectation>,
    /// Lines that must not appear.
    #[serde(default, deserialize_with = "patterns")]
    pub forbid: Vec<Regex>,
    /// Whether the PC must turn itself off at the end.
    #[serde(default)]
    pub until_off: bool,
    /// The guest's disks, in place of the one VHD that its recipe makes. The first one is made of that and
    /// boots; the others hold an ext4 file system with a file `given`. The first two are IDE disks, further
    /// ones SCSI disks.
    #[serde(default)]
    pub guest_disks: Vec<DiskKind>,
    /// Makes this row one row for each of these, with that disk alone; its name is added to the row's.
    #[serde(default)]
    pub each_guest_disk: Vec<DiskKind>,
    /// The Debian release whose kernel the guest has, if not its recipe's: the further guests, where there are some.
    #[serde(default)]
    pub guest_kernel: Option<String>,
    /// The Debian release that the same guest is of as a whole, if not its recipe's.
    #[serde(default)]
    pub guest_release: Option<String>,
    /// What the machine's disks must hold at the end, when others read them.
    #[serde(default)]
    pub disk_holds: Vec<DiskHolds>,
    /// A VHD on the data disk that others must be able to read at the end, by its path there.
    #[serde(default)]
    pub vhd_reads: Option<String>,
    /// CPU seconds of the emulator, as measured; four times as many are allowed.
    pub cpu_seconds: u32,
    /// What else the same is to hold for.
    #[serde(default)]
    pub also: Vec<Further>,
}

/// Where a row is run once more, and what differs there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Further {
    /// When.
    pub set: RowSet,
    /// What emulates the PC, if not the same.
    #[serde(default)]
    pub emulator: Option<EmulatorName>,
    /// Its processor, if not what is usual.
    #[serde(default)]
    pub cpu: Cpu,
    /// The recipe of the image, if not what is usual there.
    #[serde(default)]
    pub recipe: Option<String>,
    /// The Debian release whose kernel the guest has, if not the same.
    #[serde(default)]
    pub guest_kernel: Option<String>,
    /// The Debian release that the guest is of as a whole, if not the same.
    #[serde(default)]
    pub guest_release: Option<String>,
    /// The guest's one disk, if not the same.
    #[serde(default)]
    pub guest_disk: Option<DiskKind>,
    /// CPUs, if not as many.
    #[serde(default)]
    pub processors: Option<u32>,
    /// RAM in MiB, if not what is usual there.
    #[serde(default)]
    pub memory_mib: Option<u32>,
    /// Words added to the kernel's command line, if not the same: less to do where it takes longer.
    #[serde(default)]
    pub append: Option<Vec<String>>,
    /// CPU seconds of the emulator, as measured.
    pub cpu_seconds: u32,
}

fn two() -> u32 {
    2
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let patterns = texts.iter().map(|text| Regex::new(text));
    patterns
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

impl Row {
    /// Reads one file: its row, and one for each further PC.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        let text =
            std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
        let mut row: Self = part::insert(path, text)
            .and_then(|text| Ok(serde_yaml::from_slice(&text)?))
            .with_context(|| format!("{} is no row", path.display()))?;
        let measured =
            row.also.iter().all(|further| further.cpu_seconds > 0) && row.cpu_seconds > 0;
        ensure!(
            !row.expect.is_empty() && measured,
            "{}: a row expects something and names its measured CPU seconds",
            path.display()
        );
        let inside = row.data_files.keys().chain(row.given_files.keys());
        ensure!(
            inside.map(Path::new).all(Path::is_relative),
            "{}: files on the data disk are named from its root, without a slash before",
            path.display()
        );
        let last_disk = row.guest_disks.len().saturating_sub(1);
        ensure!(
            row.disk_holds.iter().all(|holds| holds.disk <= last_disk),
            "{}: disk_holds names a disk that the guest has not",
            path.display()
        );
        row.name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let further: Vec<Self> = row
            .also
            .iter()
            .map(|further| row.further(further))
            .collect();
        let rows = [vec![row], further].concat();
        Ok(rows.into_iter().flat_map(Self::each).collect())
    }

    fn further(&self, further: &Further) -> Self {
        let emulator = further.emulator.unwrap_or(self.emulator);
        let mut expect = self.expect.clone();
        expect.retain(|awaited| awaited.only.is_none_or(|only| only == emulator));
        let names = [
            Some(self.name.clone()),
            further.emulator.map(|pc| format!("{pc}-{}", further.cpu)),
            further.guest_release.clone(),
            further.guest_kernel.clone(),
            further.guest_disk.map(|kind| kind.name().to_owned()),
        ];
        let disk = further.guest_disk.map(|kind| vec![kind]);
        Self {
            expect,
            // They are one emulator's.
            arguments: if emulator == self.emulator {
                self.arguments.clone()
            } else {
                Vec::new()
            },
            name: names.into_iter().flatten().collect::<Vec<_>>().join("-"),
            set: further.set,
            emulator,
            cpu: further.cpu.clone(),
            recipe: match further.emulator {
                Some(_) => further.recipe.clone(),
                None => further.recipe.clone().or(self.recipe.clone()),
            },
            guest_kernel: further.guest_kernel.clone().or(self.guest_kernel.clone()),
            guest_release: further.guest_release.clone().or(self.guest_release.clone()),
            guest_disks: disk.unwrap_or_else(|| self.guest_disks.clone()),
            processors: further.processors.unwrap_or(self.processors),
            memory_mib: further.memory_mib.or(self.memory_mib),
            append: further
                .append
                .clone()
                .unwrap_or_else(|| self.append.clone()),
            cpu_seconds: further.cpu_seconds,
            ..self.clone()
        }
    }

    /// RAM in MiB: in Bochs no more than rows need, since clearing memory takes it long.
    pub fn memory_mib(&self) -> u32 {
        self.memory_mib.unwrap_or(match self.emulator {
            EmulatorName::Qemu => 2048,
            EmulatorName::Bochs => 768,
        })
    }

    /// This row, or one for each disk that it is to be run with.
    fn each(self) -> Vec<Self> {
        if self.each_guest_disk.is_empty() {
            return vec![self];
        }
        let with = |kind: &DiskKind| Self {
            name: format!("{}-{}", self.name, kind.name()),
            guest_disks: vec![*kind],
            each_guest_disk: Vec::new(),
            ..self.clone()
        };
        self.each_guest_disk.iter().map(with).collect()
    }

    /// All rows of a folder, by name.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("{} can't be read", folder.display()))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("{} can't be read", folder.display()))?
                .path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                paths.push(path);
            }
        }
        paths.sort();
        let rows = paths.iter().map(|path| Self::read(path));
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Four times the measured CPU time; on the clock, twenty times, for shared machines.
    pub fn limits(&self) -> Limits {
        let measured = Duration::from_secs(self.cpu_seconds.into());
        Limits {
            cpu: measured * 4,
            wall: (measured * 20).max(Duration::from_secs(120)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_this_crate_can_be_read() {
        let rows = Row::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rows")).unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(row.limits().cpu.as_secs() >= 4, "{}", row.name);
        }
    }

    #[test]
    fn the_guest_boots_from_each_kind_of_disk() {
        let rows = Row::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rows")).unwrap();
        for kind in DiskKind::ALL {
            let boots = |row: &Row| row.guest_disks.first() == Some(&kind);
            assert!(rows.iter().any(boots), "no row boots from {}", kind.name());
        }
    }

    #[test]
    fn a_row_for_each_disk_is_named_after_it() {
        let text = "{proves: x, set: matrix, each_guest_disk: [vhd-fixed, vhdx-chain], \
            expect: [{line: x}], cpu_seconds: 1}";
        let mut row: Row = serde_yaml::from_str(text).unwrap();
        row.name = "boots".into();
        let rows: Vec<_> = row
            .each()
            .into_iter()
            .map(|row| (row.name, row.guest_disks))
            .collect();
        assert_eq!(
            rows,
            [
                ("boots-vhd-fixed".into(), vec![DiskKind::VhdFixed]),
                ("boots-vhdx-chain".into(), vec![DiskKind::VhdxChain]),
            ]
        );
    }

    #[test]
    fn a_further_pc_makes_a_further_row() {
        let row: Row = serde_yaml::from_str(
            "{proves: it, set: test, expect: [{line: far, only: qemu}, {line: up}], arguments: [-x], cpu_seconds: 10,
              also: [{set: matrix, emulator: bochs, cpu: intel, cpu_seconds: 50},
                     {set: matrix, emulator: bochs, processors: 1, memory_mib: 1024, append: [a], cpu_seconds: 9}]}",
        )
        .unwrap();
        let further = row.further(&row.also[0]);
        assert_eq!(further.name, "-bochs-intel");
        assert_eq!((further.set, &further.cpu), (RowSet::Matrix, &Cpu::Intel));
        assert_eq!((row.memory_mib(), further.memory_mib()), (2048, 768));
        assert_eq!(further.limits().cpu.as_secs(), 200);
        assert_eq!(further.processors, 2);
        // What is QEMU's alone is left out.
        assert_eq!((row.expect.len(), further.expect.len()), (2, 1));
        assert!(further.arguments.is_empty());
        let other = row.further(&row.also[1]);
        assert_eq!((other.processors, other.memory_mib()), (1, 1024));
        assert_eq!((further.append.len(), other.append.len()), (0, 1));
    }

    #[test]
    fn a_guest_with_another_kernel_and_disk_makes_a_further_row() {
        let row: Row = serde_yaml::from_str(
            "{proves: it, set: test, expect: [{line: up, only: qemu}], arguments: [-x], cpu_seconds: 10,
              also: [{set: matrix, guest_kernel: bullseye, guest_disk: vhdx-dynamic, cpu_seconds: 5},
                     {set: matrix, guest_release: bookworm, cpu_seconds: 5}]}",
        )
        .unwrap();
        let further = row.further(&row.also[0]);
        assert_eq!(further.name, "-bullseye-vhdx-dynamic");
        assert_eq!(further.guest_kernel.as_deref(), Some("bullseye"));
        assert_eq!(further.guest_disks, [DiskKind::VhdxDynamic]);
        assert_eq!((further.expect.len(), further.arguments.len()), (1, 1));
        let other = row.further(&row.also[1]);
        assert_eq!(other.name, "-bookworm");
        assert_eq!(other.guest_release.as_deref(), Some("bookworm"));
    }
}
