//! Pages for a browser, without requests to anything else. The templates escape every value.

mod report;

use askama::Template;

pub use report::report;

use super::table::in_words;
use crate::scan::{
    Finding, Group, Inventory, PrivilegedFile, PrivilegedProcess, Socket, encode, findings::short,
    inventory::set_in_words,
};

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    host: &'a str,
    kernel: &'a str,
    time: &'a str,
    findings: &'a [Finding],
    rows: Vec<Row>,
    groups: Vec<Node>,
    sockets: Vec<[String; 4]>,
    unread: &'a [crate::scan::Unread],
}

/// A row of the table: a file or a process.
struct Row {
    severity: &'static str,
    rank: usize,
    kind: &'static str,
    name: String,
    owner: String,
    power: String,
    route: String,
}

/// A unit or a container, and its processes.
struct Node {
    kind: &'static str,
    name: String,
    what: String,
    processes: Vec<[String; 2]>,
}

/// Returns the page of a scan.
///
/// # Errors
///
/// The template cannot be rendered, which writing to memory does not make fail.
pub fn page(inventory: &Inventory, findings: &[Finding]) -> std::io::Result<String> {
    let host = &inventory.host;
    let files = inventory.files.iter().map(file);
    let processes = inventory.processes.iter().map(|one| process(one, inventory));
    let mut rows: Vec<Row> = files.chain(processes).collect();
    rows.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
    let groups = inventory.units.iter().map(|unit| ("unit", unit));
    let groups = groups.chain(inventory.containers.iter().map(|one| ("container", one)));
    let page = Page {
        host: &host.name,
        kernel: &host.kernel,
        time: &host.time,
        findings,
        rows,
        groups: groups.map(|(kind, group)| node(kind, group, inventory)).collect(),
        sockets: inventory.sockets.iter().map(socket).collect(),
        unread: &inventory.unread,
    };
    page.render().map_err(std::io::Error::other)
}

fn rank(severity: crate::scan::Severity) -> usize {
    crate::scan::Severity::ALL.iter().position(|one| *one == severity).unwrap_or(0)
}

fn file(file: &PrivilegedFile) -> Row {
    Row {
        severity: file.severity().name(),
        rank: rank(file.severity()),
        kind: "file",
        name: encode(&file.path),
        owner: file.owner.as_deref().map_or_else(|| file.uid.to_string(), encode),
        power: file.power(),
        route: file.route().unwrap_or_default(),
    }
}

fn process(process: &PrivilegedProcess, inventory: &Inventory) -> Row {
    let (name, power) = in_words(process, inventory);
    let uid = process.status.uid.effective;
    Row {
        severity: process.severity().name(),
        rank: rank(process.severity()),
        kind: "process",
        name,
        owner: process.user.as_deref().map_or_else(|| uid.to_string(), encode),
        power,
        route: String::new(),
    }
}

fn node(kind: &'static str, group: &Group, inventory: &Inventory) -> Node {
    let own = inventory.processes.iter().filter(|one| group.pids.contains(&one.status.pid));
    Node {
        kind,
        name: short(&group.name),
        what: format!("bounding set: {}", set_in_words(group.bounding)),
        processes: own.map(|one| in_words(one, inventory).into()).collect(),
    }
}

fn socket(socket: &Socket) -> [String; 4] {
    let reach = if socket.is_reachable() { "from outside" } else { "this machine" };
    let pids: Vec<_> = socket.pids.iter().map(u32::to_string).collect();
    [socket.protocol.name().into(), socket.place(), reach.into(), pids.join(", ")]
}
