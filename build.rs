//! How the program is linked.
//!
//! Invariant: nothing here changes what is compiled, so that a build without it works the same.

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script of its target in no other way"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The tables of time zones are full of pointers. Packed, their relocations take a megabyte less; glibc
    // knows them since 2.36, which Debian 12 has.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
