//! What init runs in the foreground: a machine's vmm, a test program, or a shell.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of the machines on the data partition.
const MACHINES: &str = "/data/machines";

/// The virtual machine monitor, one process per machine.
const VMM: &str = "/bin/vmm";

/// Tools for a person, if the image has them.
const BUSYBOX: &str = "/bin/busybox";

/// A program with its arguments, and the words that the console uses for it.
#[derive(Debug)]
pub struct Program {
    /// `machine NAME`, `program PATH` or `shell`.
    pub title: String,
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// The vmm of the machine `name`, with all granules of the pool.
    pub fn machine(name: &str, granules: &[PathBuf]) -> Result<Self, String> {
        let folder = Path::new(MACHINES).join(name);
        if !folder.is_dir() {
            return Err(format!(
                "machine {name}: there is no folder {}",
                folder.display()
            ));
        }
        if granules.is_empty() {
            return Err(format!("machine {name}: there is no memory for guests"));
        }
        Ok(Self {
            title: format!("machine {name}"),
            path: VMM.into(),
            arguments: vmm_arguments(&folder, granules),
        })
    }

    /// A program of the initramfs; `words` are its path and its arguments.
    pub fn test(words: &[String]) -> Result<Self, String> {
        let (path, arguments) = words.split_first().ok_or("no program is named")?;
        Ok(Self {
            title: format!("program {path}"),
            path: path.into(),
            arguments: arguments.to_vec(),
        })
    }

    /// An interactive shell on the console, if the image has one.
    pub fn shell() -> Result<Self, String> {
        if !Path::new(BUSYBOX).exists() {
            return Err(format!("shell: the image has no {BUSYBOX}"));
        }
        // cttyhack finds the terminal behind /dev/console and makes it the controlling one, so
        // that Ctrl-C works.
        let words = ["setsid", BUSYBOX, "cttyhack", BUSYBOX, "sh"];
        Ok(Self {
            title: "shell".to_owned(),
            path: BUSYBOX.into(),
            arguments: words.map(str::to_owned).to_vec(),
        })
    }

    /// The command that starts it, on the console, with an environment of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
            .env("HOME", "/")
            .env(
                "TERM",
                std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()),
            )
            .current_dir("/");
        command
    }

    /// Path of the file that is run.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn vmm_arguments(folder: &Path, granules: &[PathBuf]) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec!["run".to_owned(), text(folder)];
    for granule in granules {
        arguments.extend(["--granule".to_owned(), text(granule)]);
    }
    arguments.extend(["--serial".to_owned(), "stdio".to_owned()]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vmm_gets_folder_memory_and_console() {
        let granules = [PathBuf::from("/dev/dax0.0"), PathBuf::from("/dev/dax0.1")];
        assert_eq!(
            vmm_arguments(Path::new("/data/machines/first"), &granules).join(" "),
            "run /data/machines/first --granule /dev/dax0.0 --granule /dev/dax0.1 --serial stdio"
        );
    }

    #[test]
    fn a_machine_needs_its_folder() {
        let error = Program::machine("no such machine", &[]).unwrap_err();
        assert!(error.contains("/data/machines/no such machine"), "{error}");
    }

    #[test]
    fn a_test_program_keeps_its_arguments() {
        let words = ["/bin/probe".to_owned(), "--seed".to_owned()];
        let program = Program::test(&words).unwrap();
        assert_eq!(program.title, "program /bin/probe");
        assert_eq!(program.command().get_args().collect::<Vec<_>>(), ["--seed"]);
        assert!(Program::test(&[]).is_err());
    }
}
