//! `entente stop`: a machine ends.

use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{Connection, Event, Folder, Request, What, read_line};
use serde_json::json;
use std::time::Duration;

const TURN_OFF: Opt = Opt::flag(
    "turn-off",
    "at once, as a power cut: the guest is not asked",
);
const WITHIN: Opt = Opt::with(
    "within",
    "SECONDS",
    "how long the guest has; 60 if not given",
);
const USUAL_SECONDS: usize = 60;

/// `entente stop NAME`
pub const STOP: Command = Command {
    name: "stop",
    summary: "shut a running machine down",
    operands: &["NAME"],
    options: &[TURN_OFF, WITHIN],
    notes: "The guest is asked by Hyper-V's shutdown service, or, if it has no driver for that, by the power button.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    let turn_off = given.has(TURN_OFF.name);
    let seconds = given.option_number(WITHIN.name)?.unwrap_or(USUAL_SECONDS);
    // Before it is asked, so that its end is not missed.
    let mut events = ask(machine, &Request::Events)?;
    ask(machine, &Request::Stop { turn_off })?;
    let how = wait(&mut events, Duration::from_secs(seconds as u64));
    let Some(how) = how else {
        return Err(Failure::Failed(format!(
            "machine {machine} has been asked, and still runs after {seconds} s; `entente console {machine}` may say why, \
             `entente stop --turn-off {machine}` ends it like a power cut"
        )));
    };
    // The socket goes last, when all of the machine's files are closed.
    while Folder::usual().names().iter().any(|name| name == machine)
        && ask(machine, &Request::State).is_ok()
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let json = json!({"name": machine, "ended": how});
    Ok(Report::new(format!("machine {machine}: {how}"), json))
}

/// How the machine ended. Nothing: it has not, in that time.
fn wait(events: &mut Connection, patience: Duration) -> Option<String> {
    let end = std::time::Instant::now() + patience;
    loop {
        let left = end.checked_duration_since(std::time::Instant::now())?;
        let left = left.max(Duration::from_millis(1));
        events.stream.get_ref().set_read_timeout(Some(left)).ok()?;
        match read_line::<Event>(&mut events.stream) {
            Ok(Some(Event {
                what: What::Ended { how },
                ..
            })) => return Some(how),
            Ok(Some(_)) => {}
            Ok(None) => return Some("it has ended".into()),
            Err(_) => return None,
        }
    }
}
