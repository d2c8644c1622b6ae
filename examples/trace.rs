//! What a program asks the kernel for, and what that comes to.
//!
//!     cargo build --example trace && sudo target/debug/examples/trace chown 1000 file

#![allow(clippy::print_stdout)]

use std::{env, error::Error, process::Command, thread, time::Duration};

use rcap::{
    CapSet,
    trace::{Recorder, Rule},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let mut command = Command::new(args.next().ok_or("want a program and its arguments")?);
    command.args(args);

    // Kilobytes for each processor; drained so often, they are seldom too few.
    let mut recorder = Recorder::start(command, 4096)?;
    while recorder.child.try_wait()?.is_none() {
        recorder.drain()?;
        thread::sleep(Duration::from_millis(20));
    }
    let recording = recorder.finish()?;
    if recording.lost != Some(0) {
        println!("records were lost: {:?}", recording.lost);
    }

    let analysis = recording.analyse(CapSet::supported());
    println!("candidates  {}", analysis.candidates);
    println!("missing     {}", analysis.missing);
    for need in analysis.needs.iter().filter(|need| need.rule != Rule::BeforeTheProgram) {
        println!(
            "{:>6}  {:<22} {:<50} {:<14} {}",
            need.count,
            need.cap.to_string(),
            need.reason.as_deref().unwrap_or(&need.function),
            need.system_call.as_deref().unwrap_or("-"),
            need.rule.about(),
        );
    }
    Ok(())
}
