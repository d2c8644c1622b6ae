//! Lists every process with a capability, or the processes given by their IDs.
//!
//!     cargo run --example processes
//!     cargo run --example processes 1

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;

use rcap::{
    CapSet, Error,
    proc::{Kind, Proc},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proc = Proc::default();
    let named: Vec<u32> = env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let pids = if named.is_empty() { proc.processes()? } else { named.clone() };
    for pid in pids {
        let status = match proc.status(pid) {
            Ok(status) => status,
            // The process has ended since the list was read.
            Err(Error::NoProcess { .. }) if named.is_empty() => continue,
            Err(err) => {
                eprintln!("{err}");
                continue;
            }
        };
        let shown = status.kind == Kind::Program && !status.caps.permitted.is_empty();
        if shown || !named.is_empty() {
            let iab = status.iab(CapSet::supported());
            // A process can choose any bytes as its name.
            let name = status.name.to_string_lossy().escape_debug().to_string();
            println!("{pid:>7} {:<16} {} [{iab}]", name, status.caps);
        }
    }
    Ok(())
}
