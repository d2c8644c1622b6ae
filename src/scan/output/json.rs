//! JSON: one document, or a line for each entry. (docs/json.md)

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use serde_json::{Map, Value, json};

use crate::{
    CapState,
    scan::{
        Finding, Group, Host, Image, Inventory, Namespace, Package, PrivilegedFile,
        PrivilegedProcess, Socket, Unread, Writable, Writer, encode,
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

/// Writes the document of a scan, entry by entry: a hostile image can have many.
///
/// # Errors
///
/// Those of `out`.
pub fn write(out: &mut dyn Write, inventory: &Inventory, findings: &[Finding]) -> io::Result<()> {
    let Host { name, kernel, time, .. } = &inventory.host;
    let head = json!({
        "schema": SCHEMA,
        "host": name,
        "kernel": kernel,
        "time": time,
        "complete": inventory.unread.is_empty(),
        "image": inventory.image.as_ref().map(image),
    });
    let head = head.to_string();
    write!(out, "{}", head.trim_end_matches('}'))?;
    list(out, "unread", &inventory.unread, unread)?;
    list(out, "files", &inventory.files, file)?;
    list(out, "processes", &inventory.processes, process)?;
    list(out, "sockets", &inventory.sockets, socket)?;
    list(out, "units", &inventory.units, group)?;
    list(out, "containers", &inventory.containers, group)?;
    list(out, "findings", findings, finding)?;
    writeln!(out, "}}")
}

/// Writes a list as the next member of an object.
fn list<T>(
    out: &mut dyn Write,
    key: &str,
    all: &[T],
    object: fn(&T) -> Map<String, Value>,
) -> io::Result<()> {
    write!(out, ",\"{key}\":[")?;
    for (nth, one) in all.iter().enumerate() {
        out.write_all(if nth > 0 { b",\n" } else { b"\n" })?;
        serde_json::to_writer(&mut *out, &object(one))?;
    }
    out.write_all(b"]")
}

fn unread(unread: &Unread) -> Map<String, Value> {
    map([("subject", unread.subject.clone().into()), ("reason", unread.reason.clone().into())])
}

/// Writes a line for each entry and each finding, with the host and the time in each, after one for
/// the scan itself.
///
/// # Errors
///
/// Those of `out`.
pub fn write_lines(
    out: &mut dyn Write,
    inventory: &Inventory,
    findings: &[Finding],
) -> io::Result<()> {
    let scan = map([
        ("complete", inventory.unread.is_empty().into()),
        ("findings", findings.len().into()),
    ]);
    let host = &inventory.host;
    line(out, host, "scan", scan)?;
    inventory.files.iter().try_for_each(|one| line(out, host, "file", file(one)))?;
    inventory.processes.iter().try_for_each(|one| line(out, host, "process", process(one)))?;
    inventory.sockets.iter().try_for_each(|one| line(out, host, "socket", socket(one)))?;
    inventory.units.iter().try_for_each(|one| line(out, host, "unit", group(one)))?;
    inventory.containers.iter().try_for_each(|one| line(out, host, "container", group(one)))?;
    findings.iter().try_for_each(|one| line(out, host, "finding", finding(one)))
}

fn line(
    out: &mut dyn Write,
    host: &Host,
    kind: &str,
    mut object: Map<String, Value>,
) -> io::Result<()> {
    object.insert("schema".into(), SCHEMA.into());
    object.insert("kind".into(), kind.into());
    object.insert("host".into(), host.name.clone().into());
    object.insert("kernel".into(), host.kernel.clone().into());
    object.insert("time".into(), host.time.clone().into());
    serde_json::to_writer(&mut *out, &object)?;
    writeln!(out)
}

fn objects<T>(all: &[T], object: fn(&T) -> Map<String, Value>) -> Value {
    all.iter().map(object).collect::<Vec<_>>().into()
}

fn image(image: &Image) -> Value {
    json!({
        "user": image.user,
        "capabilities": image.capabilities,
        "layers": image.layers,
    })
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
        ("writable", objects(&file.writable, writable)),
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
        ("writable", objects(&process.writable, writable)),
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
