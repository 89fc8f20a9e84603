//! What the kernel command line asks of init.

/// What to do when the machine, or the test program, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: stay up, for a person.
    Stay,
    /// Turn the PC off.
    PowerOff,
    /// Restart the PC.
    Restart,
}

/// The words of the command line that start with `entente.`; the others are the kernel's.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// `entente.machine=NAME`: the machine in `/data/machines/NAME` to start.
    pub machine: Option<String>,
    /// `entente.run=/path/to/program,argument,…`: a program of the initramfs to run instead of a
    /// machine. Two commas are one within an argument.
    pub run: Option<Vec<String>>,
    /// `entente.granule_mib=SIZE`: size of a granule of guests' memory in MiB; default 256.
    pub granule_mib: u64,
    /// `entente.exit=poweroff` or `entente.exit=restart`: what to do at the end.
    pub ending: Ending,
    /// `entente.shell`: a shell on the console when nothing else uses it.
    pub shell: bool,
    /// `entente.nodata`: don't wait for a data partition.
    pub no_data: bool,
    /// What could not be understood, one sentence each.
    pub complaints: Vec<String>,
}

/// Default size of a granule in MiB (DESIGN D3).
const GRANULE_MIB: u64 = 256;

/// Largest granule in MiB that is accepted: 1 TiB.
const MAX_GRANULE_MIB: u64 = 1 << 20;

impl Options {
    /// Reads the command line. Unknown or wrong words become complaints and are ignored; of a
    /// word that is given twice, the last one counts, as in the kernel.
    pub fn parse(cmdline: &str) -> Self {
        let mut options = Self {
            machine: None,
            run: None,
            granule_mib: GRANULE_MIB,
            ending: Ending::Stay,
            shell: false,
            no_data: false,
            complaints: Vec::new(),
        };
        let ours = cmdline
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix("entente."));
        for word in ours {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if let Err(wanted) = options.set(key, value) {
                options
                    .complaints
                    .push(format!("`entente.{word}` is ignored: {wanted}"));
            }
        }
        options
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "machine" if is_machine_name(value) => self.machine = Some(value.to_owned()),
            "machine" => return Err("a machine's name is one folder name in /data/machines"),
            "run" if value.starts_with('/') => {
                self.run = Some(words(value));
            }
            "run" => return Err("give the full path of a program, arguments behind commas"),
            "granule_mib" => {
                self.granule_mib = value
                    .parse()
                    .ok()
                    .filter(|mib| (2..=MAX_GRANULE_MIB).contains(mib) && mib % 2 == 0)
                    .ok_or("give an even number of MiB, 2 to 1048576")?;
            }
            "exit" => {
                self.ending = match value {
                    "poweroff" => Ending::PowerOff,
                    "restart" => Ending::Restart,
                    _ => return Err("give poweroff or restart"),
                }
            }
            "shell" if value.is_empty() => self.shell = true,
            "nodata" if value.is_empty() => self.no_data = true,
            "shell" | "nodata" => return Err("it takes no value"),
            // The hypervisor's: the size of the guest pool.
            "pool_mib" => {}
            // Words with a further dot belong to other programs (`entente.vmm.…`).
            _ if key.contains('.') => {}
            _ => return Err("there is no such option"),
        }
        Ok(())
    }
}

/// Parts behind commas; two commas are one that belongs to the part, as QEMU has it.
fn words(value: &str) -> Vec<String> {
    // No kernel's command line has a NUL in it.
    let parts = value.replace(",,", "\0");
    let parts = parts.split(',').map(|part| part.replace('\0', ","));
    parts.collect()
}

/// A machine is one folder below /data/machines, never a path out of it.
fn is_machine_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_left_alone() {
        let options = Options::parse("BOOT_IMAGE=/vmlinuz console=ttyS0 quiet machine=x\n");
        assert_eq!(options, Options::parse(""));
        assert_eq!(options.granule_mib, 256);
        assert_eq!(options.ending, Ending::Stay);
    }

    #[test]
    fn every_option_is_read() {
        let options = Options::parse(
            "quiet entente.machine=first entente.granule_mib=64 entente.exit=poweroff entente.shell entente.nodata",
        );
        assert_eq!(options.machine.as_deref(), Some("first"));
        assert_eq!(options.granule_mib, 64);
        assert_eq!(options.ending, Ending::PowerOff);
        assert!(options.shell && options.no_data);
        assert!(options.complaints.is_empty());
    }

    #[test]
    fn a_program_brings_its_arguments() {
        let run = Options::parse("entente.run=/bin/probe,--seed,7").run;
        assert_eq!(
            run,
            Some(vec!["/bin/probe".into(), "--seed".into(), "7".into()])
        );
        let run = Options::parse("entente.run=/bin/probe,file=a,,mode=b").run;
        assert_eq!(run, Some(vec!["/bin/probe".into(), "file=a,mode=b".into()]));
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(
            Options::parse("entente.granule_mib=2 entente.granule_mib=8").granule_mib,
            8
        );
    }

    #[test]
    fn wrong_words_are_named_and_ignored() {
        for word in [
            "entente.machine=../etc",
            "entente.machine=",
            "entente.machine=a/b",
            "entente.run=probe",
            "entente.granule_mib=3",
            "entente.granule_mib=0",
            "entente.granule_mib=18446744073709551616",
            "entente.exit=later",
            "entente.shell=yes",
            "entente.granules=3",
        ] {
            let options = Options::parse(word);
            assert_eq!(options.complaints.len(), 1, "{word}");
            assert!(options.complaints[0].contains(word), "{word}");
            assert_eq!(
                Options {
                    complaints: vec![],
                    ..options
                },
                Options::parse(""),
                "{word}"
            );
        }
    }

    #[test]
    fn words_of_other_programs_pass() {
        assert!(
            Options::parse("entente.vmm.log=debug")
                .complaints
                .is_empty()
        );
    }
}
