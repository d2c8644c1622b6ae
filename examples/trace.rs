//! What a program asks the kernel for, and what that comes to.
//!
//!     cargo build --example trace && sudo target/debug/examples/trace chown 1000 file

#![allow(clippy::print_stdout)]

use std::{env, error::Error, process::Command, sync::Arc, thread, time::Duration};

use rcap::{
    CapSet,
    launch::Launcher,
    trace::{Analyser, Backend, Options, Origin, Recorder, Rule, Symbols},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let mut command = Command::new(args.next().ok_or("want a program and its arguments")?);
    command.args(args);

    let options = Options::new(Backend::best()?);
    let mut recorder = Recorder::new(&options)?;
    let symbols = Arc::new(Symbols::load());
    let mut child = recorder.start(command, &Launcher::new())?;
    let origin = Origin::Started(child.id());
    let mut analyser = Analyser::new(origin, CapSet::supported(), options.outcomes, symbols);
    while child.try_wait()?.is_none() {
        for event in recorder.drain()? {
            analyser.push(event);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let rest = recorder.stop()?;
    for event in rest.events {
        analyser.push(event);
    }
    if rest.lost != Some(0) {
        println!("records were lost: {:?}", rest.lost);
    }
    for gap in rest.gaps {
        println!("not complete: {gap}");
    }

    let analysis = analyser.finish();
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
