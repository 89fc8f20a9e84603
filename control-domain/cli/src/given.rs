//! What was typed behind a command's name.

use crate::command::Command;
use crate::failure::Failure;
use crate::size;
use lexopt::Arg;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Operands and options of a command line, checked against what the command takes.
pub struct Given {
    typed: String,
    operands: Vec<OsString>,
    options: BTreeMap<&'static str, OsString>,
    help: bool,
    json: bool,
}

impl Given {
    /// Reads the words behind `typed`, the command's full name.
    ///
    /// # Errors
    /// A usage error, in a line.
    pub fn parse(command: &Command, typed: &str, words: Vec<OsString>) -> Result<Self, Failure> {
        let mut given = Self {
            typed: typed.to_owned(),
            operands: Vec::new(),
            options: BTreeMap::new(),
            help: false,
            json: false,
        };
        let many = command
            .operands
            .last()
            .is_some_and(|name| name.ends_with('…'));
        let most = if many {
            usize::MAX
        } else {
            command.operands.len()
        };
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(argument) = parser.next().map_err(|e| given.refuse(&e.to_string()))? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => given.help = true,
                Arg::Long("json") => given.json = true,
                Arg::Value(value) if given.operands.len() < most => {
                    given.operands.push(value);
                }
                Arg::Long(name) => {
                    let option = command.options.iter().find(|option| option.name == name);
                    let Some(option) = option else {
                        return Err(given.refuse(&format!("there is no option --{name}")));
                    };
                    let value = match option.value {
                        Some(_) => parser.value().map_err(|e| given.refuse(&e.to_string()))?,
                        None => OsString::new(),
                    };
                    if given.options.insert(option.name, value).is_some() {
                        return Err(given.refuse(&format!("--{} is given twice", option.name)));
                    }
                }
                other => return Err(given.refuse(&other.unexpected().to_string())),
            }
        }
        let mut needed = command
            .operands
            .iter()
            .filter(|name| !name.starts_with('['));
        if let Some(missing) = needed.nth(given.operands.len())
            && !given.help
        {
            return Err(given.refuse(&format!("{missing} is missing")));
        }
        Ok(given)
    }

    /// Whether only the help is asked for.
    pub fn wants_help(&self) -> bool {
        self.help
    }

    /// Whether the answer is for a machine.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// A usage error that names the way to the help.
    pub fn refuse(&self, what: &str) -> Failure {
        Failure::usage(format!("{what}; see `{} --help`", self.typed))
    }

    /// An operand that must be there: [`Given::parse`] has seen to it.
    pub fn path(&self, index: usize) -> &Path {
        self.operands.get(index).map_or(Path::new(""), Path::new)
    }

    /// An operand that is a name.
    ///
    /// # Errors
    /// A usage error if it is no text.
    pub fn text(&self, index: usize) -> Result<&str, Failure> {
        let word = self
            .operands
            .get(index)
            .map_or(Some(""), |word| word.to_str());
        word.ok_or_else(|| self.refuse("a name is not UTF-8"))
    }

    /// All operands, as paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.operands.iter().map(Path::new)
    }

    /// An operand that is a size in bytes and may be left out.
    ///
    /// # Errors
    /// A usage error if it is not a size.
    pub fn size(&self, index: usize) -> Result<Option<u64>, Failure> {
        self.operands
            .get(index)
            .map(|word| self.bytes(word))
            .transpose()
    }

    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// An option's value as a number.
    ///
    /// # Errors
    /// A usage error if it is none.
    pub fn option_number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(word) = self.options.get(name).map(|word| word.to_string_lossy()) else {
            return Ok(None);
        };
        let number = word.parse().map(Some);
        number.map_err(|_| self.refuse(&format!("--{name} is a number, not {word}")))
    }

    /// An option's value as a size in bytes.
    ///
    /// # Errors
    /// A usage error if it is not one.
    pub fn option_bytes(&self, name: &str) -> Result<Option<u64>, Failure> {
        let word = self.options.get(name);
        word.map(|word| self.bytes(word)).transpose()
    }

    /// An option's value as text.
    pub fn option_text(&self, name: &str) -> Option<String> {
        self.options
            .get(name)
            .map(|word| word.to_string_lossy().into_owned())
    }

    /// An option's value as a path.
    pub fn option_path(&self, name: &str) -> Option<PathBuf> {
        self.options.get(name).map(PathBuf::from)
    }

    /// An option's value as a size in bytes that fits 32 bits.
    ///
    /// # Errors
    /// A usage error if it is not one.
    pub fn option_size(&self, name: &str) -> Result<Option<u32>, Failure> {
        let Some(bytes) = self.option_bytes(name)? else {
            return Ok(None);
        };
        u32::try_from(bytes)
            .map(Some)
            .map_err(|_| self.refuse(&format!("--{name} is 4 GiB or more")))
    }

    /// An option's value, which must be one of those named.
    ///
    /// # Errors
    /// A usage error that lists them.
    pub fn choice<T: Copy>(&self, name: &str, of: &[(&str, T)]) -> Result<Option<T>, Failure> {
        let Some(word) = self.options.get(name).map(|word| word.to_string_lossy()) else {
            return Ok(None);
        };
        let found = of
            .iter()
            .find(|(choice, _)| word.eq_ignore_ascii_case(choice));
        let Some((_, chosen)) = found else {
            let choices: Vec<_> = of.iter().map(|(choice, _)| *choice).collect();
            let what = format!("--{name} is {}, not {word}", choices.join(" or "));
            return Err(self.refuse(&what));
        };
        Ok(Some(*chosen))
    }

    fn bytes(&self, word: &OsString) -> Result<u64, Failure> {
        size::parse(&word.to_string_lossy()).map_err(|what| self.refuse(&what))
    }
}
