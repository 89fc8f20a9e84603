//! Linker options of the UEFI executable.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("uefi") {
        // No preferred address: the default one lies above 4 GiB, where firmware would honour it
        // and cut the memory there, the guests' best piece, in two.
        println!("cargo:rustc-link-arg-bins=/BASE:0");
    }
}
