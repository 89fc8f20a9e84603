//! The house rules that a compiler does not know (`docs/ARCHITECTURE.md` says why they are there).
//!
//! They are read from the sources as they lie in the checkout. Each complaint names file and line.

mod source;

use source::{Source, sources};

/// Where unsafe code may be, and what for. All other crates forbid it.
const UNSAFE: [(&str, &str); 8] = [
    (
        "hypervisor/hal/",
        "world switch, registers, physical memory",
    ),
    (
        "hypervisor/boot/src/machine/",
        "firmware tables, page tables, start of CPUs",
    ),
    (
        "control-domain/disk-queue/src/ring.rs",
        "io_uring: what the kernel is told of is kept until it is done",
    ),
    (
        "control-domain/guest-memory/",
        "mmap and the atomics behind it",
    ),
    (
        "control-domain/hostile/",
        "test programs that do what must be refused",
    ),
    (
        "control-domain/hypercall/",
        "the call instruction, signals and timers",
    ),
    (
        "control-domain/tap/src/device.rs",
        "requests to the kernel that have no safe name",
    ),
    (
        "guest-tools/payload/",
        "a guest without an operating system",
    ),
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils",
];

const MOST_LINES: usize = 600;
/// Lines above an unsafe block or function in which its proof or its conditions begin.
const PROOF_LINES: usize = 24;

/// Paths of the machine that something was written on. The files that may name them: there they
/// are paths of a guest.
const FOREIGN_PATHS: [&str; 3] = ["/work", "/root", "/home"];
const GUEST_PATHS: [&str; 1] = ["xtask/src/guest_disk/sandbox.rs"];

/// Fails with all complaints, so that one run shows everything.
fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn rust() -> Vec<Source> {
    let found = sources(&["rs"]);
    assert!(found.len() > 100, "the checkout was not found");
    found
}

fn complain(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, line + 1)
}

/// Is `word` in `line` with no other letter, digit, underscore around it?
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[test]
fn unsafe_code_lives_in_the_listed_places() {
    let complaints = rust()
        .iter()
        .filter(|s| !UNSAFE.iter().any(|(place, _)| s.path.starts_with(place)))
        .flat_map(|s| {
            let code = s.code();
            let lines: Vec<_> = (0..).zip(code.lines()).collect();
            lines
                .into_iter()
                .filter(|(_, line)| has_word(line, "unsafe"))
                .map(|(i, _)| complain(s, i, "unsafe code outside the places of DESIGN D7"))
                .collect::<Vec<_>>()
        })
        .collect();
    report(complaints);
}

#[test]
fn every_listed_place_needs_to_be_listed() {
    let all = rust();
    let complaints = UNSAFE
        .iter()
        .filter(|(place, _)| {
            let mut inside = all.iter().filter(|s| s.path.starts_with(place));
            !inside.any(|s| has_word(&s.code(), "unsafe"))
        })
        .map(|(place, _)| format!("{place}: holds no unsafe code any more"))
        .collect();
    report(complaints);
}

#[test]
fn every_other_crate_forbids_unsafe_code() {
    let complaints = rust()
        .iter()
        .filter(|s| s.is_crate_root())
        // A crate with a listed part can't forbid what it contains: its library denies it, but there.
        .filter(|s| {
            let folder = s
                .path
                .trim_end_matches("main.rs")
                .trim_end_matches("lib.rs");
            let exempt = |(place, _): &(&str, _)| {
                let denies =
                    s.path.ends_with("main.rs") || s.text.contains("#![deny(unsafe_code)]");
                folder.starts_with(place) || denies && place.starts_with(folder)
            };
            !UNSAFE.iter().any(exempt)
        })
        .filter(|s| !s.text.contains("#![forbid(unsafe_code)]"))
        .map(|s| complain(s, 0, "#![forbid(unsafe_code)] is missing"))
        .collect();
    report(complaints);
}

#[test]
fn every_unsafe_block_has_its_proof_and_every_unsafe_function_its_conditions() {
    let mut complaints = Vec::new();
    for s in rust() {
        let code = s.code();
        let lines: Vec<_> = s.text.lines().collect();
        for (i, line) in code.lines().enumerate() {
            let (what, mark) = match () {
                () if line.contains("unsafe fn") => ("conditions", "# Safety"),
                () if line.contains("unsafe {") || line.contains("unsafe impl") => {
                    ("a proof", "SAFETY:")
                }
                () => continue,
            };
            let above = &lines[i.saturating_sub(PROOF_LINES)..=i];
            if !above.iter().any(|l| l.contains(mark)) {
                complaints.push(complain(
                    &s,
                    i,
                    &format!("unsafe code without {what}: {mark}"),
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn every_crate_says_first_what_it_is_for() {
    let complaints = rust()
        .iter()
        .filter(|s| s.is_crate_root() && !s.text.starts_with("//! "))
        .map(|s| {
            complain(
                s,
                0,
                "the first line must say what the crate is for (`//!`)",
            )
        })
        .collect();
    report(complaints);
}

#[test]
fn no_file_is_too_long_to_read() {
    let complaints = sources(&["rs", "yaml", "toml", "sh", "ld"])
        .iter()
        .filter(|s| s.text.lines().count() > MOST_LINES)
        .map(|s| {
            complain(
                s,
                MOST_LINES,
                "the file is too long: cut it by what it is about",
            )
        })
        .collect();
    report(complaints);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not hold them.
    let marks = ["TO DO", "FIX ME", "X XX"].map(|mark| mark.replace(' ', ""));
    let macros = ["to do!", "un implemented!"].map(|mark| mark.replace(' ', ""));
    let mut complaints = Vec::new();
    for s in sources(&["rs", "yaml", "toml", "md", "sh", "ld"]) {
        for (i, line) in s.text.lines().enumerate() {
            let marked = marks.iter().any(|mark| has_word(line, mark));
            if marked || macros.iter().any(|name| line.contains(name.as_str())) {
                complaints.push(complain(&s, i, "do it, or say in docs what is missing"));
            }
        }
    }
    report(complaints);
}

#[test]
fn names_are_the_fields_nouns() {
    let complaints = sources(&["rs", "yaml", "md"])
        .iter()
        .filter(|s| {
            let mut parts = s.path.split('/').map(|part| part.split('.').next());
            parts.any(|part| part.is_some_and(|name| EMPTY_NAMES.contains(&name)))
        })
        .map(|s| complain(s, 0, "name it after what it holds"))
        .collect();
    report(complaints);
}

#[test]
fn no_path_of_the_machine_it_was_written_on_is_in_the_tree() {
    let mut complaints = Vec::new();
    for s in sources(&["rs", "yaml", "toml", "md", "sh", "ld", "lock"]) {
        let allowed = GUEST_PATHS.contains(&s.path.as_str()) || s.path == "xtask/tests/tidy.rs";
        for (i, line) in s.text.lines().enumerate().filter(|_| !allowed) {
            let found = FOREIGN_PATHS.iter().any(|path| {
                line.match_indices(path).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + path.len()..].chars().next();
                    let starts =
                        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/}".contains(c));
                    let ends = after.is_none_or(|c| !c.is_alphanumeric() && !"._-".contains(c));
                    starts && ends
                })
            });
            if found {
                complaints.push(complain(&s, i, "an absolute path of some machine"));
            }
        }
    }
    report(complaints);
}
