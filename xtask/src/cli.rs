//! What can be typed after `cargo xtask`, and which file does it.

use crate::context::Context;
use crate::image::{self, Changes};
use crate::packages;
use crate::recipe::Recipe;
use anyhow::{Result, bail};
use lexopt::prelude::*;

/// The recipe that is built when none is named.
const RECIPE: &str = "first-light";

const HELP: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

  image            build the disk image; --recipe NAME, --append WORDS
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
        "image" => build_image(parser),
        "packages" => fetch(parser),
        other => bail!("there is no command {other}; `cargo xtask` lists them"),
    }
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
    let (mut recipe, mut locked, mut changes) = (RECIPE.to_owned(), false, Changes::default());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("locked") => locked = true,
            Long("recipe") => recipe = parser.value()?.string()?,
            Long("append") => changes.append.push(parser.value()?.string()?),
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
