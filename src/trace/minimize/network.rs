//! The state of a network namespace, by rtnetlink(7): links, addresses, routes and rules.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};

use super::{Aspect, Effects, Subject, layer::hexadecimal};

/// A kind of object of rtnetlink(7): the request for all of them, the type of the answers, and the
/// length of the header before the attributes.
struct Table {
    request: u16,
    answer: u16,
    header: usize,
    name: &'static str,
    /// Attributes that differ between two equal objects: counters, times and the like.
    volatile: &'static [u16],
}

/// The numbers are those of <linux/rtnetlink.h>, <linux/if_link.h> and <linux/if_addr.h>.
const TABLES: [Table; 4] = [
    // IFLA_STATS, IFLA_STATS64, IFLA_AF_SPEC, IFLA_CARRIER_CHANGES and _UP_COUNT, _DOWN_COUNT
    Table { request: 18, answer: 16, header: 16, name: "link", volatile: &[7, 23, 26, 35, 47, 48] },
    // IFA_CACHEINFO
    Table { request: 22, answer: 20, header: 8, name: "address", volatile: &[6] },
    // RTA_CACHEINFO
    Table { request: 26, answer: 24, header: 12, name: "route", volatile: &[12] },
    Table { request: 34, answer: 32, header: 12, name: "rule", volatile: &[] },
];

const HEADER: usize = 16; // struct nlmsghdr
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

/// Starts the loopback device of this process's network namespace.
pub(crate) fn start_loopback() -> nix::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    // struct ifinfomsg: any family and type, the first interface, and one flag to change.
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&1_i32.to_ne_bytes());
    body[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
    body[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    let socket = open()?;
    send(&socket, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &body)?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match messages(&answer[..length]).next() {
        Some((NLMSG_ERROR, body)) => match number(body.get(..4)) {
            Some(0) => Ok(()),
            Some(errno) => Err(nix::Error::from_raw(0_i32.wrapping_sub(errno.cast_signed()))),
            None => Err(nix::Error::EBADMSG),
        },
        _ => Err(nix::Error::EBADMSG),
    }
}

/// Adds the state of a network namespace to `effects`.
///
/// # Errors
///
/// The namespace could not be entered, or the kernel does not answer.
pub(super) fn read(namespace: BorrowedFd<'_>, effects: &mut Effects) -> io::Result<()> {
    let namespace = File::from(namespace.try_clone_to_owned()?);
    // A thread can leave the network namespace of its process, and ends here.
    let socket = thread::Builder::new().spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        open()
    })?;
    let socket = socket.join().map_err(|_| io::ErrorKind::Other)??;
    for table in &TABLES {
        for answer in dump(&socket, table)? {
            add(table, &answer, effects);
        }
    }
    Ok(())
}

fn open() -> nix::Result<OwnedFd> {
    let kind = SockType::Raw;
    socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> nix::Result<()> {
    let length = u32::try_from(HEADER + body.len()).map_err(|_| nix::Error::EMSGSIZE)?;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
}

/// Returns the bodies of all objects of a table.
fn dump(socket: &OwnedFd, table: &Table) -> io::Result<Vec<Vec<u8>>> {
    send(socket, table.request, NLM_F_REQUEST | NLM_F_DUMP, &vec![0; table.header])?;
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (kind, body) in messages(&buffer[..length]) {
            match kind {
                // An error: the kernel lacks the table.
                NLMSG_DONE | NLMSG_ERROR => return Ok(all),
                kind if kind == table.answer => all.push(body.to_vec()),
                _ => {}
            }
        }
    }
}

/// Returns the types and bodies of the messages in a buffer.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes.get(..4))?).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Returns the types and values of the attributes after a header: `struct rtattr`.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`
    const FLAGS: u16 = 0xC000;
    std::iter::from_fn(move || {
        let short = |range| {
            Some(u16::from_ne_bytes(bytes.get::<std::ops::Range<usize>>(range)?.try_into().ok()?))
        };
        let (length, kind) = (usize::from(short(0..2)?), short(2..4)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !FLAGS, value))
    })
}

fn number(bytes: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes?.try_into().ok()?))
}

/// Adds an object of a table.
fn add(table: &Table, body: &[u8], effects: &mut Effects) {
    let Some((header, rest)) = body.split_at_checked(table.header) else { return };
    let find = |kind| attributes(rest).find(|(found, _)| *found == kind).map(|(_, value)| value);
    let index = |kind| number(find(kind)).map(|number| number.to_string()).unwrap_or_default();
    let name = match table.name {
        // IFLA_IFNAME
        "link" => find(3).map(text).unwrap_or_default(),
        // IFA_LOCAL, or IFA_ADDRESS; the prefix, and the interface.
        "address" => {
            let local = find(2).or(find(1)).map(address).unwrap_or_default();
            let interface = number(header.get(4..8)).unwrap_or_default();
            format!("{local}/{} of interface {interface}", header[1])
        }
        // RTA_DST, RTA_TABLE, RTA_OIF, RTA_PRIORITY
        "route" => {
            let to = find(1).map_or_else(|| "default".to_owned(), address);
            let metric = index(6);
            let metric = if metric.is_empty() { metric } else { format!(" with metric {metric}") };
            format!(
                "to {to}/{} in table {} by interface {}{metric}",
                header[1],
                index(15),
                index(4)
            )
        }
        // FRA_PRIORITY, FRA_TABLE
        _ => {
            let family = if header[0] == 10 { "IPv6" } else { "IPv4" };
            format!("{family} {} to table {}", index(6), index(15))
        }
    };
    let subject = Subject::Network(format!("{} {name}", table.name));
    let mut insert = |aspect, value: String| effects.insert(subject.clone(), aspect, value);
    insert(Aspect::Change, "created".to_owned());
    insert(Aspect::Attribute("flags and type".to_owned()), hexadecimal(header));
    for (kind, value) in attributes(rest).filter(|(kind, _)| !table.volatile.contains(kind)) {
        let (name, value) = match (table.name, kind) {
            ("link", 4) => ("mtu".to_owned(), number(Some(value)).map(|mtu| mtu.to_string())),
            ("link", 1) => ("hardware address".to_owned(), Some(hexadecimal(value))),
            ("link", 3) => continue,
            ("link", 20) => ("alias".to_owned(), Some(text(value))),
            ("link", 13) => {
                ("queue length".to_owned(), number(Some(value)).map(|length| length.to_string()))
            }
            ("route", 5) => ("gateway".to_owned(), Some(address(value))),
            ("route", 7) => ("source".to_owned(), Some(address(value))),
            _ => (kind.to_string(), None),
        };
        insert(Aspect::Attribute(name), value.unwrap_or_else(|| hexadecimal(value_of(kind, rest))));
    }
}

fn value_of(kind: u16, rest: &[u8]) -> &[u8] {
    attributes(rest).find(|(found, _)| *found == kind).map(|(_, value)| value).unwrap_or_default()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn address(value: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(value) {
        return Ipv4Addr::from(bytes).to_string();
    }
    <[u8; 16]>::try_from(value)
        .map_or_else(|_| hexadecimal(value), |bytes| Ipv6Addr::from(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_link_and_an_address() {
        let mut effects = Effects::default();
        let link = [
            vec![0; 16],
            attribute(3, b"lo\0"),
            attribute(4, &65000_u32.to_ne_bytes()),
            attribute(7, &[1; 96]),
        ];
        add(&TABLES[0], &link.concat(), &mut effects);
        let address =
            [vec![2, 8, 0, 0, 1, 0, 0, 0], attribute(2, &[127, 0, 0, 1]), attribute(6, &[9; 16])];
        add(&TABLES[1], &address.concat(), &mut effects);
        let of = |name: &str| &effects.facts[&Subject::Network(name.into())];
        assert_eq!(of("link lo")[&Aspect::Attribute("mtu".into())], "65000");
        assert_eq!(of("link lo").len(), 3);
        assert!(of("address 127.0.0.1/8 of interface 1").contains_key(&Aspect::Change));
    }

    #[test]
    fn whatever_the_bytes_are() {
        let mut effects = Effects::default();
        for length in 0..64 {
            for byte in [0, 1, 4, 8, 16, 255] {
                let bytes = vec![byte; length];
                for table in &TABLES {
                    add(table, &bytes, &mut effects);
                }
                assert!(messages(&bytes).count() <= length && attributes(&bytes).count() <= length);
            }
        }
    }

    /// The namespace of the test itself.
    #[test]
    fn the_running_kernel_answers() {
        let socket = open().unwrap();
        let links = dump(&socket, &TABLES[0]).unwrap();
        let mut effects = Effects::default();
        for link in &links {
            add(&TABLES[0], link, &mut effects);
        }
        assert!(effects.facts.contains_key(&Subject::Network("link lo".into())));
    }
}
