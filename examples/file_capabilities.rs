//! Gives a copy of a program a capability, checks it and takes it away again.
//!
//!     cargo build --example file_capabilities && sudo target/debug/examples/file_capabilities

#![allow(clippy::print_stdout)]

use rcap::{
    Cap, CapState, Error,
    file::{self, FileCaps},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("program");
    std::fs::copy("/proc/self/exe", &program)?;

    let caps = FileCaps::try_from("cap_net_bind_service=ep".parse::<CapState>()?)?;
    match CapState::with_raised(CapState::current()?.permitted & Cap::SETFCAP.into(), || {
        file::write(&program, &caps)
    }) {
        Ok(written) if written.nosuid => {
            println!("set, but {} is mounted nosuid", program.display());
        }
        Ok(_) => println!("set"),
        // It says why in words.
        Err(err @ Error::Refused { .. }) => {
            println!("{err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    }
    assert_eq!(file::read(&program)?, Some(caps));
    println!("{} {}", program.display(), CapState::from(caps));
    assert!(file::remove(&program)?);
    assert_eq!(file::read(&program)?, None);
    Ok(())
}
