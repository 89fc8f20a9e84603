//! Disk files: our queue beside QEMU's tools, on the same files, with the same requests.
//!
//! Each row is a number of requests, made by `qemu-img bench` and by the example `bench` of `disk-queue` in
//! turn, several times; medians are compared. QEMU may take its worker threads or io_uring: whichever was
//! quicker in a few runs before is the peer. All go through the page cache, as the vmm does, and all run before whatever
//! else the host has to do (see `programs`).

mod files;
mod programs;

use super::{Row, Target};
use crate::context::Context;
use crate::{host, progress};
use anyhow::Result;
use files::{Files, Format};
use programs::{Programs, Run, median, range_of_median};
use std::path::Path;

/// Each is run so often; more often where it waits for the disk, which others use too.
const ROUNDS: usize = 5;
const ROUNDS_OF_DISK: usize = 15;
/// So often each of QEMU's ways is tried before.
const TRIALS: usize = 3;
const KIB: u64 = 1 << 10;
/// Steps through all pages of the disk, and through all its 64 KiB, as if there were no pattern. QEMU takes no
/// step of 2 GiB.
const SCATTERED: u64 = 30011;

/// Where requests are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Sequential,
    Random,
}

/// What the page cache and the file are like before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// All blocks are there, and in the page cache.
    Warm,
    /// All blocks are there, none in the page cache.
    Dropped,
    /// The file has no blocks.
    Empty,
}

/// A row of requests.
#[derive(Clone, Copy)]
struct Case {
    order: Order,
    write: bool,
    size: u64,
    depth: u64,
    before: Before,
    /// Whether it must not be slower than QEMU.
    ahead: bool,
}

const fn case(
    order: Order,
    write: bool,
    size_kib: u64,
    depth: u64,
    before: Before,
    ahead: bool,
) -> Case {
    Case {
        order,
        write,
        size: size_kib * KIB,
        depth,
        before,
        ahead,
    }
}

const READ: bool = false;
const WRITE: bool = true;

const CASES: [Case; 19] = {
    use Before::*;
    use Order::*;
    [
        case(Sequential, READ, 64, 1, Warm, true),
        case(Sequential, READ, 64, 32, Warm, true),
        case(Random, READ, 4, 1, Warm, false),
        case(Random, READ, 4, 32, Warm, true),
        case(Random, READ, 64, 1, Warm, false),
        case(Random, READ, 64, 32, Warm, false),
        case(Sequential, WRITE, 64, 1, Warm, false),
        case(Sequential, WRITE, 64, 32, Warm, false),
        case(Random, WRITE, 4, 1, Warm, false),
        case(Random, WRITE, 4, 32, Warm, true),
        case(Random, WRITE, 64, 32, Warm, false),
        case(Sequential, WRITE, 64, 1, Empty, true),
        case(Sequential, WRITE, 64, 32, Empty, true),
        case(Random, WRITE, 4, 1, Empty, true),
        case(Random, WRITE, 4, 32, Empty, true),
        // Last: what comes back into the page cache comes in larger pages.
        case(Sequential, READ, 64, 1, Dropped, true),
        case(Sequential, READ, 64, 32, Dropped, true),
        case(Random, READ, 4, 1, Dropped, false),
        case(Random, READ, 4, 32, Dropped, true),
    ]
};

impl Case {
    fn name(&self, format: &str) -> String {
        let order = match self.order {
            Order::Sequential => "sequential",
            Order::Random => "random",
        };
        let what = if self.write { "write" } else { "read" };
        let before = match self.before {
            Before::Warm => "",
            Before::Dropped => ", cache dropped",
            Before::Empty => ", allocating",
        };
        let size = self.size / KIB;
        format!(
            "{format} {order} {what} {size}K, depth {}{before}",
            self.depth
        )
    }

    fn step(&self) -> u64 {
        match self.order {
            Order::Sequential => self.size,
            Order::Random => self.size * SCATTERED,
        }
    }

    fn rounds(&self) -> usize {
        match self.before {
            Before::Dropped => ROUNDS_OF_DISK,
            Before::Warm | Before::Empty => ROUNDS,
        }
    }

    /// The file once over, or what takes about as long.
    fn count(&self) -> u64 {
        match (self.order, self.write, self.before) {
            // On a VHD QEMU writes a bitmap and waits for the disk, each time that the block changes.
            (Order::Random, WRITE, _) => 1500,
            // About a quarter of a second, in which each block is read from many times: the first time costs a VHD its
            // bitmap, which is no part of what goes on for hours.
            (Order::Random, READ, Before::Dropped) if self.depth == 1 => 1500,
            (Order::Random, READ, Before::Dropped) => 12_000,
            (Order::Random, READ, _) if self.size == 4096 => 20_000,
            _ => files::SIZE / self.size,
        }
    }
}

/// Measures, and answers the rows with `only` in their name.
pub fn run(context: &Context, only: &str) -> Result<Vec<Row>> {
    host::require(&["qemu-img", "qemu-io"])?;
    let programs = Programs::build(context)?;
    let files = Files::create(&programs)?;
    let mut rows = Vec::new();
    let cases: Vec<(Format, Case)> = [Format::Vhdx, Format::Vhd]
        .into_iter()
        .flat_map(|format| CASES.map(|case| (format, case)))
        .filter(|(format, case)| case.name(format.name()).contains(only))
        .collect();
    let bar = progress::bar("bench", cases.len() as u64);
    for (format, case) in cases {
        rows.push(measure(&programs, &files, format, case)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let chain = "20 children: random read 4K, depth 32";
    if chain.contains(only) {
        rows.push(of_chain(&programs, &files, chain)?);
    }
    for (name, file, ahead) in [
        ("open of a 64 TB VHDX", files.huge(), true),
        ("open of a 256 MB VHDX", files.full(Format::Vhdx), false),
    ] {
        if name.contains(only) {
            rows.extend(of_opening(&programs, &file, name, ahead)?);
        }
    }
    Ok(rows)
}

/// The same requests by ours and by the peer.
struct Runs {
    ours: Vec<Run>,
    theirs: Vec<Run>,
    /// The peer's way, which was the quicker one.
    way: &'static str,
}

impl Runs {
    /// Makes them in turn. Which way of the peer's is the quicker one is told by runs of their own: the better of two
    /// figures that chance moves is better than either way is.
    fn make(
        rounds: usize,
        ours: impl Fn() -> Result<Run>,
        peer: impl Fn(&'static str) -> Result<Run>,
    ) -> Result<Self> {
        let mut trials = [Vec::new(), Vec::new()];
        for _ in 0..TRIALS {
            for (trial, way) in trials.iter_mut().zip(programs::WAYS) {
                trial.push(peer(way)?.seconds);
            }
        }
        let [first, second] = trials.map(|trial| median(trial.into_iter()));
        let mut runs = Self {
            ours: Vec::new(),
            theirs: Vec::new(),
            way: programs::WAYS[usize::from(second < first)],
        };
        for _ in 0..rounds {
            runs.ours.push(ours()?);
            runs.theirs.push(peer(runs.way)?);
        }
        Ok(runs)
    }

    fn row(&self, name: String, case: &Case, peer: &'static str) -> Row {
        let (ours, theirs) = (&self.ours, &self.theirs);
        let (unit, each) = match case.size {
            4096 => ("requests/s", 1.0),
            size => ("MiB/s", size as f64 / (1 << 20) as f64),
        };
        // Round by round, since what else the host does is alike for neighbours.
        let pairs = ours.iter().zip(theirs);
        let ratios = pairs.map(|(ours, theirs)| theirs.seconds / ours.seconds);
        let of = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what));
        let rate = |runs: &[Run]| case.count() as f64 * each / of(runs, |run| run.seconds);
        let cpu = |run: &Run| run.cpu_seconds;
        let memory = |run: &Run| run.memory_bytes / (1 << 20) as f64;
        Row {
            name,
            value: rate(ours),
            unit,
            peer,
            peer_value: Some(rate(theirs)),
            target: case.ahead.then_some(Target::AtLeast(1.0)),
            ratio_range: Some(range_of_median(ratios)),
            remark: format!(
                "{}; CPU {:.3} s, {:.3} s; peak {:.1} MiB, {:.1} MiB",
                self.way,
                of(ours, cpu),
                of(theirs, cpu),
                of(ours, memory),
                of(theirs, memory),
            ),
        }
    }
}

fn measure(programs: &Programs, files: &Files, format: Format, case: Case) -> Result<Row> {
    let file = match case.before {
        Before::Empty => files.fresh(format),
        _ => files.full(format),
    };
    let prepare = || match case.before {
        Before::Warm => programs.warm(&file),
        Before::Dropped => programs.forget(&file),
        Before::Empty => files.refresh(programs, format),
    };
    let ours = || prepare().and_then(|()| programs.ours(&file, &case));
    let peer = |way| prepare().and_then(|()| programs.qemu(&file, format.of_qemu(), way, &case));
    let runs = Runs::make(case.rounds(), ours, peer)?;
    let mut row = runs.row(case.name(format.name()), &case, "qemu-img bench");
    row.remark.push_str(programs.remark());
    Ok(row)
}

/// QEMU knows no children of VHDX, so it has the same as qcow2.
fn of_chain(programs: &Programs, files: &Files, name: &str) -> Result<Row> {
    let case = case(Order::Random, READ, 4, 32, Before::Warm, false);
    let (our_file, their_file) = files.chains(programs, 20)?;
    let warm = || programs.warm(&files.full(Format::Vhdx));
    let ours = || warm().and_then(|()| programs.ours(&our_file, &case));
    let peer = |way| warm().and_then(|()| programs.qemu(&their_file, "qcow2", way, &case));
    let mut row = Runs::make(ROUNDS, ours, peer)?.row(name.to_owned(), &case, "qemu-img bench");
    row.remark.push_str("; theirs are qcow2");
    Ok(row)
}

/// A process that opens the file and ends.
fn of_opening(programs: &Programs, file: &Path, name: &str, ahead: bool) -> Result<[Row; 2]> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS * 2 {
        ours.push(programs.open_ours(file)?);
        theirs.push(programs.open_qemu(file)?);
    }
    let row = |what: &str, unit, figure: fn(&Run) -> f64| Row {
        name: format!("{name}, {what}"),
        value: median(ours.iter().map(figure)),
        unit,
        peer: "qemu-io",
        peer_value: Some(median(theirs.iter().map(figure))),
        target: ahead.then_some(Target::AtMost(1.0)),
        ratio_range: None,
        remark: "less is better; with the start of the program".to_owned(),
    };
    Ok([
        row("time", "ms", |run| run.seconds * 1000.0),
        row("memory", "KiB", |run| run.memory_bytes / 1024.0),
    ])
}
