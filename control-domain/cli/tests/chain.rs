//! Chains: shown, verified, and broken ones explained.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::{CHAINED, Folder, content};

/// base ← middle ← top
fn chain(extension: &'static str) -> Folder {
    let folder = Folder::of(extension);
    folder.put("start.raw", &content(5 << 20));
    folder.done("disk convert start.raw base.vhd");
    folder.done("disk create middle.vhd --parent base.vhd");
    folder.done("disk create top.vhd --parent middle.vhd");
    folder
}

#[test]
fn a_whole_chain_is_listed_child_first() {
    for extension in CHAINED {
        let folder = chain(extension);
        for command in ["show", "verify"] {
            let text = folder.done(&format!("disk chain {command} top.vhd"));
            let at = |name: &str| text.find(&folder.named(name)).unwrap();
            assert!(
                at("top.vhd") < at("middle.vhd") && at("middle.vhd") < at("base.vhd"),
                "{text}"
            );
            let json = folder.json(&format!("disk chain {command} top.vhd"));
            let files = json.as_array().unwrap();
            assert_eq!(files.len(), 3);
            assert!(files[0]["parent_identifier"].is_string());
            assert_eq!(files[1]["kind"], "differencing");
            assert_eq!(files[2]["kind"], "dynamic");
        }
        assert!(
            folder
                .done("disk chain verify top.vhd")
                .contains("(files: 3)")
        );
    }
}

#[test]
fn a_parent_that_is_gone_is_named_with_the_places_that_were_tried() {
    for extension in CHAINED {
        let folder = chain(extension);
        std::fs::rename(folder.path("middle.vhd"), folder.path("elsewhere")).unwrap();
        let said = folder.run("disk chain show top.vhd");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains(&folder.named("broken: top.vhd: its parent was not found; tried")),
            "{said:?}"
        );
        assert_eq!(folder.run("disk chain verify top.vhd").code, 1);
        let error = folder.fails("disk map top.vhd");
        assert!(
            error.contains(&folder.named("middle.vhd"))
                && error.contains("put it beside the child"),
            "{error}"
        );
        // One file can be looked at all the same.
        folder.done("disk info top.vhd");
    }
}

#[test]
fn another_disk_in_the_parent_s_place_is_refused() {
    for extension in CHAINED {
        let folder = chain(extension);
        std::fs::remove_file(folder.path("base.vhd")).unwrap();
        folder.done("disk create base.vhd 5M");
        let said = folder.run("disk chain verify top.vhd");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains("broken: "), "{said:?}");
        let error = folder.fails("disk map top.vhd");
        assert!(
            error.contains(&folder.named("middle.vhd: its parent"))
                && error.contains(&folder.named("base.vhd")),
            "{error}"
        );
    }
}

#[test]
fn a_parent_that_moved_is_found_again_by_its_identity() {
    for extension in CHAINED {
        let folder = chain(extension);
        folder.done("disk convert top.vhd before.raw");
        std::fs::create_dir(folder.path("store")).unwrap();
        std::fs::rename(folder.path("base.vhd"), folder.path("store/Renamed.vhd")).unwrap();
        let error = folder.fails("disk chain repair top.vhd");
        assert!(error.contains(&folder.named("middle.vhd")), "{error}");
        let mended = folder.json("disk chain repair top.vhd --search store");
        assert_eq!(mended["mended"].as_array().unwrap().len(), 1, "{mended}");
        folder.done("disk chain verify top.vhd");
        assert!(
            folder
                .done("disk chain repair top.vhd")
                .contains("nothing was changed")
        );
        folder.done("disk convert top.vhd after.raw");
        assert!(folder.get("before.raw") == folder.get("after.raw"));
        // By hand: another identity must be accepted.
        folder.done("disk create other.vhd 5M");
        let error = folder.fails("disk chain repair middle.vhd --parent other.vhd");
        assert!(error.contains(&folder.named("other.vhd")), "{error}");
        folder.done("disk chain repair middle.vhd --parent other.vhd --accept-parent");
        let info = folder.json("disk info middle.vhd");
        assert!(
            info["parent"]
                .as_str()
                .unwrap()
                .ends_with(&folder.named("other.vhd")),
            "{info}"
        );
    }
}

/// Makes a locator of a VHD's header point behind the file, and the header whole again.
fn tear_locator(folder: &Folder, name: &str, locator: usize) {
    let mut bytes = folder.get(name);
    let header = u64::from_be_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let header = &mut bytes[header..][..1024];
    // VHD specification, "Dynamic Disk Header Format" and "Parent Locator Entry".
    header[576 + 24 * locator + 16..][..8].copy_from_slice(&(u64::MAX - 299).to_be_bytes());
    header[36..40].fill(0);
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[36..40].copy_from_slice(&(!sum).to_be_bytes());
    folder.put(name, &bytes);
}

#[test]
fn a_torn_locator_of_a_vhd_is_told_and_mended() {
    let folder = Folder::new();
    folder.done("disk create p.vhd 4M");
    folder.done("disk create c.vhd --parent p.vhd");
    tear_locator(&folder, "c.vhd", 1);
    // The other one is whole.
    assert_eq!(folder.json("disk info c.vhd")["parent"], "./p.vhd");
    let told = folder.run("disk check c.vhd");
    assert_eq!(told.code, 1);
    assert!(told.out.contains("parent locator 1"), "{told:?}");
    folder.done("disk convert c.vhd o.img");
    assert!(folder.fails("disk compact c.vhd").contains("locator"));
    folder.done("disk chain repair c.vhd --parent p.vhd");
    folder.done("disk check c.vhd");
}
