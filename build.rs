//! Links the programs with the static part of libgcc, where the C compiler has it: loading
//! libgcc_s.so, which holds nothing else that they use, would be an eighth of their start-up
//! time.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    let native = env::var("TARGET").ok() == env::var("HOST").ok();
    if !(gnu && native && has_libgcc_eh()) {
        return;
    }
    // rustc asks for -lgcc_s by name, and this is what the linker finds under it.
    let Ok(out) = env::var("OUT_DIR") else { return };
    if fs::write(Path::new(&out).join("libgcc_s.so"), "INPUT(-lgcc_eh)\n").is_ok() {
        println!("cargo:rustc-link-arg-bins=-L{out}");
    }
}

/// Whether the compiler that rustc links with by default names a file for it.
fn has_libgcc_eh() -> bool {
    let compiler = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    compiler
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute())
}
