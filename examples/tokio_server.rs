//! A tokio server that binds port 80 as root (or the next free port), and continues as `nobody`
//! without capabilities, in every thread.
//!
//!     cargo build --example tokio_server && sudo target/debug/examples/tokio_server
//!
//! This needs rcap with `features = ["all-threads"]`.
//!
//! If the port is known before the runtime starts, there is a simpler way without that feature:
//! bind it with `std::net::TcpListener`, call `Identity::of_user("nobody")?.apply()?` and
//! `CapState::EMPTY.apply()?`, then start the runtime and pass it the listener with
//! `tokio::net::TcpListener::from_std`.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rcap::{Cap, CapSet, CapState, identity::Identity, proc::Proc, threads::Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    // The first free port that needs CAP_NET_BIND_SERVICE.
    let addresses: Vec<SocketAddr> = (80..1024).map(|port| (LOCALHOST, port).into()).collect();
    let listener = TcpListener::bind(&*addresses)
        .await
        .map_err(|err| format!("no port below 1024: {err} (are you root?)"))?;
    let address = listener.local_addr()?;
    become_user("nobody")?;
    show_threads()?;

    // The server answers its own request, and exits.
    let client = tokio::spawn(async move {
        let mut answer = String::new();
        TcpStream::connect(address).await?.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let (mut stream, _) = listener.accept().await?;
    stream.write_all(format!("served on port {}", address.port()).as_bytes()).await?;
    drop(stream);
    println!("{}", client.await??);
    Ok(())
}

/// Drops everything in all threads, including those that the runtime has started.
fn become_user(name: &str) -> Result<(), Box<dyn Error>> {
    let user = Identity::of_user(name)?;
    // The next step needs only these, without a bounding set and inheritable capabilities.
    let needed = CapState::effective(Cap::SETUID | Cap::SETGID);
    let limits = Limits::to(CapSet::empty()).caps(needed).no_new_privs();
    let report = limits.apply()?;
    println!("{} threads limited, in {} sweeps", report.threads, report.sweeps);

    // The C library changes the IDs of all threads.
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let [uid, gid] = [user.uid, user.gid];
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;

    // The kernel has cleared the sets if the user was 0. This clears them for other users.
    Limits::to(CapSet::empty()).apply()?;
    Ok(())
}

/// Shows the result, as the kernel reports it.
fn show_threads() -> Result<(), Box<dyn Error>> {
    let proc = Proc::default();
    let pid = std::process::id();
    for tid in proc.threads(pid)? {
        let status = proc.thread_status(pid, tid)?;
        println!(
            "thread {tid} {:<16} uid {} gid {} groups {:?} caps {:?} bounding {:?} ambient {:?} \
             no-new-privs {:?}",
            status.name.to_string_lossy(),
            status.uid.saved,
            status.gid.saved,
            status.groups,
            status.caps.to_string(),
            status.bounding,
            status.ambient,
            status.no_new_privs,
        );
    }
    Ok(())
}
