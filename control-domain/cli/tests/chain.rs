//! Chains: shown, verified, and broken ones explained.
#![allow(clippy::unwrap_used)]

mod entente;

use entente::{Folder, content};

/// base ← middle ← top
fn chain() -> Folder {
    let folder = Folder::new();
    folder.put("start.raw", &content(5 << 20));
    folder.done("disk convert start.raw base.vhd");
    folder.done("disk create middle.vhd --parent base.vhd");
    folder.done("disk create top.vhd --parent middle.vhd");
    folder
}

#[test]
fn a_whole_chain_is_listed_child_first() {
    let folder = chain();
    for command in ["show", "verify"] {
        let text = folder.done(&format!("disk chain {command} top.vhd"));
        let at = |name: &str| text.find(name).unwrap();
        assert!(
            at("top.vhd") < at("middle.vhd") && at("middle.vhd") < at("base.vhd"),
            "{text}"
        );
        let json = folder.json(&format!("disk chain {command} top.vhd"));
        let files = json["chain"].as_array().unwrap();
        assert_eq!(files.len(), 3);
        assert_eq!(files[0]["parent_identifier"], files[1]["identifier"]);
        assert_eq!(files[1]["kind"], "differencing");
        assert_eq!(files[2]["kind"], "dynamic");
    }
    assert!(folder.done("disk chain verify top.vhd").contains("3 files"));
}

#[test]
fn a_parent_that_is_gone_is_named_with_the_places_that_were_tried() {
    let folder = chain();
    std::fs::rename(folder.path("middle.vhd"), folder.path("elsewhere")).unwrap();
    let said = folder.run("disk chain show top.vhd");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out
            .contains("broken: top.vhd: its parent was not found; tried"),
        "{said:?}"
    );
    assert!(
        folder
            .fails("disk chain verify top.vhd")
            .contains("middle.vhd")
    );
    assert!(
        folder
            .fails("disk map top.vhd")
            .contains("put it beside the child")
    );
    // One file can be looked at all the same.
    folder.done("disk info top.vhd");
}

#[test]
fn another_disk_in_the_parent_s_place_is_refused() {
    let folder = chain();
    std::fs::remove_file(folder.path("base.vhd")).unwrap();
    folder.done("disk create base.vhd 5M");
    let error = folder.fails("disk chain verify top.vhd");
    assert!(
        error.contains("middle.vhd: its parent") && error.contains("base.vhd"),
        "{error}"
    );
}
