//! JSON: one document, or a line for each entry. (docs/json.md)

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use serde_json::{Map, Value, json};

use crate::{
    CapState,
    scan::{
        Finding, Group, Host, Inventory, Namespace, Package, PrivilegedFile, PrivilegedProcess,
        Socket, Writable, Writer, encode,
    },
};

/// The version of the schema. It changes when a field goes or means something else.
pub const SCHEMA: u32 = 1;

/// Puts a name of any bytes into `object`: as text under `key`, with U+FFFD for what is not UTF-8,
/// and if there is such exactly under `key_bytes`, as a list of numbers.
pub fn insert_name(object: &mut Map<String, Value>, key: &str, name: &OsStr) {
    object.insert(key.to_owned(), name.to_string_lossy().into());
    if name.to_str().is_none() {
        object.insert(format!("{key}_bytes"), json!(name.as_bytes()));
    }
}

/// Returns the document of a scan.
pub fn document(inventory: &Inventory, findings: &[Finding]) -> Value {
    let Host { name, kernel, time } = &inventory.host;
    let unread = inventory.unread.iter();
    json!({
        "schema": SCHEMA,
        "host": name,
        "kernel": kernel,
        "time": time,
        "complete": inventory.unread.is_empty(),
        "unread": unread
            .map(|one| json!({"subject": one.subject, "reason": one.reason}))
            .collect::<Vec<_>>(),
        "files": list(&inventory.files, file),
        "processes": list(&inventory.processes, process),
        "sockets": list(&inventory.sockets, socket),
        "units": list(&inventory.units, group),
        "containers": list(&inventory.containers, group),
        "findings": list(findings, finding),
    })
}

/// Returns a line for each entry and each finding, with the host and the time in each, and one for
/// the scan itself.
pub fn lines(inventory: &Inventory, findings: &[Finding]) -> Vec<Value> {
    let Host { name, kernel, time } = &inventory.host;
    let line = |kind: &str, mut object: Map<String, Value>| {
        object.insert("schema".into(), SCHEMA.into());
        object.insert("kind".into(), kind.into());
        object.insert("host".into(), name.clone().into());
        object.insert("kernel".into(), kernel.clone().into());
        object.insert("time".into(), time.clone().into());
        Value::from(object)
    };
    let mut scan = Map::new();
    scan.insert("complete".into(), inventory.unread.is_empty().into());
    scan.insert("findings".into(), findings.len().into());
    let mut lines = vec![line("scan", scan)];
    lines.extend(inventory.files.iter().map(|one| line("file", file(one))));
    lines.extend(inventory.processes.iter().map(|one| line("process", process(one))));
    lines.extend(inventory.sockets.iter().map(|one| line("socket", socket(one))));
    lines.extend(inventory.units.iter().map(|one| line("unit", group(one))));
    lines.extend(inventory.containers.iter().map(|one| line("container", group(one))));
    lines.extend(findings.iter().map(|one| line("finding", finding(one))));
    lines
}

fn list<T>(all: &[T], object: fn(&T) -> Map<String, Value>) -> Vec<Map<String, Value>> {
    all.iter().map(object).collect()
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

fn file(file: &PrivilegedFile) -> Map<String, Value> {
    let mut object = map([
        ("mode", format!("{:04o}", file.mode).into()),
        ("uid", file.uid.into()),
        ("gid", file.gid.into()),
        ("owner", json!(file.owner)),
        ("group", json!(file.group)),
        ("capabilities", json!(file.caps)),
        ("text", json!(file.caps.map(|caps| CapState::from(caps).to_string()))),
        ("severity", file.severity().name().into()),
        ("worth", file.worth().text().into()),
        ("route", json!(file.route())),
        ("nosuid", file.is_nosuid.into()),
        ("script", file.is_script.into()),
        ("writable", list(&file.writable, writable).into()),
    ]);
    insert_name(&mut object, "path", file.path.as_os_str());
    if let Some(error) = &file.malformed {
        object.insert("error".into(), error.clone().into());
    }
    match &file.package {
        None => {}
        Some(Package::None) => {
            object.insert("package".into(), Value::Null);
        }
        Some(Package::Intact(name) | Package::Modified(name)) => {
            let is_modified = matches!(file.package, Some(Package::Modified(_)));
            object.insert("package".into(), name.clone().into());
            object.insert("modified".into(), is_modified.into());
        }
    }
    object
}

fn writable(one: &Writable) -> Map<String, Value> {
    let (by, id) = match one.by {
        Writer::Everyone => ("everyone", Value::Null),
        Writer::Group(gid) => ("group", gid.into()),
        Writer::User(uid) => ("user", uid.into()),
    };
    let mut object = map([("by", by.into()), ("id", id)]);
    insert_name(&mut object, "path", one.path.as_os_str());
    object
}

fn process(process: &PrivilegedProcess) -> Map<String, Value> {
    let threads = process.threads.iter().map(|thread| {
        json!({"tid": thread.pid, "permitted": thread.caps.permitted,
               "effective": thread.caps.effective, "inheritable": thread.caps.inheritable,
               "ambient": thread.ambient})
    });
    let status = &process.status;
    let mut object = map([
        ("pid", status.pid.into()),
        ("ppid", status.ppid.into()),
        ("uid", json!(status.uid)),
        ("user", json!(process.user)),
        ("effective", json!(status.caps.effective)),
        ("permitted", json!(status.caps.permitted)),
        ("inheritable", json!(status.caps.inheritable)),
        ("bounding", json!(status.bounding)),
        ("ambient", json!(status.ambient)),
        ("no_new_privs", json!(status.no_new_privs)),
        ("seccomp", json!(status.seccomp)),
        ("unit", json!(process.unit)),
        ("container", json!(process.container)),
        ("user_namespace", namespace(process.namespace).into()),
        ("threads", threads.collect::<Vec<_>>().into()),
        ("severity", process.severity().name().into()),
        ("worth", process.worth().text().into()),
        ("writable", list(&process.writable, writable).into()),
    ]);
    insert_name(&mut object, "name", &status.name);
    match &process.program {
        Some(program) => insert_name(&mut object, "program", program.as_os_str()),
        None => {
            object.insert("program".into(), Value::Null);
        }
    }
    object
}

const fn namespace(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Same => "same",
        Namespace::Other => "other",
        Namespace::Unknown => "unknown",
    }
}

fn socket(socket: &Socket) -> Map<String, Value> {
    map([
        ("protocol", socket.protocol.name().into()),
        ("address", json!(socket.address)),
        ("port", socket.port.into()),
        ("inode", socket.inode.into()),
        ("pids", json!(socket.pids)),
        ("network_namespace", json!(socket.namespace)),
        ("reachable", socket.is_reachable().into()),
    ])
}

fn group(group: &Group) -> Map<String, Value> {
    map([
        ("name", group.name.clone().into()),
        ("pids", json!(group.pids)),
        ("bounding", json!(group.bounding)),
        ("permitted", json!(group.permitted)),
        ("ambient", json!(group.ambient)),
        ("no_new_privs", group.no_new_privs.into()),
        ("filtered", group.is_filtered.into()),
        ("unused", json!(group.unused)),
    ])
}

fn finding(finding: &Finding) -> Map<String, Value> {
    map([
        ("id", finding.rule.id.into()),
        ("severity", finding.severity.name().into()),
        ("subject", finding.subject.clone().into()),
        ("text", finding.text.clone().into()),
        ("route", json!(finding.route)),
        ("fix", finding.rule.fix.into()),
        ("key", encode(&finding.key).into()),
    ])
}
