//! A server that binds its port and then gives up everything but one capability.
//!
//!     cargo build --example drop_privileges && sudo target/debug/examples/drop_privileges

#![allow(clippy::print_stdout)]

use std::net::TcpListener;

use rcap::{Cap, CapSet, CapState, bounding, no_new_privs};

/// What the server goes on needing, say to bind another port when it reloads its configuration.
const KEEP: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 80)).or_else(|err| {
        println!("port 80: {err}; taking any port instead");
        TcpListener::bind(("127.0.0.1", 0))
    })?;
    println!("listening on {}", listener.local_addr()?);

    // Before the first thread is started: capabilities belong to a thread, and the threads that
    // it starts begin with a copy of its own.
    let before = CapState::current()?;
    if before.permitted.has(Cap::SETPCAP) {
        CapState::with_raised(Cap::SETPCAP.into(), || {
            (bounding::current()? - KEEP).caps().try_for_each(bounding::drop)
        })?;
    }
    let keep = before.permitted & KEEP;
    CapState { effective: keep, permitted: keep, inheritable: CapSet::empty() }.apply()?;
    no_new_privs::set()?;

    println!("before  {before}");
    println!("after   {}", CapState::current()?);
    Ok(())
}
