//! The rows of `qemu-tests/rows/`: an image for each, booted and watched.

mod given_file;

use crate::context::{Context, create_folder, write};
use crate::disk_check;
use crate::guest_disk::{self, OtherRelease};
use crate::image::{self, Changes};
use crate::machine_disks::MachineDisk;
use crate::packages::Store;
use crate::pc::Pc;
use crate::recipe::{self, Recipe};
use crate::test::Count;
use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Boot, Disk, DiskKind, Program, Report, Row, RowSet, Watch};
use std::path::Path;
use std::process::Command;

/// Runs the rows of a set, or those named, and prints a line for each.
pub fn run(context: &Context, set: RowSet, names: &[String]) -> Result<Count> {
    let rows = Row::read_all(&context.root.join("qemu-tests/rows"))?;
    for name in names {
        ensure!(
            rows.iter().any(|row| row.name == *name),
            "there is no row {name}"
        );
    }
    let mut count = Count::default();
    for row in rows {
        let wanted = match names {
            [] => set == RowSet::Matrix || row.set == RowSet::Test,
            names => names.contains(&row.name),
        };
        if !wanted {
            continue;
        }
        if let Some(sample) = given_file::missing_sample(context, &row.given_files) {
            println!(
                "row {} ... skipped: no sample {}",
                row.name,
                sample.display()
            );
            continue;
        }
        let outcome = run_one(context, &row);
        count.add(outcome.is_ok());
        match outcome {
            Ok(report) => println!(
                "row {} ... ok, {:.1} CPU seconds (measured: {})",
                row.name,
                report.cpu.as_secs_f64(),
                row.cpu_seconds
            ),
            Err(error) => println!("row {} ... FAILED: {}\n{error:#}", row.name, row.proves),
        }
    }
    Ok(count)
}

fn run_one(context: &Context, row: &Row) -> Result<Report> {
    let folder = context.out.join("rows").join(&row.name);
    create_folder(&folder)?;
    let usual = recipe::usual(row.emulator);
    let recipe = Recipe::read(&context.root, row.recipe.as_deref().unwrap_or(usual))?;
    let changes = Changes {
        without_words: row.without_words.clone(),
        without_hypervisor: row.boot == Boot::WithoutHypervisor,
        ..Changes::emulated(row.append.clone())
    };
    let of_row = Context {
        out: folder.clone(),
        ..context.clone()
    };
    let image = image::build(&of_row, &recipe, &changes)?;
    let tftp = folder.join("tftp");
    given_file::place(context, &row.tftp_files, &tftp)?;
    let named = tftp.display().to_string();
    let arguments = row.arguments.iter();
    let arguments: Vec<_> = arguments
        .map(|word| word.replace("{tftp}", &named))
        .collect();
    let pc = Pc {
        emulator: row.emulator,
        cpu: &row.cpu,
        processors: row.processors,
        memory_mib: row.memory_mib(),
        firmware: None,
        arguments: &arguments,
        folder: folder.clone(),
    };
    let mut emulator = pc.with_image(context, &image, row.boot)?;
    if let Program::Qemu(qemu) = &mut emulator.program {
        qemu.names.clone_from(&row.names);
    }
    let data = folder.join("data.img");
    let mut disks = vec![MachineDisk::of_recipe()];
    if row.data_disk {
        let other = other_release(row);
        let of_recipe = other.guest.is_none() && other.kernel.is_none();
        match (of_recipe, row.guest_disks.as_slice()) {
            (true, []) if is_usual(row) => copy_sparse(&image::machines(context, &recipe)?, &data)?,
            (of_recipe, []) if of_recipe || !row.guests.is_empty() => {
                let made = image::machines_with(&of_row, &recipe, &mut |machine| {
                    furnish(&of_row, machine, row)
                })?;
                std::fs::rename(&made, &data)
                    .with_context(|| format!("{} can't be moved", made.display()))?;
            }
            (_, kinds) => {
                let kinds = match kinds {
                    [] => &[DiskKind::VhdDynamic],
                    kinds => kinds,
                };
                disks = image::machine_with_disks(&of_row, &recipe, other, kinds, &data)?;
            }
        }
        emulator.disks.push(Disk {
            path: data.clone(),
            keep: !row.disk_holds.is_empty() || row.vhd_reads.is_some(),
        });
    }
    let log = folder.join("serial.log");
    let watch = Watch {
        expect: row.expect.clone(),
        forbid: row.forbid.clone(),
        until_off: row.until_off,
        log: Some(log.clone()),
        show: false,
    };
    let report = qemu_tests::run(&emulator, &watch, row.limits())
        .with_context(|| format!("whole serial log: {}", log.display()))?;
    if !row.disk_holds.is_empty() {
        disk_check::run(
            &of_row,
            &data,
            &recipe.data.machine,
            &disks,
            &row.disk_holds,
        )
        .context("the guest's disks after the run")?;
    }
    if let Some(inside) = &row.vhd_reads {
        disk_check::read_vhd(&of_row, &data, inside)
            .with_context(|| format!("{inside} after the run"))?;
    }
    Ok(report)
}

fn other_release(row: &Row) -> OtherRelease<'_> {
    OtherRelease {
        guest: row.guest_release.as_deref(),
        kernel: row.guest_kernel.as_deref(),
    }
}

/// Whether nothing is on the data disk that the recipe does not bring.
fn is_usual(row: &Row) -> bool {
    row.copies.is_empty()
        && row.guests.is_empty()
        && row.data_files.is_empty()
        && row.given_files.is_empty()
}

/// Adds to the data disk what only the row wants there.
fn furnish(context: &Context, machine: &Path, row: &Row) -> Result<()> {
    let machines = machine.parent().context("the machine is in no folder")?;
    for name in &row.copies {
        let copy = machines.join(name);
        create_folder(&copy)?;
        let files = machine
            .read_dir()
            .with_context(|| format!("{} can't be read", machine.display()))?;
        for file in files {
            let file = file.context("the machine's files can't be listed")?;
            copy_sparse(&file.path(), &copy.join(file.file_name()))?;
        }
    }
    for name in &row.guests {
        guest_disk::install(context, &Store::open(context)?, name, other_release(row))?;
    }
    let root = machines.parent().context("the machines are nowhere")?;
    for (path, text) in &row.data_files {
        write(&root.join(path), text)?;
    }
    given_file::place(context, &row.given_files, root)
}

fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .arg("--sparse=always")
        .args([from, to])
        .status()
        .context("cp can't be started")?;
    ensure!(status.success(), "{} can't be copied", from.display());
    Ok(())
}
