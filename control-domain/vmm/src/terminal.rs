//! The person's terminal at a machine: its serial line, or its screen and keyboard.

use crate::console;
use crate::keyboard;
use crate::machine_file::Console;
use crate::running::Running;
use crate::screen::TextScreen;
use std::io::Write;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Between two keys: BIOS calls of old take no faster typist.
const KEYSTROKE: Duration = Duration::from_millis(20);
/// How long a guest that doesn't read its serial line is left alone.
const SERIAL_FULL: Duration = Duration::from_millis(10);

/// Connects the terminal to whichever machine runs, if it is to be connected to something; one key asks
/// its guest to power off, the escape key ends it. Answers the thread that shows a serial line, which ends
/// with it.
pub fn attach(running: &Running, console: Option<Console>) -> Option<JoinHandle<()>> {
    let console = console?;
    let for_bytes = running.clone();
    let (for_power, for_escape) = (running.clone(), running.clone());
    let power_off = move || {
        for_power.ask_to_power_off();
    };
    let escape = move || {
        for_escape.turn_off("by Ctrl-]");
    };
    match console {
        Console::Serial => {
            console::read_input(
                move |bytes| send_to_serial(&for_bytes, 0, bytes),
                power_off,
                escape,
            );
            let line = running.serial(0)?.clone();
            Some(console::show(line, std::io::stdout()))
        }
        Console::Screen => {
            console::read_input(move |bytes| type_keys(&for_bytes, bytes), power_off, escape);
            show_screen(running.clone());
            None
        }
    }
}

/// Sends bytes to a serial port, as fast as the guest reads them.
pub fn send_to_serial(running: &Running, port: usize, mut bytes: &[u8]) {
    while !bytes.is_empty()
        && let Some(machine) = running.machine()
    {
        let taken = machine.with_board(|board, _, _| board.receive(port, bytes));
        bytes = &bytes[taken.min(bytes.len())..];
        if taken == 0 {
            // As a serial line with flow control.
            std::thread::sleep(SERIAL_FULL);
        }
    }
}

/// Types at the machine's keyboard, as fast as a guest follows.
pub fn type_keys(running: &Running, mut bytes: &[u8]) {
    while let (key, taken @ 1..) = keyboard::first_key(bytes) {
        bytes = &bytes[taken..];
        if let Some(key) = key {
            running.press(key);
            std::thread::sleep(KEYSTROKE);
        }
    }
}

/// The thread ends with the process.
fn show_screen(running: Running) {
    std::thread::spawn(move || {
        let mut screen = TextScreen::default();
        loop {
            std::thread::sleep(LOOK);
            let rows = running
                .machine()
                .and_then(|machine| machine.with_board(|board, _, _| board.text_screen()));
            if let Some(rows) = rows {
                // A terminal that has gone must not stop the guest.
                let _ = std::io::stdout().write_all(screen.changes(rows).as_bytes());
            }
        }
    });
}
