//! What is said about the command line itself: help, and errors in a line with exit code 2.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::Folder;

#[test]
fn help_is_everywhere() {
    let folder = Folder::new();
    for line in ["", "help", "--help", "-h"] {
        assert!(folder.done(line).contains("disk info"), "{line}");
    }
    for line in ["disk", "disk help", "disk --help", "disk -h"] {
        let help = folder.done(line);
        assert!(help.contains("\n  chain show "), "{line}: {help}");
    }
    // Each command that is listed has its own.
    let help = folder.done("disk help");
    let listed = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let names: Vec<_> = listed.map(|(name, _)| name).collect();
    assert!(names.len() > 5, "{help}");
    for name in names {
        let help = folder.done(&format!("disk {name} --help"));
        assert!(
            help.contains(&format!("usage: entente disk {name} ")),
            "{help}"
        );
        assert!(help.contains("--json"), "{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 132),
            "{help}"
        );
    }
}

#[test]
fn a_failure_is_told_to_machines_too() {
    let folder = Folder::new();
    for (line, code) in [
        ("disk info --json no.vhd", 1),
        ("disk info --json", 2),
        ("disk inof --json", 2),
    ] {
        let said = folder.run(line);
        assert_eq!(said.code, code, "{line}: {said:?}");
        let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let error = answer["error"].as_str().unwrap();
        assert_eq!(said.err, format!("error: {error}\n"), "{line}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_a_line_and_code_2() {
    let folder = Folder::new();
    for (line, expected) in [
        ("dsik", "no command \"entente dsik\"; `entente help`"),
        (
            "disk inof",
            "no command \"entente disk inof\"; `entente disk help`",
        ),
        ("disk chain", ""),
        (
            "disk info",
            "FILE is missing; see `entente disk info --help`",
        ),
        ("disk info a b", "unexpected argument \"b\""),
        ("disk info a --frobnicate", "no option --frobnicate"),
        ("disk info a -x", "'-x'"),
        (
            "disk info a --as floppy",
            "--as is raw or vhd or vhdx or vmdk, not floppy",
        ),
        ("disk info a --as", "--as"),
        ("disk info a --as raw --as raw", "--as is given twice"),
        ("disk info --json=yes a", "--json"),
        ("disk create a.vhd", "SIZE is missing"),
        ("disk create a.vhd 10x", "\"10x\" is not a size such as 40G"),
        (
            "disk create a.vhd 1G --parent b.vhd",
            "SIZE does not go with it",
        ),
        ("disk create a 1G", "--format is missing"),
        ("disk create a.vmdk 1G", "VMDK is only read"),
        (
            "disk create a.vhd 1G --kind sparse",
            "--kind is dynamic or fixed, not sparse",
        ),
        (
            "disk create a.img 1G --block-size 2M",
            "--block-size is for disks that grow, and for VHDX",
        ),
        (
            "disk create a.vhd 1G --block-size 8G",
            "--block-size is 4 GiB or more",
        ),
        ("disk create a.vhd 1G --sector-size 4096", "VHDX"),
        (
            "disk create a.vhd 1G --identifier 12",
            "--identifier is as 00112233-4455-6677-8899-aabbccddeeff, not 12",
        ),
        ("disk create a.vhd 1G --time 1999-12-31", "not 1999-12-31"),
        (
            "disk create a.img 1G --time 2026-11-23T04:05:06Z",
            "a raw disk",
        ),
        ("disk convert a.vhd", "OUT is missing"),
        ("disk chain show", "FILE is missing"),
    ] {
        let said = folder.run(line);
        if expected.is_empty() {
            assert_eq!(said.code, 0, "{line}: {said:?}");
            continue;
        }
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{line}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{line}: {said:?}");
        assert!(said.err.contains(expected), "{line}: {said:?}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path("")).unwrap().count(),
        0,
        "nothing was made"
    );
}
