//! What can be typed after `cargo xtask`, and which file does it.

use crate::bench;
use crate::boot;
use crate::context::Context;
use crate::doctor;
use crate::fuzz;
use crate::guest_disk::{self, OtherRelease};
use crate::image::{self, Changes};
use crate::packages;
use crate::recipe::{self, Recipe};
use crate::{repro, rows, test};
use anyhow::{Context as _, Result, bail, ensure};
use lexopt::prelude::*;
use qemu_tests::{Cpu, EmulatorName, RowSet};

const HELP: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

  boot             build everything and boot it in an emulator
                   --headless             wait for the guest, print the time line, end
                   --machine NAME|none    the machine to start
                   --keep-data            leave the machines' disk as the last boot left it
                   --append WORDS         added to the control domain's command line
                   --until REGEX          wait for this line alone
                   --log FILE             where the serial line is written to
                   --limit SECONDS        give a headless run up
                   --firmware FILE        the UEFI firmware's code
                   --emulator NAME        qemu, or bochs with --headless; --cpu intel|amd|MODEL
                   --qemu-arg ARGUMENT    added to the emulator's command line
                   --processors N, --memory MIB, --without-hypervisor, --stub EFI
                   --stale                where a package can't be built, take its last build
  bench exits      what exits cost beside KVM with QEMU; --json for machines,
                   --emulator NAME, --cpu intel|amd as above
  bench disks      our disks beside QEMU's tools on the same files; --json,
                   --only TEXT            the rows with TEXT in their name
  bench guest      a guest's boot, disk and network beside KVM with QEMU; --json,
                   --only TEXT            the loads with TEXT in their name
  doctor           what is missing on this host; --install brings it
  fuzz TARGET      libFuzzer on a target of fuzz/fuzz_targets, then the lines that were reached
                   --seconds N            of CPU time, for so long (60); 0 replays the corpus
  guest NAME       make the guest's disk of image-recipes/guest-NAME.yaml; --release, --kernel RELEASE
  image            build the disk image; --recipe NAME, --append WORDS
  test             every test that fits on one machine without hardware virtualization
  rows [NAME…]     the boot rows alone, or those named
  matrix           the boot rows of the nightly matrix too
  repro            build the image in two folders, compare, explain the first difference
  packages NAME…   fetch distribution packages into the cache, with --dependencies all they need

options of every command:
  --locked         refuse to change image-recipes/packages.lock";

/// Reads the command line and runs the command.
pub fn run() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let Some(Value(command)) = parser.next()? else {
        println!("{HELP}");
        return Ok(());
    };
    match command.string()?.as_str() {
        "bench" => measure(parser),
        "boot" => start(parser),
        "doctor" => examine(parser),
        "fuzz" => fuzz_target(parser),
        "guest" => make_guest(parser),
        "image" => build_image(parser),
        "matrix" => test_rows(parser, RowSet::Matrix),
        "repro" => repro::run(&plain(parser)?, &recipe()?),
        "rows" => test_rows(parser, RowSet::Test),
        "test" => test::run(&plain(parser)?, &recipe()?),
        "packages" => fetch(parser),
        other => bail!("there is no command {other}; `cargo xtask` lists them"),
    }
}

fn measure(mut parser: lexopt::Parser) -> Result<()> {
    let (mut name, mut locked, mut json) = (None, false, false);
    let mut only = String::new();
    let (mut emulator, mut cpu) = (EmulatorName::default(), Cpu::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("json") => json = true,
            Long("only") => only = parser.value()?.string()?,
            Long("emulator") => emulator = parser.value()?.parse()?,
            Long("cpu") => cpu = parser.value()?.string()?.into(),
            Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.context("name the bench: disks, exits or guest")?;
    bench::run(&Context::find(locked)?, &name, &only, emulator, &cpu, json)
}

fn fuzz_target(mut parser: lexopt::Parser) -> Result<()> {
    let (mut name, mut locked, mut seconds) = (None, false, 60);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.context("name the target: a file of fuzz/fuzz_targets")?;
    fuzz::run(&Context::find(locked)?, &name, seconds)
}

fn make_guest(mut parser: lexopt::Parser) -> Result<()> {
    let (mut name, mut locked, mut release, mut kernel) = (None, false, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("release") => release = Some(parser.value()?.string()?),
            Long("kernel") => kernel = Some(parser.value()?.string()?),
            Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.context("name the guest: image-recipes/guest-NAME.yaml")?;
    let context = Context::find(locked)?;
    let store = packages::Store::open(&context)?;
    let other = OtherRelease {
        guest: release.as_deref(),
        kernel: kernel.as_deref(),
    };
    let folder = guest_disk::install(&context, &store, &name, other)?;
    println!("{}", folder.display());
    Ok(())
}

fn fetch(mut parser: lexopt::Parser) -> Result<()> {
    let (mut names, mut locked, mut dependencies) = (Vec::new(), false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("dependencies") => dependencies = true,
            Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let store = packages::Store::open(&Context::find(locked)?)?;
    let fetched = match dependencies {
        true => store.fetch_with_dependencies(&names)?,
        false => store.fetch(&names)?,
    };
    for package in fetched {
        println!(
            "{} {} {}",
            package.name,
            package.version,
            package.path.display()
        );
    }
    Ok(())
}

fn build_image(mut parser: lexopt::Parser) -> Result<()> {
    let usual = recipe::usual(EmulatorName::default());
    let (mut recipe, mut locked, mut changes) = (usual.to_owned(), false, Changes::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("recipe") => recipe = parser.value()?.string()?,
            Long("append") => changes.append.push(parser.value()?.string()?),
            Long("stub") => changes.stub = Some(parser.value()?.into()),
            Long("without-hypervisor") => changes.without_hypervisor = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let context = Context::find(locked)?;
    let recipe = Recipe::read(&context.root, &recipe)?;
    let image = image::build(&context, &recipe, &changes)?;
    let made = match changes.without_hypervisor {
        true => [image.kernel, image.initramfs],
        false => [image.unified, image.disk],
    };
    for path in made {
        println!("{}", path.display());
    }
    Ok(())
}

fn start(mut parser: lexopt::Parser) -> Result<()> {
    let (mut recipe, mut locked, mut stale) = (None, false, false);
    let mut options = boot::Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("recipe") => recipe = Some(parser.value()?.string()?),
            Long("stale") => stale = true,
            Long("headless") => options.headless = true,
            Long("machine") => options.machine = Some(parser.value()?.string()?),
            Long("append") => options.append.push(parser.value()?.string()?),
            Long("until") => options.until = Some(parser.value()?.string()?),
            Long("keep-data") => options.keep_data = true,
            Long("log") => options.log = Some(parser.value()?.into()),
            Long("limit") => options.limit_seconds = Some(parser.value()?.parse()?),
            Long("firmware") => options.firmware = Some(parser.value()?.into()),
            Long("qemu-arg") => options.arguments.push(parser.value()?.string()?),
            Long("processors") => options.processors = Some(parser.value()?.parse()?),
            Long("memory") => options.memory_mib = Some(parser.value()?.parse()?),
            Long("stub") => options.stub = Some(parser.value()?.into()),
            Long("without-hypervisor") => options.without_hypervisor = true,
            Long("emulator") => options.emulator = parser.value()?.parse()?,
            Long("cpu") => options.cpu = parser.value()?.string()?.into(),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut context = Context::find(locked)?;
    context.stale = stale;
    let usual = recipe::usual(options.emulator);
    let recipe = recipe.as_deref().unwrap_or(usual);
    boot::run(&context, &Recipe::read(&context.root, recipe)?, &options)
}

/// For commands without options of their own.
fn plain(mut parser: lexopt::Parser) -> Result<Context> {
    let mut locked = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Context::find(locked)
}

fn recipe() -> Result<Recipe> {
    let usual = recipe::usual(EmulatorName::default());
    Recipe::read(&Context::find(true)?.root, usual)
}

fn test_rows(mut parser: lexopt::Parser, set: RowSet) -> Result<()> {
    let (mut names, mut locked, mut stale) = (Vec::new(), false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("stale") => stale = true,
            Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut context = Context::find(locked)?;
    context.stale = stale;
    let count = rows::run(&context, set, &names)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    ensure!(count.failed == 0, "{} rows failed", count.failed);
    Ok(())
}

fn examine(mut parser: lexopt::Parser) -> Result<()> {
    let mut install = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("install") => install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    doctor::run(&Context::find(false)?, install)
}
