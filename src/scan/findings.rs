//! The findings of an inventory: pure functions over its facts.

use std::{os::unix::ffi::OsStrExt, path::PathBuf};

use super::{
    Group, Inventory, LostCaps, Package, PrivilegedFile, PrivilegedProcess, Rule, Severity,
    Writable, Writer, encode,
    inventory::{name_or_id, route, set_in_words},
    programs::{self, Role},
    rules,
};
use crate::{Cap, CapSet, CapState, knowledge::Worth, settings::Profile};

/// A fault, or a probable one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of it.
    pub rule: &'static Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The file, process, unit or container, as text without characters that a terminal obeys.
    pub subject: String,
    /// The fault, in one sentence.
    pub text: String,
    /// The file, if it is about one.
    pub path: Option<PathBuf>,
    /// How that leads to root, if there is a known way.
    pub route: Option<String>,
    /// The identity of the finding across scans: the rule, the subject without process IDs, and
    /// the privileges.
    pub key: String,
}

impl Finding {
    fn of_file(
        rule: &'static Rule,
        severity: Severity,
        file: &PrivilegedFile,
        text: String,
    ) -> Finding {
        let subject = encode(&file.path);
        let key = format!("{} {subject} {}", rule.id, file.power());
        let path = Some(file.path.clone());
        Finding { rule, severity, subject, text, path, route: file.route(), key }
    }

    fn of_process(
        rule: &'static Rule,
        severity: Severity,
        process: &PrivilegedProcess,
        text: String,
    ) -> Finding {
        let name = process.name();
        let subject = format!("process {} ({name})", process.status.pid);
        let key = format!("{} {}", rule.id, process.key());
        let route = route(process.status.caps.permitted);
        Finding { rule, severity, subject, text, path: None, route, key }
    }
}

/// Returns all findings of an inventory, the worst first, then by their subjects and rules.
pub fn findings(inventory: &Inventory) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &inventory.files {
        match &inventory.image {
            Some(_) => of_image_file(file, inventory.bounding, &mut found),
            None => of_file(file, inventory.bounding, &mut found),
        }
    }
    for lost in inventory.image.iter().flat_map(|image| &image.lost) {
        found.push(of_lost(lost));
    }
    for expected in &inventory.expected {
        let subject = encode(&expected.path);
        let (package, text) = (encode(&expected.package), encode(&expected.text));
        found.push(Finding {
            rule: &rules::FILE_LOST,
            severity: Severity::Low,
            text: format!("the script of package {package} gives it {text}, and it has none"),
            path: Some(expected.path.clone()),
            route: None,
            key: format!("{} {subject} {text}", rules::FILE_LOST.id),
            subject,
        });
    }
    for process in &inventory.processes {
        of_process(process, inventory, &mut found);
    }
    for container in &inventory.containers {
        of_container(container, inventory.supported, &mut found);
    }
    for (kind, group) in inventory
        .units
        .iter()
        .map(|unit| ("unit", unit))
        .chain(inventory.containers.iter().map(|container| ("container", container)))
    {
        found.extend(unused(kind, group));
    }
    found.sort_by(|a, b| {
        let order = |one: &Finding| (std::cmp::Reverse(one.severity), one.rule.id);
        order(a).cmp(&order(b)).then_with(|| a.subject.cmp(&b.subject))
    });
    found
}

fn of_file(file: &PrivilegedFile, bounding: CapSet, found: &mut Vec<Finding>) {
    let worth = file.worth();
    let mut add = |rule, severity, text| found.push(Finding::of_file(rule, severity, file, text));
    if file.malformed.is_some() {
        add(&rules::FILE_MALFORMED, Severity::Low, "its capabilities are malformed".into());
    }
    let unusable = unusable(file, bounding);
    if let Some(reason) = &unusable {
        add(&rules::FILE_UNUSABLE, Severity::Low, reason.clone());
    }
    if file.is_unmapped
        && let Some(rootid) = file.caps.and_then(|caps| caps.rootid)
    {
        let text = format!("its root id {rootid} belongs to no user namespace and to no user");
        add(&rules::FILE_FOREIGN_ROOTID, Severity::Low, text);
    }
    if !file.writable.is_empty() && worth > Worth::Nothing {
        let severity = if worth >= Worth::Secrets { Severity::High } else { Severity::Medium };
        add(&rules::FILE_WRITABLE, severity, who_can(&file.writable));
    }
    match &file.package {
        Some(Package::Modified(name)) => {
            let text = format!("it differs from package {}", encode(name));
            add(&rules::FILE_MODIFIED, Severity::High, text);
        }
        Some(Package::None) if worth > Worth::Nothing => {
            let severity = if worth >= Worth::Secrets { Severity::Medium } else { Severity::Low };
            let text = format!("it belongs to no package, and has {}", file.power());
            add(&rules::FILE_UNPACKAGED, severity, text);
        }
        _ => {}
    }
    // Privileges without effect here are worth nothing.
    if unusable.is_some() || file.is_unmapped {
        return;
    }
    let permitted = file.caps.map_or(CapSet::empty(), |caps| caps.permitted);
    if let Some(role) = file.role()
        && (file.is_set_uid() || !permitted.is_empty())
    {
        let text = format!("it is {} and has {}", role.text(), file.power());
        add(&rules::FILE_INTERPRETER, worth.into(), text);
    } else if Worth::of(permitted) >= Worth::Secrets && file.mode & 0o001 != 0 {
        let is_root = Worth::of(permitted) == Worth::Root;
        let severity = if is_root { Severity::High } else { Severity::Medium };
        let text = format!("every user may execute it, and it has {}", file.power());
        add(&rules::FILE_ROOT_EQUIVALENT, severity, text);
    }
}

/// In an image, who can write a file and what a capability reaches is the container's matter.
fn of_image_file(file: &PrivilegedFile, bounding: CapSet, found: &mut Vec<Finding>) {
    let mut add = |rule, severity, text| found.push(Finding::of_file(rule, severity, file, text));
    if file.malformed.is_some() {
        add(&rules::FILE_MALFORMED, Severity::Low, "its capabilities are malformed".into());
    }
    let caps = file.caps.unwrap_or_default();
    let lacking = caps.permitted - bounding;
    if caps.effective && !lacking.is_empty() {
        let lacking = set_in_words(lacking);
        let text = format!("exec fails in a container by default, which lacks {lacking}");
        add(&rules::IMAGE_UNUSABLE, Severity::Medium, text);
    }
    if let Some(role) = file.role()
        && (file.is_set_uid() || !caps.permitted.is_empty())
    {
        let text = format!("it is {} and has {}", role.text(), file.power());
        add(&rules::FILE_INTERPRETER, Severity::High, text);
    } else if file.is_set_uid() || file.is_set_gid() {
        add(&rules::IMAGE_SET_ID, Severity::Low, format!("it has {}", file.power()));
    }
}

fn of_lost(lost: &LostCaps) -> Finding {
    let rule = &rules::IMAGE_LOST;
    let subject = encode(&lost.path);
    let caps =
        lost.caps.map_or_else(|| "capabilities".into(), |caps| CapState::from(caps).to_string());
    let LostCaps { given, taken, .. } = lost;
    Finding {
        rule,
        severity: Severity::Medium,
        text: format!("layer {given} gives it {caps}, and layer {taken} has it without"),
        path: Some(lost.path.clone()),
        route: None,
        key: format!("{} {subject} {caps}", rule.id),
        subject,
    }
}

/// Returns why the privileges of a file cannot take effect.
fn unusable(file: &PrivilegedFile, bounding: CapSet) -> Option<String> {
    if file.is_nosuid {
        return Some("its mount has the option nosuid".into());
    }
    if file.is_script {
        return Some("it is a script, whose own privileges the kernel ignores".into());
    }
    let caps = file.caps.filter(|caps| caps.effective)?;
    let lacking = caps.permitted - bounding;
    let text = || format!("the bounding set lacks {}, so that execve fails", set_in_words(lacking));
    (!lacking.is_empty()).then(text)
}

/// Returns who can change a file, in words.
fn who_can(writable: &[Writable]) -> String {
    const SHOWN: usize = 3;
    let one = |Writable { path, by }: &Writable| {
        let who = match by {
            Writer::Everyone => "every user".to_owned(),
            Writer::Group(gid) => format!("group {gid}"),
            Writer::User(uid) => format!("user {uid}"),
        };
        format!("{who} can write {}", encode(path))
    };
    let mut words: Vec<_> = writable.iter().take(SHOWN).map(one).collect();
    if writable.len() > SHOWN {
        words.push(format!("{} more", writable.len() - SHOWN));
    }
    words.join(", ")
}

impl PrivilegedProcess {
    /// Returns what tells the process from others on another day, which its id does not.
    pub(super) fn key(&self) -> String {
        let place = self.container.as_ref().or(self.unit.as_ref()).map(encode).unwrap_or_default();
        let program = self.program.as_ref().map_or_else(|| self.name(), encode);
        let user = name_or_id(self.user.as_deref(), self.status.uid.effective);
        format!("{program} {user} {} {place}", self.power())
    }
}

fn of_process(process: &PrivilegedProcess, inventory: &Inventory, found: &mut Vec<Finding>) {
    let worth = process.worth();
    let mut add =
        |rule, severity, text| found.push(Finding::of_process(rule, severity, process, text));
    let sets = process.power();
    let user = name_or_id(process.user.as_deref(), process.status.uid.effective);
    if worth == Worth::Root && process.is_non_root() {
        let text = format!("it runs as {user} and has {sets}");
        add(&rules::PROCESS_ROOT_EQUIVALENT, Severity::High, text);
    }
    let ambient = process.status.ambient;
    let role = programs::role(process.program_name().as_bytes());
    if !ambient.is_empty() && role == Some(Role::Shell) {
        let severity =
            if Worth::of(ambient) >= Worth::Secrets { Severity::High } else { Severity::Medium };
        let text = format!("every program that it starts gets {}", set_in_words(ambient));
        add(&rules::PROCESS_AMBIENT_SHELL, severity, text);
    }
    if !process.writable.is_empty() && worth >= Worth::Secrets {
        // An owner who is the process's own user replaces a program of their own.
        let own = process.status.uid.real;
        let is_foreign = |one: &&Writable| one.by != Writer::User(own) || own == 0;
        let others: Vec<_> = process.writable.iter().filter(is_foreign).cloned().collect();
        if !others.is_empty() {
            add(&rules::PROCESS_WRITABLE_PROGRAM, Severity::Critical, who_can(&others));
        }
    }
    let excess = process.status.caps.permitted.without(Cap::NET_BIND_SERVICE);
    let pid = process.status.pid;
    let listens: Vec<_> = inventory.sockets.iter().filter(|one| one.pids.contains(&pid)).collect();
    if let (false, Some(first)) = (excess.is_empty(), listens.first()) {
        let reachable = listens.iter().find(|socket| socket.is_reachable());
        let socket = reachable.unwrap_or(first);
        let is_wide = reachable.is_some() && worth >= Worth::Partial;
        let severity = if is_wide { Severity::Medium } else { Severity::Low };
        let (protocol, place) = (socket.protocol.name(), socket.place());
        let more = listens.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("it listens on {protocol} {place}{more} as {user} and has {sets}");
        add(&rules::SOCKET_EXCESS, severity, text);
    }
}

fn of_container(container: &Group, supported: CapSet, found: &mut Vec<Finding>) {
    if !container.is_same_namespace {
        return;
    }
    let extra = container.bounding - Profile::Docker.given();
    let (rule, severity, text) = if container.bounding.is_superset(supported) {
        let text = "it has every capability of the machine".to_owned();
        (&rules::CONTAINER_PRIVILEGED, Severity::Critical, text)
    } else if Worth::of(extra) >= Worth::Partial {
        let severity = Severity::from(Worth::of(extra)).min(Severity::High);
        let text = format!("beyond the default it has {}", set_in_words(extra));
        (&rules::CONTAINER_EXTRA, severity, text)
    } else {
        return;
    };
    let subject = format!("container {}", short(&container.name));
    let key = format!("{} {subject} {extra}", rule.id);
    let (path, route) = (None, route(extra));
    found.push(Finding { rule, severity, subject, text, path, route, key });
}

fn unused(kind: &str, group: &Group) -> Option<Finding> {
    let unused = group.unused.filter(|unused| !unused.is_empty())?;
    let rule = &rules::UNIT_UNUSED;
    let subject = format!("{kind} {}", short(&group.name));
    let severity = Severity::from(Worth::of(unused)).min(Severity::Medium);
    let text = format!("it never used {} while it was traced", set_in_words(unused));
    let key = format!("{} {subject} {unused}", rule.id);
    Some(Finding { rule, severity, subject, text, path: None, route: None, key })
}

/// Returns the name of a unit, or the first digits of a container's id.
pub(super) fn short(name: &str) -> String {
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    encode(if is_id { &name[..12] } else { name })
}

#[cfg(test)]
mod tests;
