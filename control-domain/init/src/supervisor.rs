//! Children and signals: the loop that PID 1 spends its life in.

use crate::console::report;
use crate::power;
use crate::program::Program;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::time::Duration;

/// Time between two looks at the children, where no signal tells of them.
const POLL: Duration = Duration::from_millis(50);

/// Watches the program in the foreground and every orphan.
pub struct Supervisor {
    /// `None` if the handlers could not be set up: then children are looked for every [`POLL`].
    signals: Option<Signals>,
    main: Option<(Pid, String)>,
}

impl Supervisor {
    /// Takes over the signals. Ctrl-Alt-Del comes as a signal too from here on.
    pub fn new() -> Self {
        let signals = Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])
            .inspect_err(|error| report!("signals can't be handled: {error}"))
            .ok();
        power::take_ctrl_alt_del();
        Self {
            signals,
            main: None,
        }
    }

    /// Starts a program in the foreground.
    pub fn start(&mut self, program: Program) -> Result<(), String> {
        let child = program.command().spawn().map_err(|error| {
            format!(
                "{} can't be started: {}: {error}",
                program.title,
                program.path().display()
            )
        })?;
        // The id stays that of the child until `reap` has waited for it, which only this
        // supervisor does.
        self.main = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .map(|pid| (pid, program.title.clone()));
        report!("{} started", program.title);
        Ok(())
    }

    /// Returns when the program in the foreground has ended.
    pub fn wait_for_main_program(&mut self) {
        while self.main.is_some() {
            self.wait_for_event();
        }
    }

    /// Stays up for a person: with a shell on the console if there is to be one.
    pub fn stay(mut self, mut shell: bool) -> ! {
        if !shell {
            report!("nothing left to do; kill -USR2 1 turns the PC off");
        }
        loop {
            if shell && self.main.is_none() {
                let started = Program::shell().and_then(|program| self.start(program));
                shell = started.inspect_err(|error| report!("{error}")).is_ok();
            }
            self.wait_for_event();
        }
    }

    /// Handles what has happened, then waits for a signal and handles it.
    fn wait_for_event(&mut self) {
        self.reap();
        let Some(signals) = &mut self.signals else {
            return std::thread::sleep(POLL);
        };
        // A child that ended since `reap` has left its signal pending: no wake-up is lost.
        let arrived: Vec<i32> = signals.wait().collect();
        for signal in arrived {
            match signal {
                SIGINT | SIGTERM => power::restart(),
                SIGUSR1 | SIGUSR2 => power::off(),
                _ => self.reap(),
            }
        }
    }

    /// Takes in all children that have ended, orphans included.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some((_, title)) = self.main.take_if(|(main, _)| *main == pid) {
                report!("{title} ended: {}", describe(status));
            }
        }
    }
}

/// A status as people say it.
fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => format!("{status:?}"),
    }
}
