//! Disks of every format: made, described, converted, mapped.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::{Folder, content};

const SIZE: usize = 9 << 20;

#[test]
fn what_info_says_is_what_was_asked_for() {
    let folder = Folder::new();
    for (line, format, kind, block) in [
        ("a.vhd 40G", "vhd", "dynamic", Some(2 << 20)),
        ("b.vhd 9M --kind fixed", "vhd", "fixed", None),
        (
            "c.vhd 9M --block-size 512K",
            "vhd",
            "dynamic",
            Some(512 << 10),
        ),
    ] {
        let made = folder.json(&format!("disk create {line}"));
        let name = line.split(' ').next().unwrap();
        assert_eq!(made, folder.json(&format!("disk info {name}")), "{line}");
        assert_eq!(
            (&made["format"], &made["kind"]),
            (&format.into(), &kind.into()),
            "{line}"
        );
        assert_eq!(made["block_size_bytes"].as_u64(), block, "{line}");
        assert_eq!(made["logical_sector_bytes"], 512, "{line}");
        assert!(
            made["parent"].is_null() && made["identifier"].is_string(),
            "{line}"
        );
    }
    assert_eq!(
        folder.json("disk info a.vhd")["virtual_size_bytes"],
        40u64 << 30
    );
    let large = folder.json("disk create large.vhdx 64T --sector-size 4096");
    assert_eq!(large["logical_sector_bytes"], 4096);
    assert_eq!(large["virtual_size_bytes"], 64u64 << 40);
    let text = folder.done("disk info a.vhd");
    assert!(
        text.contains("\nformat        dynamic VHD\nvirtual size  40 GiB (42949672960 bytes)\n"),
        "{text}"
    );
}

#[test]
fn a_disk_that_goes_through_every_format_comes_back() {
    let folder = Folder::new();
    let bytes = content(SIZE);
    folder.put("start.raw", &bytes);
    for line in [
        "start.raw 1.vhd",
        "1.vhd 2.vhd --kind fixed",
        "2.vhd 3.vhd --block-size 1M",
        "3.vhd 4.vhdx",
        "4.vhdx 5.vhdx --sector-size 4096 --block-size 1M",
        "5.vhdx 6.vhdx --kind fixed",
        "6.vhdx end.img",
    ] {
        folder.done(&format!("disk convert {line}"));
    }
    assert!(folder.get("end.img") == bytes);
    assert!(folder.get("1.vhd").len() < SIZE, "zeros take no room");
}

#[test]
fn the_map_names_the_file_and_the_offset_of_each_byte() {
    let folder = Folder::new();
    let bytes = content(SIZE);
    folder.put("start.raw", &bytes);
    folder.done("disk convert start.raw base.vhd");
    folder.done("disk create child.vhd --parent base.vhd");
    let map = folder.json("disk map child.vhd");
    let (base, mut end) = (folder.get("base.vhd"), 0);
    for stretch in map["stretches"].as_array().unwrap() {
        let number = |name: &str| stretch[name].as_u64().map(|n| n as usize);
        let (start, length) = (number("start").unwrap(), number("length").unwrap());
        assert_eq!(start, end);
        end += length;
        match number("file_offset") {
            Some(at) => {
                assert_eq!(number("depth"), Some(1));
                assert!(base[at..at + length] == bytes[start..end]);
            }
            None => assert!(bytes[start..end].iter().all(|byte| *byte == 0)),
        }
    }
    assert_eq!(end, SIZE);
    assert!(folder.done("disk map child.vhd").contains("base.vhd"));
}

#[test]
fn with_identifier_and_time_given_the_same_source_makes_the_same_bytes() {
    let folder = Folder::new();
    folder.put("start.raw", &content(SIZE));
    let given = "--identifier 00112233-4455-6677-8899-aabbccddeeff --time 2026-11-23T04:05:06Z";
    folder.done("disk create base.vhd 9M");
    folder.done("disk create base.vhdx 9M");
    for line in [
        "convert start.raw OUT.vhd",
        "convert start.raw OUT.vhd --kind fixed",
        "convert start.raw OUT.vhdx",
        "convert start.raw OUT.vhdx --kind fixed --sector-size 4096",
        "create OUT.vhd 40G",
        "create OUT.vhdx 40G",
        "create OUT.vhd --parent base.vhd",
        "create OUT.vhdx --parent base.vhdx",
    ] {
        let name = match line.contains("vhdx") {
            true => "OUT.vhdx",
            false => "OUT.vhd",
        };
        let make = || {
            let made = folder.json(&format!("disk {line} {given}"));
            let bytes = folder.get(name);
            std::fs::remove_file(folder.path(name)).unwrap();
            (made, bytes)
        };
        let (first, second) = (make(), make());
        assert!(first == second, "{line}");
        // A child of a VHDX is the same disk as its parent.
        if !line.contains("base.vhdx") {
            let identifier = "00112233-4455-6677-8899-aabbccddeeff";
            assert_eq!(first.0["identifier"], identifier, "{line}");
        }
        if name == "OUT.vhd" {
            assert_eq!(first.0["created"], "2026-11-23T04:05:06Z", "{line}");
        }
    }
}

#[test]
fn samples_convert_to_their_agreed_digests() {
    let folder = Folder::new();
    let digest = |name: &str| -> String {
        let output = std::process::Command::new("sha256sum")
            .arg(folder.path(name))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout[..64]).into_owned()
    };
    let with_parents = folder.sample("dfvfs/fat-parent.vhdx.gz", "fat-parent.vhdx")
        && folder.sample("dfvfs/fat-parent.vhd.gz", "fat-parent.vhd");
    for (from, name, sha256) in [
        (
            "dissect/dynamic.vhd.gz",
            "dynamic.vhd",
            "ecff2ef6615a3cddc6a6885f1c6d9cf13a232697e1dc6575f2c2f01f57247784",
        ),
        (
            "dfvfs/fat-differential.vhdx.gz",
            "fat-differential.vhdx",
            "a538161f34bc44c12bf9a542ce9218741c62728723ea18d0e4f6ea92e9f32e93",
        ),
        (
            "dissect/fixed.vhdx.gz",
            "fixed.vhdx",
            "bc0be4623b15aa84216fb31ba24e3b621ec7f1c72d198c990ac0eced222d9f62",
        ),
        (
            "dfvfs/ext2.vmdk.gz",
            "ext2.vmdk",
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
        (
            "dfvfs/fat-differential.vhd.gz",
            "fat-differential.vhd",
            "f4b61a33ee2f7e8c19f737792a4107e46340026a9a829e4169b751901cc3ef02",
        ),
    ] {
        if !with_parents || !folder.sample(from, name) {
            return;
        }
        // The parents' time stamps did not come along: their identities did.
        folder.run(&format!("disk convert {name} {name}.raw --accept-parent"));
        assert_eq!(digest(&format!("{name}.raw")), sha256, "{name}");
    }
}

#[test]
fn errors_name_the_file_and_the_way_out_and_leave_nothing_behind() {
    let folder = Folder::new();
    folder.put("noise", &[7; 4096]);
    folder.put("short.vhd", b"conectix");
    let error = folder.fails("disk info noise");
    assert!(
        error.contains("noise: at offset 0x") && error.contains("raw"),
        "{error}"
    );
    let error = folder.fails("disk info absent.vhd");
    assert!(error.contains("absent.vhd: can't open it"), "{error}");
    folder.fails("disk info short.vhd");
    folder.put("there.raw", &[1; 512]);
    let error = folder.fails("disk convert noise there.raw --as raw");
    assert!(
        error.contains("there.raw: there is a file of this name already"),
        "{error}"
    );
    folder.fails("disk convert noise new.vhd");
    let error = folder.fails("disk create large.vhd 3T");
    assert!(error.contains("2040 GiB"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 3);
}
