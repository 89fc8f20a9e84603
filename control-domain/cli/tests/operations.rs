//! Commands that change disks: check, resize, compact, merge, commit, discard.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::{CHAINED, Folder, content};

const SIZE: usize = 9 << 20;

/// base ← middle ← top, each with bytes of its own; and what top and middle read as.
fn chain(extension: &'static str) -> (Folder, Vec<u8>, Vec<u8>) {
    let folder = Folder::of(extension);
    let mut bytes = content(SIZE);
    folder.put("start.raw", &bytes);
    folder.done("disk convert start.raw base.vhd");
    let mut write = |name: &str, offset: usize, value: u8| {
        folder.write(name, offset as u64, &[value; 3000]);
        bytes[offset..offset + 3000].fill(value);
        bytes.clone()
    };
    folder.done("disk create middle.vhd --parent base.vhd");
    let middle = write("middle.vhd", 5_000_000, 0x22);
    folder.done("disk create top.vhd --parent middle.vhd");
    let top = write("top.vhd", 5_001_000, 0x33);
    (folder, middle, top)
}

#[test]
fn commit_moves_the_data_down_and_leaves_an_empty_child() {
    for extension in CHAINED {
        let (folder, _, top) = chain(extension);
        let before = folder.get("base.vhd");
        let done = folder.json("disk commit top.vhd");
        assert!(
            done["into"]
                .as_str()
                .unwrap()
                .ends_with(&folder.named("middle.vhd")),
            "{done}"
        );
        assert!(folder.read("middle.vhd") == top && folder.read("top.vhd") == top);
        assert!(
            folder.get("base.vhd") == before,
            "the base is none of its business"
        );
        folder.done("disk commit top.vhd --delete");
        assert!(!folder.path("top.vhd").exists() && folder.read("middle.vhd") == top);
    }
}

#[test]
fn discard_brings_the_parent_back_and_spares_disks_that_others_stand_on() {
    for extension in CHAINED {
        let (folder, middle, _) = chain(extension);
        let before = folder.get("middle.vhd");
        let error = folder.fails("disk discard middle.vhd");
        assert!(
            error.contains(&folder.named("top.vhd stands on it")),
            "{error}"
        );
        assert_eq!(folder.json("disk discard top.vhd")["deleted"], false);
        assert!(folder.read("top.vhd") == middle && folder.get("middle.vhd") == before);
        folder.done("disk discard top.vhd --delete");
        assert!(!folder.path("top.vhd").exists());
        assert!(
            folder
                .fails("disk discard base.vhd")
                .contains("it has no parent")
        );
    }
}

#[test]
fn merge_says_what_it_would_do_and_does_it() {
    for extension in CHAINED {
        let (folder, _, top) = chain(extension);
        let files = ["base.vhd", "middle.vhd", "top.vhd"];
        let before = files.map(|name| folder.get(name));
        let line = "disk chain merge top.vhd --into base.vhd";
        let plan = folder.json(&format!("{line} --dry-run"));
        assert_eq!(plan["merged"].as_array().unwrap().len(), 2, "{plan}");
        assert!(plan["bytes_to_write"].as_u64().unwrap() >= 4000, "{plan}");
        assert!(
            folder
                .done(&format!("{line} --dry-run"))
                .contains("would be written")
        );
        assert!(
            files.map(|name| folder.get(name)) == before,
            "a dry run writes nothing"
        );
        // Somebody else stands on the base.
        folder.done("disk create sibling.vhd --parent base.vhd");
        assert!(
            folder
                .fails(line)
                .contains(&folder.named("sibling.vhd stands on it too"))
        );
        std::fs::remove_file(folder.path("sibling.vhd")).unwrap();
        assert_eq!(folder.json(line), plan);
        assert!(folder.read("base.vhd") == top && folder.read("top.vhd") == top);
        assert!(!folder.path("middle.vhd").exists());
        folder.done("disk chain verify top.vhd");
    }
}

#[test]
fn a_disk_grows_and_shrinks_but_not_over_data() {
    let folder = Folder::new();
    let bytes = content(SIZE);
    folder.put("start.raw", &bytes);
    for (name, kind) in [
        ("dynamic.vhd", "dynamic"),
        ("fixed.vhd", "fixed"),
        ("dynamic.vhdx", "dynamic"),
        ("fixed.vhdx", "fixed"),
    ] {
        folder.done(&format!("disk convert start.raw {name} --kind {kind}"));
        let grown = folder.json(&format!("disk resize {name} 20M"));
        assert_eq!(grown["virtual_size_bytes"], 20 << 20, "{name}");
        let read = folder.read(name);
        assert!(
            read[..SIZE] == bytes && read[SIZE..].iter().all(|byte| *byte == 0),
            "{name}"
        );
        folder.done(&format!("disk resize {name} 9M"));
        assert!(folder.read(name) == bytes, "{name}");
        let error = folder.fails(&format!("disk resize {name} 8M"));
        assert!(error.contains("there is data at 0x8ffe00"), "{error}");
        folder.done(&format!("disk resize {name} 8M --drop-data"));
        assert!(folder.read(name) == bytes[..8 << 20], "{name}");
    }
}

#[test]
fn compact_gives_zeros_back_and_changes_nothing() {
    for extension in CHAINED {
        let folder = Folder::of(extension);
        folder.put("start.raw", &vec![5; SIZE]);
        folder.done("disk convert start.raw disk.vhd --block-size 1M");
        folder.write("disk.vhd", 0, &vec![0; 6 << 20]);
        let before = folder.read("disk.vhd");
        let sizes = folder.json("disk compact disk.vhd");
        let bytes = |name: &str| sizes[name].as_u64().unwrap();
        assert!(
            bytes("after_bytes") + (6 << 20) <= bytes("before_bytes"),
            "{sizes}"
        );
        assert!(folder.read("disk.vhd") == before);
        assert!(
            folder
                .done("disk check disk.vhd")
                .contains("nothing is wrong (files: 1)")
        );
    }
}

#[test]
fn check_finds_a_broken_footer_and_repair_mends_it_from_its_copy() {
    let folder = Folder::new();
    folder.put("start.raw", &content(SIZE));
    folder.done("disk convert start.raw disk.vhd");
    let mut broken = folder.get("disk.vhd");
    let at = broken.len() - 400;
    broken[at] ^= 1;
    folder.put("disk.vhd", &broken);
    let said = folder.run("disk check disk.vhd");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("disk.vhd: at offset 0x") && said.out.contains("--repair mends it"),
        "{said:?}"
    );
    assert!(folder.get("disk.vhd") == broken, "a check writes nothing");
    assert!(
        folder
            .done("disk check disk.vhd --repair")
            .contains("(mended)")
    );
    assert!(folder.read("disk.vhd") == content(SIZE));
    folder.done("disk check disk.vhd");
}
