//! Records a program and prints the capabilities that it may need.
//!
//!     cargo build --example trace && sudo target/debug/examples/trace chown 1000 file

#![allow(clippy::print_stdout)]

use std::{env, error::Error, process::Command};

use rcap::{
    launch::Launcher,
    trace::{Options, Tracer},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let mut command = Command::new(args.next().ok_or("expected a program and its arguments")?);
    command.args(args);

    let mut tracer = Tracer::new(&Options::default())?;
    let mut child = tracer.start(command, &Launcher::new())?;
    while child.try_wait()?.is_none() {
        tracer.poll(|_| ())?;
    }
    let recording = tracer.finish(|_| ())?;

    println!("candidates  {}", recording.analysis.candidates);
    println!("missing     {}", recording.analysis.missing);
    println!("complete    {}", recording.is_complete());
    for need in &recording.analysis.needs {
        let asked = need.reason.as_ref().unwrap_or(&need.function);
        println!("{:>6}  {:<22} {asked}: {}", need.count, need.cap, need.meaning.about());
    }
    Ok(())
}
