//! What one exit costs: instructions, counted by the emulator, and time.
//!
//! The same guest, `payload` in its mode `exits`, runs three times on the same emulated processor:
//! alone, where a bare world switch is the floor; under the hypervisor; and under KVM with QEMU.
//! With `-icount` the time stamp counter ticks once for each instruction executed on the whole PC,
//! and a round without it tells the time. In Bochs the counter always ticks so, there is no other
//! round, and nothing starts the guest alone. The least of many batches counts: it is free of timer
//! ticks and of what else the host does.

use super::{Row, Target};
use crate::context::{Context, create_folder, write};
use crate::image::{self, Changes};
use crate::packages::{self, Store};
use crate::pc::Pc;
use crate::recipe::{self, Recipe};
use crate::{progress, toolchain};
use anyhow::{Context as _, Result};
use qemu_tests::{
    Boot, Cpu, Emulator, EmulatorName, Expectation, Firmware, Limits, Names, Program, Qemu, Watch,
};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const PEER: &str = "KVM with QEMU microvm";

/// The part of the peer's figure that ours may be.
#[derive(Clone, Copy)]
struct Targets {
    instructions: f64,
    /// The same on VMX.
    vmx_instructions: f64,
    time: f64,
}

/// How the guest's figures are called, and what they are to be.
const EXITS: [(&str, &str, Option<Targets>); 5] = [
    (
        "cpuid",
        "CPUID exit",
        Some(Targets {
            instructions: 1.0 / 5.0,
            vmx_instructions: 1.0 / 6.0,
            time: 0.6,
        }),
    ),
    ("msr", "MSR exit", None),
    ("hypercall", "hypercall", None),
    (
        "port-in",
        "exit to the vmm and back",
        Some(Targets {
            instructions: 1.0 / 8.0,
            vmx_instructions: 1.0 / 8.0,
            time: 0.45,
        }),
    ),
    ("port-out", "exit to the vmm, no answer", None),
];

/// Makes the emulator count instructions as time.
pub const COUNTING: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// RAM of each PC in MiB; Bochs takes long to clear it.
const fn memory_mib(emulator: EmulatorName) -> u32 {
    match emulator {
        EmulatorName::Qemu => 2048,
        EmulatorName::Bochs => 768,
    }
}

/// Instructions of a bare world switch in Bochs: VMRUN, the exiting instruction and the step over it,
/// as a loop of 100,000 took them on its Ryzen. Nothing starts the guest alone there.
const BOCHS_FLOOR: f64 = 9.0;

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
    /// What is known of the bare processor in Bochs.
    fn of_bochs() -> Self {
        let known = [("loop", 0.0), ("floor", BOCHS_FLOOR)];
        Self {
            ticks: known.map(|(name, ticks)| (name.to_owned(), ticks)).into(),
            hz: None,
        }
    }

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
    emulator: EmulatorName,
    cpu: &'a Cpu,
    ours: image::Image,
    peer: image::Image,
    payload: PathBuf,
}

/// Measures, in two rounds where the emulator has both.
pub fn run(context: &Context, emulator: EmulatorName, cpu: &Cpu) -> Result<Vec<Row>> {
    let bench = Bench::build(context, emulator, cpu)?;
    let rounds: &[Round] = match emulator {
        EmulatorName::Qemu => &[Round::Instructions, Round::Time],
        EmulatorName::Bochs => &[Round::Instructions],
    };
    let mut rows = Vec::new();
    for &round in rounds {
        let floor = match emulator {
            EmulatorName::Qemu => bench.alone(round)?,
            EmulatorName::Bochs => Costs::of_bochs(),
        };
        let ours = bench.ours(round)?;
        let peer = bench.peer(round)?;
        rows.extend(compare(round, cpu, &floor, &ours, &peer)?);
    }
    Ok(rows)
}

fn compare(round: Round, cpu: &Cpu, floor: &Costs, ours: &Costs, peer: &Costs) -> Result<Vec<Row>> {
    let (unit, scale) = match round {
        Round::Instructions => ("instructions", 1.0),
        // All three see the counter of the same processor.
        Round::Time => {
            let hz = ours.hz.context("the guest did not tell the frequency")?;
            ("ns", 1e9 / hz)
        }
    };
    let mut rows = Vec::new();
    let alone = [
        ("cpuid", "CPUID without an exit"),
        ("floor", "bare world switch"),
        ("floor-there-and-back", "bare switch there and back"),
    ];
    for (key, name) in alone {
        // In Bochs one of them is known.
        if !floor.ticks.contains_key(key) {
            continue;
        }
        rows.push(Row {
            name: name.into(),
            value: floor.of(key)? * scale,
            unit,
            peer: PEER,
            peer_value: None,
            target: None,
            ratio_range: None,
            remark: String::new(),
        });
    }
    for (key, name, targets) in EXITS {
        rows.push(Row {
            name: name.into(),
            value: ours.of(key)? * scale,
            unit,
            peer: PEER,
            peer_value: Some(peer.of(key)? * scale),
            target: targets.map(|targets| {
                Target::AtMost(match (round, cpu) {
                    (Round::Time, _) => targets.time,
                    (Round::Instructions, Cpu::Amd) => targets.instructions,
                    (Round::Instructions, _) => targets.vmx_instructions,
                })
            }),
            ratio_range: None,
            remark: String::new(),
        });
    }
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn build(context: &'a Context, emulator: EmulatorName, cpu: &'a Cpu) -> Result<Self> {
        let of_bench = Context {
            out: context.out.join("bench"),
            ..context.clone()
        };
        create_folder(&of_bench.out)?;
        let ours = Changes::emulated([
            "quiet".to_owned(),
            "entente.nodata entente.exit=poweroff entente.run=/bin/vmm,payload,\
                 /usr/share/entente/payload,--granule,/dev/dax0.0,--command,exits"
                .to_owned(),
        ]);
        let peer = Changes {
            without_hypervisor: true,
            ..Changes::emulated([
                "quiet".to_owned(),
                "entente.nodata entente.exit=poweroff entente.run=/bin/qemu,-M,microvm,\
                 -accel,kvm,-cpu,host,-m,256,-nodefaults,-no-user-config,-display,none,\
                 -serial,stdio,-kernel,/usr/share/entente/payload,-append,exits"
                    .to_owned(),
            ])
        };
        let read = |name| Recipe::read(&context.root, name);
        Ok(Self {
            emulator,
            cpu,
            ours: image::build(&of_bench, &read(recipe::usual(emulator))?, &ours)?,
            peer: image::build(&of_bench, &read("kvm-peer")?, &peer)?,
            payload: toolchain::build(context, "payload", toolchain::NONE)?,
            context,
        })
    }

    /// The guest without anything below it, by QEMU's own loader.
    fn alone(&self, round: Round) -> Result<Costs> {
        let payload = self.payload.display().to_string();
        let words = ["-kernel", &payload, "-append", "exits"].map(str::to_owned);
        let mut qemu = seabios(self.context)?;
        qemu.arguments = [&words[..], &counting(round)].concat();
        self.measure(&self.without_disks(qemu, "alone"), "alone")
    }

    fn ours(&self, round: Round) -> Result<Costs> {
        let arguments = match self.emulator {
            EmulatorName::Qemu => counting(round),
            EmulatorName::Bochs => Vec::new(),
        };
        let pc = self.pc(&arguments, "ours");
        let emulator = pc.with_image(self.context, &self.ours, Boot::Image)?;
        self.measure(&emulator, "under the hypervisor")
    }

    /// QEMU starts it by SeaBIOS, which is quicker than UEFI.
    fn peer(&self, round: Round) -> Result<Costs> {
        let emulator = match self.emulator {
            EmulatorName::Qemu => {
                let mut qemu = seabios(self.context)?;
                qemu.arguments = counting(round);
                qemu.kernel = Some(self.peer.as_kernel());
                self.without_disks(qemu, "peer")
            }
            EmulatorName::Bochs => self.pc(&[], "peer").with_image(
                self.context,
                &self.peer,
                Boot::WithoutHypervisor,
            )?,
        };
        self.measure(&emulator, "under KVM")
    }

    fn without_disks(&self, qemu: Qemu, name: &str) -> Emulator {
        Emulator {
            program: Program::Qemu(qemu),
            processors: 1,
            memory_mib: memory_mib(self.emulator),
            disks: Vec::new(),
            folder: self.folder(name),
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.context.out.join("bench").join(name)
    }

    fn pc<'b>(&'b self, arguments: &'b [String], name: &str) -> Pc<'b> {
        Pc {
            emulator: self.emulator,
            cpu: self.cpu,
            processors: 1,
            memory_mib: memory_mib(self.emulator),
            firmware: None,
            arguments,
            folder: self.folder(name),
        }
    }

    fn measure(&self, emulator: &Emulator, what: &'static str) -> Result<Costs> {
        create_folder(&emulator.folder)?;
        let log = emulator.folder.join("serial.log");
        let watch = Watch {
            expect: vec![Expectation {
                line: Regex::new(r"payload: \d+ passed, 0 failed")?,
                times: 1,
                different: 0,
                stage: None,
                send: None,
                only: None,
            }],
            forbid: vec![Regex::new("payload: .*FAILED|entente: CRASH|Kernel panic")?],
            until_off: false,
            log: Some(log.clone()),
            show: false,
        };
        let limits = Limits {
            cpu: Duration::from_secs(300),
            wall: Duration::from_secs(3000),
        };
        let spinner = progress::spinner(what);
        let report = qemu_tests::run(emulator, &watch, limits)
            .with_context(|| format!("the guest {what} (serial log: {})", log.display()));
        spinner.finish_and_clear();
        parse(&report?.lines)
    }
}

/// Arguments that make QEMU count.
fn counting(round: Round) -> Vec<String> {
    match round {
        Round::Instructions => COUNTING.map(str::to_owned).to_vec(),
        Round::Time => Vec::new(),
    }
}

/// Debian's SeaBIOS as a flash chip: it starts what UEFI firmware does not, and starts quicker.
fn seabios(context: &Context) -> Result<Qemu> {
    let store = Store::open(context)?;
    let folder = packages::unpacked(context, &store, "seabios")?;
    let variables = context.out.join("bench/no-variables.fd");
    write(&variables, [0xff; 4096])?;
    Ok(Qemu {
        firmware: Firmware {
            code: folder.join("usr/share/seabios/bios-256k.bin"),
            variables,
        },
        kernel: None,
        arguments: Vec::new(),
        names: Names::new(),
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
            text.push("payload: cost floor-there-and-back 5000 5000 1".into());
            text.push(format!("payload: tsc {hz}"));
            parse(&text).unwrap()
        };
        let time = |floor: &Costs| {
            compare(Round::Time, &Cpu::Amd, floor, &all("2000000000"), &all("1")).unwrap()
        };
        let rows = time(&all("1"));
        assert_eq!(rows[1].value, 500.0);
        assert_eq!(rows[2].value, 2000.0);
        assert_eq!((rows[3].value, rows[3].peer_value), (1000.0, Some(1000.0)));
    }

    #[test]
    fn on_vmx_the_target_is_another_and_the_floor_is_known() {
        let all = parse(&EXITS.map(|(key, ..)| format!("payload: cost {key} 400 400 1"))).unwrap();
        let all = Costs {
            ticks: all
                .ticks
                .into_iter()
                .chain([("loop".into(), 0.0)])
                .collect(),
            hz: None,
        };
        let floor = Costs::of_bochs();
        let rows = compare(Round::Instructions, &Cpu::Intel, &floor, &all, &all).unwrap();
        assert_eq!((rows.len(), rows[0].value), (1 + EXITS.len(), BOCHS_FLOOR));
        assert_eq!(rows[1].target, Some(Target::AtMost(1.0 / 6.0)));
    }
}
