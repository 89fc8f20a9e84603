//! `entente run`: a machine from its folder, or from bare disks.

use super::console;
use super::list::MACHINES;
use super::new::{self, Wanted};
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{Connection, Folder, Request};
use serde_json::json;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const NAME: Opt = Opt::with(
    "name",
    "NAME",
    "what a machine of bare disks is called; else as its first disk",
);
const MEMORY: Opt = Opt::with(
    "memory",
    "SIZE",
    "memory, instead of the machine file's; bare disks: 1G",
);
const PROCESSORS: Opt = Opt::with(
    "processors",
    "N",
    "processors, instead of the machine file's; bare disks: 1",
);
const CONSOLE: Opt = Opt::flag(
    "console",
    "attach to the serial port at once; Ctrl-] leaves it",
);

/// `entente run FILE…`
pub const RUN: Command = Command {
    name: "run",
    summary: "start a machine: from its name, its folder, or bare disks (.vhd, .vhdx, .vmdk, .iso)",
    operands: &["WHAT…"],
    options: &[NAME, MEMORY, PROCESSORS, CONSOLE],
    notes: "WHAT is a machine's folder, its name in /data/machines, or disk files: then the machine is of Generation 1, the\n\
            first disk boots, .iso files are DVDs. It goes on until its guest powers off, or `entente stop`; what it has to\n\
            say is in /run/entente/log/NAME.",
    run,
};

/// The program that a machine runs in, and the variable that names another one.
const VMM: (&str, &str) = ("/bin/vmm", "ENTENTE_VMM");
/// What machines say.
const LOG: &str = "/run/entente/log";
/// How long a machine has to appear.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(given: &Given) -> Result<Report, Failure> {
    let what: Vec<&Path> = given.paths().collect();
    let memory_mib = given.option_bytes(MEMORY.name)?.map(|bytes| bytes >> 20);
    let processors = given.option_number(PROCESSORS.name)?;
    let (folder, name) = match what.as_slice() {
        [one] if folder_of(one).is_some() => {
            let folder = folder_of(one).unwrap_or_default();
            let name = new::name_in(&folder)?;
            (folder, name)
        }
        disks => {
            let wanted = Wanted {
                name: given.option_text(NAME.name),
                memory_mib,
                processors,
            };
            new::of_disks(disks, &wanted)?
        }
    };
    if Connection::ask(&Folder::usual(), &name, &Request::State).is_ok() {
        return Err(Failure::Failed(format!(
            "machine {name} is running already"
        )));
    }
    let log = log_file(&name)?;
    let mut vmm = std::process::Command::new(std::env::var_os(VMM.1).unwrap_or(VMM.0.into()));
    vmm.arg("run").arg(&folder).args(["--serial", "none"]);
    if let Some(processors) = processors {
        vmm.args(["--processors", &processors.to_string()]);
    }
    if let Some(mib) = memory_mib {
        vmm.args(["--memory", &mib.to_string()]);
    }
    // A process group of its own: Ctrl-C at the terminal is not for it.
    let child = vmm
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.1)
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::Failed(format!("the machine can't be started: {error}")))?;
    wait(&name, child, &log.0)?;
    if given.has(CONSOLE.name) {
        return console::attach(&name, 1);
    }
    let json = json!({"name": name, "folder": folder, "log": log.0});
    Ok(Report::new(format!("machine {name} runs"), json))
}

/// The machine's folder, if the word names one.
fn folder_of(word: &Path) -> Option<PathBuf> {
    let stored = Path::new(MACHINES).join(word);
    let folders = [word.to_owned(), stored].into_iter();
    let mut folders = folders.filter(|folder| folder.join("machine.yaml").is_file());
    let folder = folders.next()?;
    std::path::absolute(&folder).ok()
}

fn log_file(name: &str) -> Result<(PathBuf, File), Failure> {
    let path = Path::new(LOG).join(name);
    let file = std::fs::create_dir_all(LOG).and_then(|()| File::create(&path));
    match file {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(Failure::Failed(format!("{}: {error}", path.display()))),
    }
}

/// Waits until the machine answers.
fn wait(name: &str, mut child: Child, log: &Path) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let state = Connection::ask(&Folder::usual(), name, &Request::State);
        if state.is_ok_and(|state| state.answer["state"] == "running") {
            return Ok(());
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > end {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it said nothing");
            let what = match ended {
                Some(_) => "has ended",
                None => "does not answer",
            };
            return Err(Failure::Failed(format!("machine {name} {what}: {last}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
