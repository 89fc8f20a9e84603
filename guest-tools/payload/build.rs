//! Links the payload at a fixed address when it is built for the bare machine.

fn main() {
    println!("cargo:rerun-if-changed=payload.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-T{folder}/payload.ld");
        println!("cargo:rustc-link-arg-bins=--no-pie");
    }
}
