//! What a guest gets: the same Debian disk, booted, and disks and network put under load on the same emulated PC, here
//! and under KVM with QEMU.
//!
//! The PC counts instructions as time (`-icount`), so a figure is the same on a slow day, but for time that the PC
//! waits for the host's disk. `stopwatch` in the control domain tells at each mark what was used: instructions are
//! the time that no CPU was idle. The peer has what suits it best: virtio, and a raw file for the disk; ours
//! reads the dynamic VHD in place. One processor each: with two, the guest under KVM hangs in QEMU 7.2.

mod loads;

use self::loads::{LOADS, Load, Work};
use super::exits::COUNTING;
use super::{Row, Target};
use crate::context::{Context, create_folder, read, write};
use crate::image::{self, Changes};
use crate::pc::Pc;
use crate::progress;
use crate::recipe::Recipe;
use anyhow::{Context as _, Result};
use disks::{NewDisk, NewKind, OpenOptions};
use qemu_tests::{Boot, Cpu, Disk, EmulatorName, Expectation, Limits, Watch};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PEER: &str = "KVM with QEMU's PC, virtio, raw disk";
/// RAM of the PC.
const MEMORY_MIB: u32 = 2048;

/// Size of the disk for the emulated path.
const SECOND_DISK_BYTES: usize = 64 << 20;

/// What each PC runs is a file on the data disk.
const WORDS: &str =
    "quiet entente.granule_mib=512 entente.exit=poweroff entente.run=/bin/busybox,sh,/data/bench";
/// TCP's other end, in the control domain: port 9 takes, port 8 gives. Both keep their input open, so that
/// the connection ends when the guest's end or the data does.
const PEERS: &str = "\
busybox sleep 99999 | busybox nc -l -p 9 > /dev/null &
(busybox head -c 33554432 /dev/zero; busybox sleep 5) | busybox nc -l -p 8 > /dev/null &
";
const OURS: &str = "\
switchd create
exec stopwatch /bin/vmm run /data/machines/debian --processors 1 --granule /dev/dax0.0 --serial stdio
";
const OURS_GENERATION_2: &str = "\
switchd create
exec stopwatch /bin/vmm run /data/machines/debian-uefi --processors 1 --granule /dev/dax0.0 --serial stdio
";
/// The guest's memory is shared, so that it is told apart from QEMU's own.
const THEIRS: &str = "\
exec stopwatch /bin/qemu -machine pc,accel=kvm,memory-backend=ram -cpu host -m 384 \
    -object memory-backend-memfd,id=ram,size=384M,share=on \
    -nodefaults -no-user-config -vga std -display none -serial stdio \
    -drive file=/data/machines/debian/disk.img,format=raw,if=none,id=root,aio=io_uring \
    -device virtio-blk-pci,drive=root,bootindex=0";
const THEIR_SECOND_DISK: &str =
    " -drive file=/data/machines/debian/load.img,format=raw,if=ide,aio=io_uring";
const THEIR_SWITCH: &str = "\
busybox brctl addbr switch
busybox tunctl -t tap0
busybox brctl addif switch tap0
busybox ip address add 172.30.0.1/20 dev switch
busybox ip link set tap0 up
busybox ip link set switch up
";
const THEIR_CARD: &str = " -netdev tap,id=net,ifname=tap0,script=no,downscript=no,vhost=off \
    -device virtio-net-pci,netdev=net,romfile=";

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

/// What loads want beside the first disk.
#[derive(Clone, Copy)]
struct Wants {
    /// The disk for the emulated path.
    second_disk: bool,
    network: bool,
}

impl Wants {
    fn of(loads: &[&Load]) -> Self {
        Self {
            second_disk: loads.iter().any(|load| load.name.starts_with("ide-")),
            network: loads
                .iter()
                .any(|load| matches!(load.work, Work::Network(_))),
        }
    }

    /// What a PC runs.
    fn script(self, side: Side) -> String {
        let peers = if self.network { PEERS } else { "" };
        if side.boot == Boot::Image {
            return [peers, side.program].concat();
        }
        let [switch, card] = if self.network {
            [THEIR_SWITCH, THEIR_CARD]
        } else {
            [""; 2]
        };
        let disk = if self.second_disk {
            THEIR_SECOND_DISK
        } else {
            ""
        };
        [peers, switch, side.program, disk, card, "\n"].concat()
    }
}

/// Who is measured.
#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    recipe: &'static str,
    /// What its PC runs.
    program: &'static str,
    /// Its guest's recipe.
    guest: &'static str,
    /// What its guest's machine file says beside it.
    machine: &'static str,
    boot: Boot,
}

const ENTENTE: Side = Side {
    name: "generation-1",
    recipe: "first-light",
    program: OURS,
    guest: "debian",
    machine: "",
    boot: Boot::Image,
};
const GENERATION_2: Side = Side {
    name: "generation-2",
    program: OURS_GENERATION_2,
    guest: "debian-uefi",
    ..ENTENTE
};
/// Does what Generation 1 does: checks no signature.
const GENERATION_2_WITHOUT_SECURE_BOOT: Side = Side {
    name: "generation-2-without-secure-boot",
    machine: "secure_boot: off\n",
    ..GENERATION_2
};
const KVM: Side = Side {
    name: "kvm",
    recipe: "kvm-peer-pc",
    program: THEIRS,
    guest: "debian",
    machine: "",
    boot: Boot::WithoutHypervisor,
};

/// Measures all, one after the other, with the loads that have `only` in their names.
pub fn run(context: &Context, only: &str) -> Result<Vec<Row>> {
    let loads: Vec<&Load> = LOADS
        .iter()
        .filter(|load| load.name.contains(only))
        .collect();
    let ours = marks_of(context, ENTENTE, &loads)?;
    let without = marks_of(context, GENERATION_2_WITHOUT_SECURE_BOOT, &[])?;
    let generation_2 = marks_of(context, GENERATION_2, &[])?;
    let theirs = marks_of_peer(context, &loads)?;
    let mut rows = compare(&ours, &theirs, &loads)?;
    let boots = [
        (
            "generation 2 without Secure Boot, boot to userland",
            without,
            Some(1.3),
        ),
        ("generation 2, boot to userland", generation_2, None),
    ];
    for (place, (name, second, target)) in boots.iter().enumerate() {
        rows.insert(
            1 + place,
            compare_generations(name, &ours, second, *target)?,
        );
    }
    Ok(rows)
}

/// The peer's guest dies now and then of faults of the emulated processor (decision 0004): it has three tries. Ours has one.
fn marks_of_peer(context: &Context, loads: &[&Load]) -> Result<Marks> {
    let mut tries = 1;
    loop {
        match marks_of(context, KVM, loads) {
            Err(error) if tries < 3 => {
                println!("the peer failed and is tried again: {error:#}");
                tries += 1;
            }
            result => return result,
        }
    }
}

/// The boots of the same userland by both kinds of firmware.
fn compare_generations(
    name: &str,
    first: &Marks,
    second: &Marks,
    target: Option<f64>,
) -> Result<Row> {
    let start = in_both(second, first, "start")?;
    let login = in_both(second, first, "login")?;
    let [second, first] =
        [0, 1].map(|side| (login[side].instructions() - start[side].instructions()) / 1e6);
    Ok(Row {
        name: name.to_owned(),
        value: second,
        unit: "Minstructions",
        peer: "generation 1",
        peer_value: Some(first),
        target: target.map(Target::AtMost),
        ratio_range: None,
        remark: "of the whole PC; beside generation 1 here".into(),
    })
}

fn marks_of(context: &Context, side: Side, loads: &[&Load]) -> Result<Marks> {
    let boot = side.boot;
    let wants = Wants::of(loads);
    let context = &Context {
        out: context.out.join("bench").join(side.name),
        ..context.clone()
    };
    let mut recipe = Recipe::read(&context.root, side.recipe)?;
    recipe.data.machine = side.guest.into();
    let changes = Changes {
        without_hypervisor: boot == Boot::WithoutHypervisor,
        ..Changes::emulated([WORDS.to_owned()])
    };
    let image = image::build(context, &recipe, &changes)?;
    let path = image::machines_with(context, &recipe, &mut |machine| {
        let root = machine
            .ancestors()
            .nth(2)
            .context("the machine is nowhere")?;
        write(&root.join("bench"), wants.script(side))?;
        if !side.machine.is_empty() {
            say_first(machine, side.machine)?;
        }
        if wants.second_disk {
            add_second_disk(machine)?;
        }
        match boot {
            Boot::Image => Ok(()),
            Boot::WithoutHypervisor => make_raw(machine),
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
        expect: session(loads, wants)?,
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

/// A disk for the emulated path, which both have as a raw file.
fn add_second_disk(machine: &Path) -> Result<()> {
    write(&machine.join("load.img"), vec![0x5a; SECOND_DISK_BYTES])?;
    // The list of disks is its last entry.
    let disk = "  - {controller: ide, location: 1, path: load.img, format: raw}\n";
    change_machine_file(machine, |text| text + disk)
}

fn say_first(machine: &Path, line: &str) -> Result<()> {
    change_machine_file(machine, |text| line.to_owned() + &text)
}

fn change_machine_file(machine: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let path = machine.join("machine.yaml");
    let text = String::from_utf8(read(&path)?).context("the machine file is no text")?;
    write(&path, change(text))
}

/// A raw disk in the place of the VHD.
fn make_raw(machine: &Path) -> Result<()> {
    let raw = NewDisk::new(NewKind::Raw, 0);
    let (from, to) = (machine.join("disk.vhd"), machine.join("disk.img"));
    if to.exists() {
        std::fs::remove_file(&to).context("the last raw disk can't be removed")?;
    }
    disks::convert(&from, &OpenOptions::read_only(), &to, &raw, &mut |_, _| {})?;
    std::fs::remove_file(&from).context("the VHD can't be removed")
}

/// What is waited for, and typed then.
fn session(loads: &[&Load], wants: Wants) -> Result<Vec<Expectation>> {
    let mut session = vec![typed("login: $", "root\n".to_owned())?];
    if loads.is_empty() {
        session.push(typed("# $", "poweroff\n".to_owned())?);
        return Ok(session);
    }
    // A mark's word is not typed: where the terminal breaks a long line, its echo would be the mark.
    let prepare = "m=mark; d=$(findmnt -no SOURCE / | tr -d 0-9); dd if=/dev/zero of=/srv/load bs=1M count=32 conv=fsync\n";
    session.push(typed("# $", prepare.to_owned())?);
    // Read once, for the host's page cache: waiting for its disk would be ticks of the guest, and each an exit. On
    // Hyper-V's hardware Linux leaves the emulated controller's disks alone unless it is told not to.
    let second = "modprobe -r ata_piix; modprobe ata_piix prefer_ms_hyperv=0; sleep 2; for s in /sys/block/sd*; do readlink -f $s | grep -q /ata && [ $(cat $s/size) = 131072 ] && second=/dev/${s##*/}; done; [ -b $second ] || echo load failed; dd if=$second of=/dev/null bs=1M\n";
    if wants.second_disk {
        session.push(typed("# $", second.to_owned())?);
    }
    let card = "modprobe virtio_net; for n in $(ls /sys/class/net | grep -v lo); do busybox ip address add 172.30.0.2/20 dev $n; busybox ip link set $n up; done; busybox ping -c 1 -w 20 172.30.0.1 >/dev/null || echo load failed\n";
    if wants.network {
        session.push(typed("# $", card.to_owned())?);
    }
    for load in loads {
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

fn compare(ours: &Marks, theirs: &Marks, loads: &[&Load]) -> Result<Vec<Row>> {
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
    for load in loads {
        let unit = load.unit();
        let name = |what: &str| format!("{} depth {}, {what}", load.name, load.depth);
        let from = in_both(ours, theirs, &load.mark())?;
        let to = in_both(ours, theirs, &format!("{}-end", load.mark()))?;
        let per_request = |what| between(from, to, what, load.total());
        rows.push(row(
            name("exits"),
            unit,
            load.ahead.then_some(1.0),
            per_request(|used| used.exits),
            "",
        ));
        rows.push(row(
            name("instructions"),
            unit,
            None,
            per_request(Used::instructions),
            "guest, hypervisor and control domain",
        ));
        // A transfer's end is waited for: its time says nothing.
        if let Work::Disk(_) = load.work {
            rows.push(row(
                name("time"),
                "us a request",
                None,
                per_request(|used| used.clock_ns / 1000.0),
                "emulated; the host's disk has a part in it",
            ));
        }
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
        let loads: Vec<&Load> = LOADS.iter().collect();
        let rows = compare(&told(1), &told(2), &loads).unwrap();
        let figures = |name: &str| {
            let row = rows.iter().find(|row| row.name == name).unwrap();
            (row.value, row.peer_value.unwrap())
        };
        assert_eq!(figures("boot to userland"), (600.0, 1600.0));
        assert_eq!(rows[1].value, 1.0);
        assert_eq!(figures("memory of the monitor"), (2.0, 4.0));
        assert_eq!(figures("disk-random-read-4k depth 1, exits"), (0.16, 0.32));
        assert_eq!(
            figures("disk-random-read-4k depth 1, instructions"),
            (2400.0, 6400.0)
        );
        assert_eq!(figures("disk-random-read-4k depth 1, time"), (4.0, 8.0));
        assert!(compare(&told(1), &Marks::new(), &loads).is_err());
    }
}
