//! Sockets that are listened on, by `/proc/PID/net` and the descriptors of processes.
//! (proc_pid_net(5))

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{processes::namespace, unread};
use crate::scan::{Protocol, Socket, Unread};

/// The state of a TCP socket that is listened on. (include/net/tcp_states.h)
const LISTEN: u8 = 10;
/// The state of a datagram socket that receives from anybody.
const CLOSE: u8 = 7;

/// Returns the sockets of every network namespace of these processes.
pub(super) fn gather(pids: &[u32]) -> (Vec<Socket>, Vec<Unread>) {
    let mut errors = Vec::new();
    let owners = owners(pids, &mut errors);
    let mut sockets = Vec::new();
    let mut seen = BTreeSet::new();
    for &pid in pids {
        let space = namespace(pid, "net");
        // A namespace that may not be read cannot be compared with the others.
        if space.is_none() || !seen.insert(space) {
            continue;
        }
        sockets.extend(of_namespace(pid, space, &owners, &mut errors));
    }
    if seen.is_empty() {
        let own = std::process::id();
        sockets.extend(of_namespace(own, namespace(own, "net"), &owners, &mut errors));
    }
    sockets.sort_by_key(|one| (one.namespace, one.protocol, one.port, one.address, one.inode));
    (sockets, errors)
}

fn of_namespace(
    pid: u32,
    space: Option<u64>,
    owners: &BTreeMap<u64, Vec<u32>>,
    errors: &mut Vec<Unread>,
) -> Vec<Socket> {
    const TABLES: [(&str, Protocol); 7] = [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
        ("raw", Protocol::Raw),
        ("raw6", Protocol::Raw),
        ("packet", Protocol::Packet),
    ];
    let mut sockets = Vec::new();
    for (table, protocol) in TABLES {
        let path = format!("/proc/{pid}/net/{table}");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A kernel without IPv6, or a process that has ended.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => continue,
            Err(err) => {
                errors.push(unread(path, &err));
                continue;
            }
        };
        let line =
            |line| if protocol == Protocol::Packet { packet(line) } else { inet(line, protocol) };
        sockets.extend(text.lines().skip(1).filter_map(line));
    }
    for socket in &mut sockets {
        socket.namespace = space;
        socket.pids = owners.get(&socket.inode).cloned().unwrap_or_default();
    }
    sockets
}

/// Returns the processes that have each socket open.
fn owners(pids: &[u32], errors: &mut Vec<Unread>) -> BTreeMap<u64, Vec<u32>> {
    let mut owners: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for &pid in pids {
        let directory = format!("/proc/{pid}/fd");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => {
                errors.push(unread(directory, &err));
                continue;
            }
        };
        for entry in entries.flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:["));
            if let Some(inode) = inode.and_then(|rest| rest.strip_suffix(']')?.parse().ok()) {
                let pids = owners.entry(inode).or_default();
                // One process may have it open more than once.
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    owners
}

fn socket(protocol: Protocol, address: Option<IpAddr>, port: u16, inode: u64) -> Socket {
    Socket { protocol, address, port, inode, pids: Vec::new(), namespace: None }
}

/// Returns the socket of a line of tcp, udp or raw, if it is listened on.
fn inet(line: &str, protocol: Protocol) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let remote = fields.next()?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    let is_open = match protocol {
        Protocol::Tcp => state == LISTEN,
        // Connected to nobody, it receives from anybody.
        _ => state == CLOSE && remote.bytes().all(|byte| matches!(byte, b'0' | b':')),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = parse_address(address)?;
    is_open.then(|| socket(protocol, Some(address), port, inode))
}

/// Returns the address that the kernel prints as words of the machine's own byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let words = text.as_bytes().chunks(8).map(|chunk| word(str::from_utf8(chunk).ok()?));
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// Returns the socket of a line of packet: the number of the protocol stands for the port.
fn packet(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    let protocol = u16::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some(socket(Protocol::Packet, None, protocol, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that Linux 6.18 wrote on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn lines() {
        let of = |line: &str, protocol| {
            inet(line, protocol).map(|socket| (socket.place(), socket.inode, socket.is_reachable()))
        };
        #[rustfmt::skip]
        let rows = [
            ("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0", Protocol::Tcp,
             Some(("127.0.0.1:8080", 12345, false))),
            ("   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0", Protocol::Tcp,
             Some(("0.0.0.0:22", 7, true))),
            ("   2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 8 1 0", Protocol::Tcp, None),
            ("   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0", Protocol::Tcp,
             Some(("[::1]:53", 9, false))),
            ("  34: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 10 2 0", Protocol::Udp,
             Some(("0.0.0.0:68", 10, true))),
            ("  35: 0200000A:0044 0100000A:0043 01 00000000:00000000 00:00000000 00000000     0        0 11 2 0", Protocol::Udp, None),
            ("", Protocol::Tcp, None),
            ("x: y z", Protocol::Tcp, None),
        ];
        for (line, protocol, want) in rows {
            let want = want.map(|(place, inode, reachable)| (place.to_owned(), inode, reachable));
            assert_eq!(of(line, protocol), want, "{line}");
        }
        let line = "ffff9f2a4f7c1000 3      3    0003   2     1 0      0      24680";
        let packet = packet(line).unwrap();
        assert_eq!((packet.port, packet.inode, packet.is_reachable()), (3, 24680, true));
    }
}
