//! What one exit costs: instructions, counted by the emulator, and time.
//!
//! The same guest, `payload` in its mode `exits`, runs three times on the same emulated processor:
//! alone, where a bare world switch is the floor; under the hypervisor; and under KVM with QEMU.
//! With `-icount` the time stamp counter ticks once for each instruction executed on the whole PC,
//! and a round without it tells the time. The least of many batches counts: it is free of timer
//! ticks and of what else the host does.

use super::Row;
use crate::boot::insert_media;
use crate::context::{Context, create_folder, write};
use crate::image::{self, Changes};
use crate::packages::{self, Store};
use crate::recipe::Recipe;
use crate::{firmware, host, progress, toolchain};
use anyhow::{Context as _, Result};
use qemu_tests::{Boot, Emulator, Expectation, Firmware, Limits, Watch};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const PEER: &str = "KVM with QEMU microvm";

/// How the guest's figures are called, and the parts of the peer's instructions and time that ours
/// may be.
const EXITS: [(&str, &str, Option<[f64; 2]>); 5] = [
    ("cpuid", "CPUID exit", Some([1.0 / 5.0, 0.6])),
    ("msr", "MSR exit", None),
    ("hypercall", "hypercall", None),
    (
        "port-in",
        "exit to the vmm and back",
        Some([1.0 / 8.0, 0.45]),
    ),
    ("port-out", "exit to the vmm, no answer", None),
];

/// Makes the emulator count instructions as time.
const COUNTING: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// A round: what one tick of the counter is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Instructions,
    Time,
}

/// Ticks for each run of a loop by its name, and the counter's frequency where it was told.
#[derive(Debug, Default)]
struct Costs {
    ticks: BTreeMap<String, f64>,
    hz: Option<f64>,
}

impl Costs {
    /// Ticks of the thing alone.
    fn of(&self, name: &str) -> Result<f64> {
        let ticks = |name: &str| {
            let found = self.ticks.get(name).copied();
            found.with_context(|| format!("the guest did not measure {name}"))
        };
        Ok(ticks(name)? - ticks("loop")?)
    }
}

/// The PCs that are compared.
struct Bench<'a> {
    context: &'a Context,
    seabios: Firmware,
    uefi: Firmware,
    ours: image::Image,
    peer: image::Image,
    payload: PathBuf,
}

/// Measures, in two rounds.
pub fn run(context: &Context) -> Result<Vec<Row>> {
    host::require(&["qemu-system-x86_64"])?;
    let bench = Bench::build(context)?;
    let mut rows = Vec::new();
    for round in [Round::Instructions, Round::Time] {
        let floor = bench.alone(round)?;
        let ours = bench.ours(round)?;
        let peer = bench.peer(round)?;
        rows.extend(compare(round, &floor, &ours, &peer)?);
    }
    Ok(rows)
}

fn compare(round: Round, floor: &Costs, ours: &Costs, peer: &Costs) -> Result<Vec<Row>> {
    let (unit, scale) = match round {
        Round::Instructions => ("instructions", 1.0),
        // All three see the counter of the same processor.
        Round::Time => {
            let hz = ours.hz.context("the guest did not tell the frequency")?;
            ("ns", 1e9 / hz)
        }
    };
    let mut rows = Vec::new();
    for (key, name) in [
        ("cpuid", "CPUID without an exit"),
        ("floor", "bare world switch"),
    ] {
        rows.push(Row {
            name,
            value: floor.of(key)? * scale,
            unit,
            peer: PEER,
            peer_value: None,
            target: None,
        });
    }
    for (key, name, targets) in EXITS {
        rows.push(Row {
            name,
            value: ours.of(key)? * scale,
            unit,
            peer: PEER,
            peer_value: Some(peer.of(key)? * scale),
            target: targets.map(|[instructions, time]| match round {
                Round::Instructions => instructions,
                Round::Time => time,
            }),
        });
    }
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn build(context: &'a Context) -> Result<Self> {
        let of_bench = Context {
            out: context.out.join("bench"),
            ..context.clone()
        };
        create_folder(&of_bench.out)?;
        let ours = Changes {
            append: vec![
                "quiet".to_owned(),
                "entente.nodata entente.exit=poweroff entente.run=/bin/vmm,payload,\
                 /usr/share/entente/payload,--granule,/dev/dax0.0,--command,exits"
                    .to_owned(),
            ],
            ..Changes::default()
        };
        let peer = Changes {
            append: vec![
                "quiet".to_owned(),
                "entente.nodata entente.exit=poweroff entente.run=/bin/qemu,-M,microvm,\
                 -accel,kvm,-cpu,host,-m,256,-nodefaults,-no-user-config,-display,none,\
                 -serial,stdio,-kernel,/usr/share/entente/payload,-append,exits"
                    .to_owned(),
            ],
            without_hypervisor: true,
            ..Changes::default()
        };
        let read = |name| Recipe::read(&context.root, name);
        Ok(Self {
            seabios: seabios(&of_bench)?,
            uefi: firmware::find(context, None)?,
            ours: image::build(&of_bench, &read("first-light")?, &ours)?,
            peer: image::build(&of_bench, &read("kvm-peer")?, &peer)?,
            payload: toolchain::build(context, "payload", toolchain::NONE)?,
            context,
        })
    }

    /// The guest without anything below it, by QEMU's own loader.
    fn alone(&self, round: Round) -> Result<Costs> {
        let mut emulator = self.emulator(&self.seabios, "alone");
        let payload = self.payload.display().to_string();
        let words = ["-kernel", &payload, "-append", "exits"];
        emulator.arguments.extend(words.map(str::to_owned));
        self.measure(emulator, round, "alone")
    }

    fn ours(&self, round: Round) -> Result<Costs> {
        let mut emulator = self.emulator(&self.uefi, "ours");
        insert_media(&mut emulator, &self.ours, Boot::Image);
        self.measure(emulator, round, "under the hypervisor")
    }

    fn peer(&self, round: Round) -> Result<Costs> {
        let mut emulator = self.emulator(&self.seabios, "peer");
        insert_media(&mut emulator, &self.peer, Boot::WithoutHypervisor);
        self.measure(emulator, round, "under KVM")
    }

    fn emulator(&self, firmware: &Firmware, name: &str) -> Emulator {
        Emulator {
            firmware: firmware.clone(),
            processors: 1,
            memory_mib: 2048,
            disks: Vec::new(),
            kernel: None,
            arguments: Vec::new(),
            folder: self.context.out.join("bench").join(name),
        }
    }

    fn measure(&self, mut emulator: Emulator, round: Round, what: &'static str) -> Result<Costs> {
        if round == Round::Instructions {
            emulator.arguments.extend(COUNTING.map(str::to_owned));
        }
        create_folder(&emulator.folder)?;
        let log = emulator.folder.join("serial.log");
        let watch = Watch {
            expect: vec![Expectation {
                line: Regex::new(r"payload: \d+ passed, 0 failed")?,
                times: 1,
                different: 0,
                stage: None,
                send: None,
            }],
            forbid: vec![Regex::new("payload: .*FAILED|entente: CRASH|Kernel panic")?],
            until_off: false,
            log: Some(log.clone()),
            show: false,
        };
        let limits = Limits {
            cpu: Duration::from_secs(300),
            wall: Duration::from_secs(900),
        };
        let spinner = progress::spinner(what);
        let report = qemu_tests::run(&emulator, &watch, limits)
            .with_context(|| format!("the guest {what} (serial log: {})", log.display()));
        spinner.finish_and_clear();
        parse(&report?.lines)
    }
}

/// Debian's SeaBIOS as a flash chip: it starts what UEFI firmware does not, and starts quicker.
fn seabios(context: &Context) -> Result<Firmware> {
    let store = Store::open(context)?;
    let folder = packages::unpacked(context, &store, "seabios")?;
    let variables = context.out.join("no-variables.fd");
    write(&variables, [0xff; 4096])?;
    Ok(Firmware {
        code: folder.join("usr/share/seabios/bios-256k.bin"),
        variables,
    })
}

/// Lines `payload: cost NAME LEAST MEDIAN LOOPS` and `payload: tsc HZ`.
fn parse(lines: &[String]) -> Result<Costs> {
    let mut costs = Costs::default();
    for line in lines {
        let Some((_, said)) = line.split_once("payload: ") else {
            continue;
        };
        let words: Vec<&str> = said.split_whitespace().collect();
        let number = |word: &str| {
            word.parse::<f64>()
                .with_context(|| format!("no number in: {line}"))
        };
        match words.as_slice() {
            ["cost", name, least, _, loops] => {
                let ticks = number(least)? / number(loops)?;
                costs.ticks.insert((*name).to_owned(), ticks);
            }
            ["tsc", hz] => costs.hz = Some(number(hz)?),
            _ => {}
        }
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(lines: &[&str]) -> Costs {
        parse(&lines.iter().map(|&l| l.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_loop_itself_is_not_counted() {
        let costs = costs(&[
            "[    1.0] x",
            "payload: cost loop 310 320 100",
            "payload: cost cpuid 8310 9000 100",
        ]);
        assert_eq!(costs.of("cpuid").unwrap(), 80.0);
        assert!(costs.of("msr").is_err());
    }

    #[test]
    fn time_is_in_nanoseconds_of_our_guests_counter() {
        let all = |hz: &str| {
            let mut text: Vec<String> = EXITS
                .iter()
                .map(|(key, ..)| format!("payload: cost {key} 3000 3000 1"))
                .collect();
            text.push("payload: cost loop 1000 1000 1".into());
            text.push("payload: cost floor 2000 2000 1".into());
            text.push(format!("payload: tsc {hz}"));
            parse(&text).unwrap()
        };
        let rows = compare(Round::Time, &all("1"), &all("2000000000"), &all("1")).unwrap();
        assert_eq!(rows[1].value, 500.0);
        assert_eq!((rows[2].value, rows[2].peer_value), (1000.0, Some(1000.0)));
    }
}
