//! The loads that `bench guest` puts on a guest's disks and network.

/// A load.
pub struct Load {
    pub name: &'static str,
    /// Processes at a time.
    pub depth: u32,
    /// Requests of each; of a transfer its MiB.
    pub requests: u32,
    pub work: Work,
    /// Whether exits for each request must be fewer than the peer's.
    pub ahead: bool,
}

/// What a load does, past the guest's page cache.
pub enum Work {
    /// Arguments of ioping. `$d` is the disk; /srv/load is a file on it; `$second` is the second disk as the emulated IDE controller has it.
    Disk(&'static str),
    /// A command that fails if the transfer was not whole.
    Network(&'static str),
}

pub const LOADS: [Load; 10] = [
    disk("disk-random-read-4k", 1, 1500, "-s 4k $d", false),
    disk("disk-random-read-4k", 32, 40, "-s 4k $d", true),
    disk(
        "disk-random-write-4k",
        1,
        1500,
        "-WWW -s 4k /srv/load",
        false,
    ),
    disk("disk-random-write-4k", 32, 40, "-WWW -s 4k /srv/load", true),
    disk("disk-sequential-read-1m", 1, 48, "-L -s 1m $d", false),
    disk("disk-sequential-read-1m", 32, 4, "-L -s 1m $d", true),
    disk("ide-random-read-4k", 1, 1500, "-s 4k $second", false),
    disk("ide-sequential-read-1m", 1, 48, "-L -s 1m $second", false),
    transfer(
        "tcp-send",
        "head -c 32M /dev/zero | busybox nc 172.30.0.1 9",
    ),
    transfer(
        "tcp-receive",
        "[ $(busybox nc 172.30.0.1 8 | wc -c) = 33554432 ]",
    ),
];

const fn disk(
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
        work: Work::Disk(arguments),
        ahead,
    }
}

const fn transfer(name: &'static str, command: &'static str) -> Load {
    Load {
        name,
        depth: 1,
        requests: 32,
        work: Work::Network(command),
        ahead: false,
    }
}

impl Load {
    pub fn mark(&self) -> String {
        format!("{}-{}", self.name, self.depth)
    }

    /// What is typed: all requests between two marks.
    pub fn command(&self) -> String {
        let work = match self.work {
            Work::Disk(arguments) => format!(
                "(for i in $(seq {}); do ioping -D -q -i 0 -c {} {arguments} >/dev/null || echo load failed & done; wait)",
                self.depth, self.requests
            ),
            Work::Network(command) => format!("{command} || echo load failed"),
        };
        format!(
            "echo $m {mark}; {work}; echo $m {mark}-end\n",
            mark = self.mark()
        )
    }

    pub fn total(&self) -> f64 {
        f64::from(self.depth * self.requests)
    }

    /// What exits and instructions are counted for.
    pub fn unit(&self) -> &'static str {
        match self.work {
            Work::Disk(_) => "a request",
            Work::Network(_) => "a MiB",
        }
    }
}
