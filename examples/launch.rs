//! A server starts a helper as another user, with one capability and nothing else.
//!
//!     cargo build --example launch && sudo target/debug/examples/launch

#![allow(clippy::print_stdout)]

use std::{error::Error, process::Command, thread};

use rcap::{Cap, CapSet, Iab, identity::Identity, launch::Launcher, proc::Proc};

/// What the helper needs, say to bind port 80.
const NEEDED: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE]);

fn main() -> Result<(), Box<dyn Error>> {
    // The server has threads, none of which notices.
    thread::scope(|scope| {
        scope.spawn(|| thread::sleep(std::time::Duration::from_millis(200)));
        start_helper()
    })
}

fn start_helper() -> Result<(), Box<dyn Error>> {
    let mut helper = Command::new("sleep");
    helper.arg("60").env_clear().env("PATH", "/usr/bin:/bin");
    let mut helper = Launcher::new()
        .identity(&Identity::of_user("nobody")?)
        .bounding(NEEDED)
        .iab(Iab::new(NEEDED, NEEDED, CapSet::empty()))
        .no_new_privs()
        .spawn(helper)
        .map_err(|err| match err.source() {
            // Which step failed, and why.
            Some(cause) => format!("{err}: {cause} (are you root?)"),
            None => err.to_string(),
        })?;

    let status = Proc::default().status(helper.id())?;
    println!("user          {}, group {}", status.uid.real, status.gid.real);
    println!("capabilities  {}", status.caps);
    println!("ambient       {}", status.ambient);
    println!("bounding set  {}", status.bounding);
    println!("no-new-privs  {:?}", status.no_new_privs);
    helper.kill()?;
    helper.wait()?;
    Ok(())
}
