//! A network daemon starts its threads, binds its port and then drops privileges in all threads.
//!
//!     cargo build --example daemon && sudo target/debug/examples/daemon
//!
//! This needs rcap with `features = ["all-threads"]`. A daemon that drops privileges before it
//! starts threads needs no feature: it calls `bounding::drop` and `CapState::apply`.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use rcap::{Cap, CapSet, CapState, proc::Proc, threads::Limits};

/// The daemon keeps this capability to bind another port when it is reconfigured.
const KEEP: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE]);

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let worker = {
        let listener = listener.try_clone()?;
        thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(b"hi")))
    };
    drop_privileges()?;

    // The thread serves with the remaining capabilities.
    for tid in Proc::default().threads(std::process::id())? {
        let status = Proc::default().thread_status(std::process::id(), tid)?;
        println!("thread {tid}: {}, bounding {}", status.caps, status.bounding);
        assert_eq!(status.caps.permitted - KEEP, CapSet::empty());
        assert_eq!(status.caps.effective - KEEP, CapSet::empty());
        assert_eq!((status.bounding - KEEP, status.caps.inheritable), Default::default());
        assert_eq!(status.no_new_privs, Some(true));
    }
    let mut answer = String::new();
    TcpStream::connect(address)?.read_to_string(&mut answer)?;
    worker.join().expect("it does not panic")?;
    assert_eq!(answer, "hi");
    Ok(())
}

/// Drops everything except [`KEEP`], in every thread and for programs that they execute.
fn drop_privileges() -> rcap::Result<()> {
    let limits = Limits::to(KEEP).caps(CapState::effective(KEEP)).no_new_privs();
    limits.apply().map(drop)
}
