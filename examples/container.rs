//! A container runtime starts the first process of a container with another user and the
//! capabilities of its configuration, which are ambient, so that programs keep them.
//!
//!     cargo build --example container && sudo target/debug/examples/container

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    process::{Child, Command},
    thread,
    time::Duration,
};

use rcap::{CapSet, CapState, identity::Identity, launch::Launcher, proc::Proc};

fn main() -> Result<(), Box<dyn Error>> {
    let user = Identity::of_user("nobody")?;
    // The notation of an OCI configuration.
    let names = ["CAP_NET_BIND_SERVICE", "CAP_KILL"];
    let mut command = Command::new("sleep");
    command.arg("60").env_clear().env("PATH", "/usr/bin:/bin");

    // The runtime has threads, which are not affected.
    let mut child = thread::scope(|scope| {
        scope.spawn(|| thread::sleep(Duration::from_millis(100)));
        start(&names, &user, command)
    })?;

    let keep = names.join(",").parse()?;
    let status = Proc::default().status(child.id())?;
    child.kill()?;
    child.wait()?;
    println!("user {}, {}, ambient {}", status.uid.real, status.caps, status.ambient);
    let caps = CapState { effective: keep, permitted: keep, inheritable: keep };
    assert_eq!(
        (status.uid.saved, status.gid.saved, &status.groups),
        (user.uid, user.gid, &user.groups)
    );
    assert_eq!((status.caps, status.ambient, status.bounding), (caps, keep, keep));
    assert_eq!(status.no_new_privs, Some(true));
    Ok(())
}

/// Starts a program as `user` with these capabilities, and without a way to gain others.
fn start(names: &[&str], user: &Identity, command: Command) -> Result<Child, Box<dyn Error>> {
    let keep: CapSet = names.join(",").parse()?;
    Ok(Launcher::new().identity(user).bounding(keep).ambient(keep).no_new_privs().spawn(command)?)
}
