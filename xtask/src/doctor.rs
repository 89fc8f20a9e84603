//! `cargo xtask doctor`: what is missing on this host, and the command that brings it.

use crate::context::Context;
use crate::{firmware, host, toolchain};
use anyhow::{Result, bail};

/// Prints one line for each thing that is needed. With `install`, brings what is missing.
pub fn run(context: &Context, install: bool) -> Result<()> {
    if install {
        let programs: Vec<&str> = host::TOOLS.iter().map(|tool| tool.program).collect();
        host::require(&programs)?;
        for target in toolchain::TARGETS {
            toolchain::ensure_target(context, target)?;
        }
    }
    let mut missing = 0;
    let mut line = |name: &str, purpose: &str, remedy: Option<String>| match remedy {
        None => println!("ok       {name:<28} {purpose}"),
        Some(remedy) => {
            missing += 1;
            println!("missing  {name:<28} {purpose}; run: {remedy}");
        }
    };
    line("compiler", &toolchain::version()?, None);
    for target in toolchain::TARGETS {
        let remedy = match toolchain::has_target(target)? {
            true => None,
            false => Some(format!("rustup target add {target}")),
        };
        line(target, "a target that is built for", remedy);
    }
    for tool in &host::TOOLS {
        let remedy = match host::find(tool.program) {
            Some(_) => None,
            None => Some(format!(
                "apt-get install --no-install-recommends {}",
                tool.package
            )),
        };
        line(tool.program, tool.purpose, remedy);
    }
    let found = firmware::find(context, None);
    let remedy = found
        .is_err()
        .then(|| "apt-get install --no-install-recommends ovmf".to_owned());
    line("UEFI firmware", "starts the emulated PC", remedy);
    if missing > 0 {
        bail!("{missing} things are missing; `cargo xtask doctor --install` brings what it can");
    }
    Ok(())
}
