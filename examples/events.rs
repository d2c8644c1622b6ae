//! Every event of a recording, a line each, with the kernel's functions by name: the form of the
//! recordings in tests/data/.
//!
//!     cargo build --example events && sudo target/debug/examples/events chown 1000 file

#![allow(clippy::print_stdout)]

use std::{env, error::Error, process::Command};

use rcap::{
    launch::Launcher,
    trace::{Backend, EventKind, Options, Recorder, Symbols},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let mut command = Command::new(args.next().ok_or("want a program and its arguments")?);
    command.args(args);

    let backend = Backend::best()?;
    let symbols = Symbols::load();
    let mut recorder = Recorder::new(&Options { kilobytes: 16384, ..Options::new(backend) })?;
    let mut child = recorder.start(command, &Launcher::new())?;
    println!("# Linux {}", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    println!("{} process {backend}", child.id());
    child.wait()?;
    let rest = recorder.stop()?;
    for event in rest.events {
        print!("{} ", event.tid);
        match event.kind {
            EventKind::Check(check) => {
                let answer =
                    check.granted.map_or("asked", |yes| if yes { "granted" } else { "refused" });
                let unaudited = if check.unaudited { " unaudited" } else { "" };
                print!("check {} {answer}{unaudited} {:x}", check.number, check.namespace);
                if let Some(own) = check.own_namespace {
                    print!(" of {own:x}");
                }
                print!(" :");
                for name in check.stack.iter().filter_map(|address| symbols.name(*address)) {
                    print!(" {name}");
                }
                println!();
            }
            EventKind::Answer { granted } => println!("answer {granted}"),
            EventKind::SystemCall { number, returned } => println!("returned {number} {returned}"),
            EventKind::Exec { path } => println!("exec {}", path.display()),
            EventKind::Started { tid } => println!("started {tid}"),
            EventKind::Ended => println!("ended"),
            other => println!("{other:?}"),
        }
    }
    println!("# lost: {:?}", rest.lost);
    Ok(())
}
