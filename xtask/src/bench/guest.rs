//! What a guest gets: the same Debian disk, booted and put under load on the same emulated PC, here and under KVM
//! with QEMU.
//!
//! The PC counts instructions as time (`-icount`), so a figure is the same on a slow day, but for time that the PC
//! waits for the host's disk. `stopwatch` in the control domain tells at each mark what was used: instructions are
//! the time that no CPU was idle. The peer has what suits it best: virtio, and a raw file for the disk; ours
//! reads the dynamic VHD in place. One processor each: with two, the guest under KVM hangs in QEMU 7.2.

use super::exits::COUNTING;
use super::{Row, Target};
use crate::context::{Context, create_folder};
use crate::image::{self, Changes};
use crate::pc::Pc;
use crate::progress;
use crate::recipe::Recipe;
use anyhow::{Context as _, Result};
use disks::{NewDisk, NewKind, OpenOptions};
use qemu_tests::{Boot, Cpu, Disk, EmulatorName, Expectation, Limits, Watch};
use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;

const PEER: &str = "KVM with QEMU's PC, virtio, raw disk";
/// RAM of the PC.
const MEMORY_MIB: u32 = 2048;

const OURS: &str = "quiet entente.granule_mib=512 entente.exit=poweroff \
    entente.run=/bin/stopwatch,/bin/vmm,run,/data/machines/debian,--processors,1,--granule,/dev/dax0.0,--serial,stdio";
/// The guest's memory is shared, so that it is told apart from QEMU's own.
const THEIRS: &str = "quiet entente.exit=poweroff \
    entente.run=/bin/stopwatch,/bin/qemu,-machine,pc,,accel=kvm,,memory-backend=ram,-cpu,host,-m,384,\
    -object,memory-backend-memfd,,id=ram,,size=384M,,share=on,\
    -nodefaults,-no-user-config,-vga,std,-display,none,-serial,stdio,\
    -drive,file=/data/machines/debian/disk.img,,format=raw,,if=virtio,,aio=io_uring";

/// A load on the disk.
struct Load {
    name: &'static str,
    /// Processes at a time.
    depth: u32,
    /// Requests of each.
    requests: u32,
    /// Arguments of ioping.
    arguments: &'static str,
    /// Whether exits for each request must be fewer than the peer's.
    ahead: bool,
}

/// `$d` is the disk; /srv/load is a file on it.
const LOADS: [Load; 6] = [
    load("random-read-4k", 1, 1500, "-s 4k $d", false),
    load("random-read-4k", 32, 40, "-s 4k $d", true),
    load("random-write-4k", 1, 1500, "-WWW -s 4k /srv/load", false),
    load("random-write-4k", 32, 40, "-WWW -s 4k /srv/load", true),
    load("sequential-read-1m", 1, 48, "-L -s 1m $d", false),
    load("sequential-read-1m", 32, 4, "-L -s 1m $d", true),
];

const fn load(
    name: &'static str,
    depth: u32,
    requests: u32,
    arguments: &'static str,
    ahead: bool,
) -> Load {
    Load {
        name,
        depth,
        requests,
        arguments,
        ahead,
    }
}

impl Load {
    fn mark(&self) -> String {
        format!("{}-{}", self.name, self.depth)
    }

    /// What is typed: all requests between two marks, past the guest's page cache.
    fn command(&self) -> String {
        format!(
            "echo mark {mark}; (for i in $(seq {}); do ioping -D -q -i 0 -c {} {} >/dev/null || echo load failed & done; wait); echo mark {mark}-end\n",
            self.depth,
            self.requests,
            self.arguments,
            mark = self.mark(),
        )
    }

    fn total(&self) -> f64 {
        f64::from(self.depth * self.requests)
    }
}

/// What was used until a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Used {
    clock_ns: f64,
    idle_ns: f64,
    own_kib: f64,
    exits: f64,
}

impl Used {
    /// With one instruction a nanosecond.
    fn instructions(&self) -> f64 {
        self.clock_ns - self.idle_ns
    }
}

type Marks = BTreeMap<String, Used>;

/// Measures both, one after the other.
pub fn run(context: &Context) -> Result<Vec<Row>> {
    let ours = marks_of(context, "first-light", OURS, Boot::Image)?;
    let theirs = marks_of(context, "kvm-peer-pc", THEIRS, Boot::WithoutHypervisor)?;
    compare(&ours, &theirs)
}

fn marks_of(context: &Context, recipe: &str, words: &str, boot: Boot) -> Result<Marks> {
    let context = &Context {
        out: context.out.join("bench").join(recipe),
        ..context.clone()
    };
    let recipe = Recipe::read(&context.root, recipe)?;
    let changes = Changes {
        without_hypervisor: boot == Boot::WithoutHypervisor,
        ..Changes::emulated([words.to_owned()])
    };
    let image = image::build(context, &recipe, &changes)?;
    let path = image::machines_with(context, &recipe, &mut |machine| match boot {
        Boot::Image => Ok(()),
        Boot::WithoutHypervisor => {
            let raw = NewDisk::new(NewKind::Raw, 0);
            let (from, to) = (machine.join("disk.vhd"), machine.join("disk.img"));
            if to.exists() {
                std::fs::remove_file(&to).context("the last raw disk can't be removed")?;
            }
            disks::convert(&from, &OpenOptions::read_only(), &to, &raw, &mut |_, _| {})?;
            std::fs::remove_file(&from).context("the VHD can't be removed")
        }
    })?;
    let pc = Pc {
        emulator: EmulatorName::Qemu,
        cpu: &Cpu::Amd,
        processors: 1,
        memory_mib: MEMORY_MIB,
        firmware: None,
        arguments: &COUNTING.map(str::to_owned),
        folder: context.out.join("boot"),
    };
    let mut emulator = pc.with_image(context, &image, boot)?;
    emulator.disks.push(Disk { path, keep: false });
    create_folder(&emulator.folder)?;
    let log = emulator.folder.join("serial.log");
    let watch = Watch {
        expect: session()?,
        forbid: vec![Regex::new(
            "entente: CRASH|Kernel panic|^load failed|ioping: ",
        )?],
        until_off: true,
        log: Some(log.clone()),
        show: false,
    };
    let limits = Limits {
        cpu: Duration::from_secs(900),
        wall: Duration::from_secs(1800),
    };
    let spinner = progress::spinner("a guest under load");
    let report = qemu_tests::run(&emulator, &watch, limits)
        .with_context(|| format!("{} (serial log: {})", recipe.title, log.display()));
    spinner.finish_and_clear();
    parse(&report?.lines)
}

/// What is waited for, and typed then.
fn session() -> Result<Vec<Expectation>> {
    let mut session = vec![typed("login: $", "root\n".to_owned())?];
    let prepare = "d=$(findmnt -no SOURCE / | tr -d 0-9); dd if=/dev/zero of=/srv/load bs=1M count=32 conv=fsync\n";
    session.push(typed("# $", prepare.to_owned())?);
    for load in LOADS {
        session.push(typed("# $", load.command())?);
    }
    session.push(typed("# $", "poweroff\n".to_owned())?);
    Ok(session)
}

fn typed(line: &str, text: String) -> Result<Expectation> {
    Ok(Expectation {
        line: Regex::new(line)?,
        times: 1,
        different: 0,
        stage: None,
        send: Some(text),
        only: None,
    })
}

fn compare(ours: &Marks, theirs: &Marks) -> Result<Vec<Row>> {
    let [start, login] = [
        in_both(ours, theirs, "start")?,
        in_both(ours, theirs, "login")?,
    ];
    let row = |name: String, unit, target: Option<f64>, values: [f64; 2], remark: &str| Row {
        name,
        value: values[0],
        unit,
        peer: PEER,
        peer_value: Some(values[1]),
        target: target.map(Target::AtMost),
        ratio_range: None,
        remark: remark.to_owned(),
    };
    let between = |from: [Used; 2], to: [Used; 2], what: fn(&Used) -> f64, scale: f64| {
        [0, 1].map(|side| (what(&to[side]) - what(&from[side])) / scale)
    };
    let mut rows = vec![
        row(
            "boot to userland".into(),
            "Minstructions",
            Some(1.0),
            between(start, login, Used::instructions, 1e6),
            "of the whole PC",
        ),
        row(
            "boot to userland, with waiting".into(),
            "s",
            None,
            between(start, login, |used| used.clock_ns, 1e9),
            "emulated; the host's disk has a part in it",
        ),
        row(
            "memory of the monitor".into(),
            "KiB",
            Some(1.0),
            login.map(|used| used.own_kib),
            "at the login prompt, without the guest's",
        ),
    ];
    for load in LOADS {
        let name = |what: &str| format!("{} depth {}, {what}", load.name, load.depth);
        let from = in_both(ours, theirs, &load.mark())?;
        let to = in_both(ours, theirs, &format!("{}-end", load.mark()))?;
        let per_request = |what| between(from, to, what, load.total());
        rows.push(row(
            name("exits"),
            "a request",
            load.ahead.then_some(1.0),
            per_request(|used| used.exits),
            "",
        ));
        rows.push(row(
            name("instructions"),
            "a request",
            None,
            per_request(Used::instructions),
            "guest, hypervisor and control domain",
        ));
        rows.push(row(
            name("time"),
            "us a request",
            None,
            per_request(|used| used.clock_ns / 1000.0),
            "emulated; the host's disk has a part in it",
        ));
    }
    Ok(rows)
}

fn in_both(ours: &Marks, theirs: &Marks, mark: &str) -> Result<[Used; 2]> {
    let of = |marks: &Marks| {
        let found = marks.get(mark).copied();
        found.with_context(|| format!("the guest did not reach the mark {mark}"))
    };
    Ok([of(ours)?, of(theirs)?])
}

/// Lines `stopwatch: NAME clock NS idle NS own KIB exits COUNT`; the first one of a name counts.
fn parse(lines: &[String]) -> Result<Marks> {
    let mut marks = Marks::new();
    for line in lines {
        let Some(said) = line.strip_prefix("stopwatch: ") else {
            continue;
        };
        let words: Vec<&str> = said.split_whitespace().collect();
        let [
            name,
            "clock",
            clock,
            "idle",
            idle,
            "own",
            own,
            "exits",
            exits,
        ] = words.as_slice()
        else {
            continue;
        };
        let number = |word: &str| {
            word.parse::<f64>()
                .with_context(|| format!("no number in: {line}"))
        };
        let used = Used {
            clock_ns: number(clock)?,
            idle_ns: number(idle)?,
            own_kib: number(own)?,
            exits: number(exits)?,
        };
        marks.entry((*name).to_owned()).or_insert(used);
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_was_used_between_two_marks() {
        let told = |factor: u64| {
            let mut lines = vec!["[ 1.0] stopwatch: no mark".to_owned()];
            let mut tell = |name: &str, n: u64| {
                let (clock, idle) = (n * factor * 1_000_000, n * 400_000);
                let exits = n * factor * 40;
                lines.push(format!(
                    "stopwatch: {name} clock {clock} idle {idle} own {} exits {exits}",
                    2 * factor
                ));
            };
            tell("start", 0);
            tell("login", 1000);
            for (number, load) in LOADS.iter().enumerate() {
                tell(&load.mark(), 2000 + number as u64 * 10);
                tell(&format!("{}-end", load.mark()), 2006 + number as u64 * 10);
            }
            parse(&lines).unwrap()
        };
        let rows = compare(&told(1), &told(2)).unwrap();
        let figures = |name: &str| {
            let row = rows.iter().find(|row| row.name == name).unwrap();
            (row.value, row.peer_value.unwrap())
        };
        assert_eq!(figures("boot to userland"), (600.0, 1600.0));
        assert_eq!(rows[1].value, 1.0);
        assert_eq!(figures("memory of the monitor"), (2.0, 4.0));
        assert_eq!(figures("random-read-4k depth 1, exits"), (0.16, 0.32));
        assert_eq!(
            figures("random-read-4k depth 1, instructions"),
            (2400.0, 6400.0)
        );
        assert_eq!(figures("random-read-4k depth 1, time"), (4.0, 8.0));
        assert!(compare(&told(1), &Marks::new()).is_err());
    }
}
