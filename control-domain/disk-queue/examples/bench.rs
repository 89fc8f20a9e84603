//! The measured side of `cargo xtask bench disks`: the requests that `qemu-img bench` makes, made by our queue.
//!
//! ```text
//! bench requests FILE --count N --depth N --size BYTES --step BYTES [--write]
//! bench open FILE            opens the disk, as qemu-io does
//! bench chain FILE NUMBER     puts so many empty VHDX children on it, and says which is the last
//! bench forget FILE…         writes the files out and drops them from the page cache
//! bench warm FILE…           reads them into it, page by page
//! bench measure PROGRAM …    runs it; says what it took on the standard error
//! ```
//!
//! Request number n is at n × step, modulo the disk's size.
#![forbid(unsafe_code)]

use disk_queue::{Command, Queue, Request};
use disks::{NewDisk, NewKind, OpenOptions};
use guest_memory::{GuestMemory, Layout, Mapping, Range, ScatterList};
use lexopt::{Arg, Parser, ValueExt};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use wait4::Wait4;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What is asked for, how often.
#[derive(Default)]
struct Requests {
    file: PathBuf,
    count: u64,
    depth: u64,
    size: u64,
    step: u64,
    write: bool,
}

fn main() -> Outcome {
    let mut parser = Parser::from_env();
    let command = parser.value()?.string()?;
    match command.as_str() {
        "requests" => requests(&Requests::parse(parser)?),
        "open" => {
            let opened = disks::open(&PathBuf::from(parser.value()?), &OpenOptions::default())?;
            println!("{} bytes", opened.disk.size());
            Ok(())
        }
        "chain" => {
            let mut top = PathBuf::from(parser.value()?);
            let children: u32 = parser.value()?.parse()?;
            for number in 1..=children {
                let child = top.with_file_name(format!("child-{number}.vhdx"));
                let kind = NewKind::VhdxDifferencing { parent: top };
                disks::create(&child, &NewDisk::new(kind, 0))?;
                top = child;
            }
            println!("{}", top.display());
            Ok(())
        }
        "forget" => {
            for path in parser.raw_args()? {
                let file = File::open(path)?;
                file.sync_all()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
            Ok(())
        }
        "warm" => {
            for path in parser.raw_args()? {
                let file = File::open(path)?;
                // Without readahead, which makes pages of up to 2 MiB: each later write of 4 KiB would walk through the
                // 512 buffer heads of one (ext4), and nothing else would be measured.
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
                let mut page = [0; 4096];
                let mut offset = 0;
                while file.read_at(&mut page, offset)? > 0 {
                    offset += page.len() as u64;
                }
            }
            Ok(())
        }
        "measure" => {
            let mut words = parser.raw_args()?;
            let program = words.next().ok_or("name the program")?;
            let begun = Instant::now();
            let mut child = std::process::Command::new(program).args(words).spawn()?;
            let used = child.wait4()?;
            if !used.status.success() {
                return Err("the program failed".into());
            }
            eprintln!(
                "wall {} cpu {} memory {}",
                begun.elapsed().as_secs_f64(),
                (used.rusage.utime + used.rusage.stime).as_secs_f64(),
                used.rusage.maxrss
            );
            Ok(())
        }
        other => Err(format!("there is no {other}").into()),
    }
}

impl Requests {
    fn parse(mut parser: Parser) -> Outcome<Self> {
        let mut this = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("count") => this.count = parser.value()?.parse()?,
                Arg::Long("depth") => this.depth = parser.value()?.parse()?,
                Arg::Long("size") => this.size = parser.value()?.parse()?,
                Arg::Long("step") => this.step = parser.value()?.parse()?,
                Arg::Long("write") => this.write = true,
                Arg::Value(file) => this.file = file.into(),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(this)
    }

    /// Buffers for requests that are under way at once, filled with what is written.
    fn buffers(&self) -> Outcome<Vec<Arc<ScatterList>>> {
        let length = self.depth * self.size;
        let mapping = Mapping::anonymous(length.next_multiple_of(2 << 20))?;
        let mut layout = Layout::default();
        layout.add(Range {
            gpa: 0,
            length,
            offset: 0,
        })?;
        let memory = Arc::new(GuestMemory::new(mapping, layout)?);
        let pattern = vec![0xa5; self.size as usize];
        (0..self.depth)
            .map(|number| {
                let list = ScatterList::new(memory.clone(), [(number * self.size, self.size)])?;
                list.write(0, &pattern);
                Ok(Arc::new(list))
            })
            .collect()
    }
}

/// Keeps `depth` requests under way until all are done.
fn requests(what: &Requests) -> Outcome {
    let options = OpenOptions {
        writable: what.write,
        ..OpenOptions::default()
    };
    let mut queue = Queue::new(disks::open(&what.file, &options)?.disk);
    if let Some(error) = queue.refused() {
        eprintln!("no io_uring: {error}");
    }
    let buffers = what.buffers()?;
    let (size, mut offset, mut left) = (queue.size(), 0, what.count);
    let mut next = |id: u64| {
        left = left.checked_sub(1)?;
        let (at, memory) = (offset, buffers[id as usize].clone());
        offset = (offset + what.step) % size;
        let command = match what.write {
            true => Command::Write { offset: at, memory },
            false => Command::Read { offset: at, memory },
        };
        Some(Request { id, command })
    };
    let begun = Instant::now();
    for request in (0..what.depth).map_while(&mut next) {
        queue.submit(request);
    }
    let mut done = 0;
    while done < what.count {
        queue.wait()?;
        while let Some(completion) = queue.completion() {
            completion.result?;
            done += 1;
            if let Some(request) = next(completion.id) {
                queue.submit(request);
            }
        }
    }
    println!(
        "Run completed in {:.3} seconds.",
        begun.elapsed().as_secs_f64()
    );
    queue.close()?;
    Ok(())
}
