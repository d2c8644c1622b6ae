//! `ping` opens a raw socket with the one capability that this needs, which is raised for that
//! call.
//!
//!     cargo build --example ping && sudo target/debug/examples/ping

#![allow(clippy::print_stdout)]

use std::{error::Error, io::Read, net::SocketAddr};

use rcap::{Cap, CapSet, CapState};
use socket2::{Domain, Protocol, Socket, Type};

/// An echo request: type 8, code 0, checksum, ID 0x1234, sequence number 1.
const REQUEST: [u8; 8] = [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1];

fn main() -> Result<(), Box<dyn Error>> {
    let mut socket = open()?;
    socket.send_to(&REQUEST, &SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let mut packet = [0; 1500];
    loop {
        let length = socket.read(&mut packet)?;
        // The reply, or the request itself, follows the IPv4 header.
        if let [0, 0, _, _, 0x12, 0x34, 0, 1] = packet[20..length] {
            break;
        }
    }
    println!("127.0.0.1 answers; capabilities left: {}", CapState::current()?);
    assert_eq!(CapState::current()?, CapState::EMPTY);
    Ok(())
}

/// Opens the socket. `CAP_NET_RAW` is the only permitted capability from here on; it is effective
/// during one call, and dropped afterwards.
fn open() -> Result<Socket, Box<dyn Error>> {
    let permitted = CapState::current()?.permitted & CapSet::from(Cap::NET_RAW);
    CapState { permitted, ..CapState::EMPTY }.apply()?;
    let socket = CapState::with_raised(Cap::NET_RAW, || {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
    })?;
    CapState::EMPTY.apply()?;
    Ok(socket)
}
