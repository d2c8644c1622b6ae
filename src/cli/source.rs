//! Where settings come from: a file of another system, a process, a command line or a set.

use std::{fs, path::Path};

use serde_json::Value;

use super::{decode::a_set, parse_caps};
use crate::{
    CapSet, CapState,
    exec::Process,
    proc::{Ids, Proc},
    profile::Profile,
    securebits::Securebits,
};

mod command;
mod compose;
mod json;
mod kubernetes;
mod systemd;

/// What settings give a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// The service or container, if the settings name it.
    pub(super) name: Option<String>,
    /// The bounding set, which root has.
    pub(super) caps: CapSet,
    /// The ambient set.
    pub(super) ambient: CapSet,
    /// The user, by name or number; `None`: root, or whom the image names.
    pub(super) user: Option<String>,
    pub(super) no_new_privs: bool,
}

/// For the help of commands that take one.
pub(super) const FORMS: &str = "A Compose file, a Kubernetes manifest, an OCI config.json, a unit \
     of systemd, the output of `docker inspect` or of rcap's --json; of several services one by \
     FILE:NAME; pid:N; a profile such as docker; options or a command of docker, podman, setpriv, \
     capsh or setcap; a mask or names";

impl Source {
    /// That of a set alone.
    fn of(caps: CapSet) -> Source {
        Source { caps, ..Source::default() }
    }

    /// The process that is to execute the program, as a runtime or systemd makes it for these ids.
    pub(super) fn process(&self, uid: u32, gid: u32, groups: Vec<u32>) -> Process {
        let permitted = if uid == 0 { self.caps } else { self.ambient };
        let ids = |id| Ids { real: id, effective: id, saved: id, filesystem: id };
        Process {
            uid: ids(uid),
            gid: ids(gid),
            groups,
            caps: CapState { effective: permitted, permitted, inheritable: self.ambient },
            bounding: self.caps,
            ambient: self.ambient,
            securebits: Securebits::empty(),
            no_new_privs: self.no_new_privs,
        }
    }
}

/// The one that an argument names: a path of a file, with the name of a service behind it if there
/// are several, or the settings themselves.
pub(super) fn one(argument: &str) -> Result<Source, String> {
    let mut sources = all(argument)?;
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (None, _) => Err(format!("{argument}: there is no service or container in it")),
        (Some(last), false) => {
            sources.push(last);
            let names = sources.iter().filter_map(|source| source.name.as_deref());
            let names = names.map(|name| format!("{argument}:{name}")).collect::<Vec<_>>();
            Err(format!("{argument}: it has several; name one: {}", names.join(", ")))
        }
    }
}

/// All that an argument names.
pub(super) fn all(argument: &str) -> Result<Vec<Source>, String> {
    let in_file = |words: String| format!("{argument}: {words}");
    if let Some(pid) = argument.strip_prefix("pid:") {
        return process(pid).map(|source| vec![source]).map_err(in_file);
    }
    if Path::new(argument).exists() {
        return read(Path::new(argument)).and_then(|text| parse(&text)).map_err(in_file);
    }
    if let Some((path, name)) = argument.rsplit_once(':')
        && Path::new(path).is_file()
    {
        let sources = read(Path::new(path)).and_then(|text| parse(&text));
        let sources = sources.map_err(|words| format!("{path}: {words}"))?;
        let is_it = |source: &Source| source.name.as_deref() == Some(name);
        let found = sources.into_iter().find(is_it);
        return found
            .map(|source| vec![source])
            .ok_or_else(|| in_file(format!("there is no {name}")));
    }
    if argument.contains('/') && !argument.contains(char::is_whitespace) {
        return Err(in_file("there is no such file".to_owned()));
    }
    text(argument).map(|source| vec![source]).map_err(in_file)
}

fn process(pid: &str) -> Result<Source, String> {
    let pid = pid.parse().map_err(|_| "a process is named by its number".to_owned())?;
    let status = Proc::default().status(pid).map_err(|err| super::chain(&err))?;
    Ok(Source {
        caps: status.caps.permitted,
        ambient: status.ambient,
        user: (status.uid.effective != 0).then(|| status.uid.effective.to_string()),
        no_new_privs: status.no_new_privs.unwrap_or(false),
        name: None,
    })
}

/// The text of a file, or of a directory such as /proc/1 the status in it.
fn read(path: &Path) -> Result<String, String> {
    /// More than any such file has.
    const LONGEST: u64 = 16 << 20;
    let status = path.join("status");
    let path = if path.is_dir() && status.is_file() { &status } else { path };
    if fs::metadata(path).is_ok_and(|file| file.len() > LONGEST) {
        return Err("it is too long".to_owned());
    }
    fs::read_to_string(path).map_err(|err| super::chain(&err))
}

/// Settings in the text of a file, whichever it is.
fn parse(text: &str) -> Result<Vec<Source>, String> {
    if text.lines().any(|line| line.trim() == "[Service]") {
        return systemd::parse(text).map(|source| vec![source]);
    }
    if let Some(source) = status(text) {
        return Ok(vec![source]);
    }
    // JSON is YAML, but its tabs are not.
    let documents: Vec<Value> = match serde_json::from_str(text) {
        Ok(document) => vec![document],
        Err(_) => serde_saphyr::from_multiple(text).map_err(|err| short(&err.to_string()))?,
    };
    if let [Value::String(_) | Value::Number(_)] = &*documents {
        return self::text(text.trim()).map(|source| vec![source]);
    }
    let mut sources = Vec::new();
    let mut known = false;
    for document in &documents {
        let found = [compose::parse, kubernetes::parse, json::parse]
            .into_iter()
            .find_map(|parse| parse(document).transpose());
        if let Some(found) = found.transpose()? {
            known = true;
            sources.extend(found);
        }
    }
    if known {
        return Ok(sources);
    }
    Err("it is no Compose file, no Kubernetes manifest, no config.json of OCI, no unit of systemd \
         and no report of rcap's"
        .to_owned())
}

/// The first line of a message, which may draw what is wrong below.
fn short(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The text of `/proc/PID/status`.
fn status(text: &str) -> Option<Source> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let set = |name| {
        let bits = u64::from_str_radix(field(name)?, 16).ok()?;
        Some(CapSet::from_bits_retain(bits))
    };
    let user = field("Uid").and_then(|ids| ids.split_whitespace().nth(1));
    Some(Source {
        caps: set("CapPrm")?,
        ambient: set("CapAmb").unwrap_or_default(),
        user: user.filter(|user| *user != "0").map(str::to_owned),
        no_new_privs: field("NoNewPrivs") == Some("1"),
        name: None,
    })
}

/// Settings in an argument itself.
fn text(text: &str) -> Result<Source, String> {
    if let Some(profile) = Profile::from_name(text) {
        return Ok(Source::of(profile.given()));
    }
    if let Some(source) = command::parse(text) {
        return source;
    }
    let set = match a_set(text) {
        Ok(set) => set,
        // The error of a list of names is the one that helps, but for an = in it.
        Err(words) if !text.contains(['=', '+']) => return Err(words),
        Err(_) => text.parse::<CapState>().map_err(|err| super::chain(&err))?.permitted,
    };
    Ok(Source::of(set))
}

/// The capabilities in a list of names, as a document has it; none if there is none.
fn list(value: &Value) -> Result<CapSet, String> {
    let names: Vec<&Value> = match value {
        Value::Null => Vec::new(),
        Value::Array(names) => names.iter().collect(),
        name => vec![name],
    };
    names.into_iter().try_fold(CapSet::empty(), |all, name| {
        let name = name.as_str().ok_or_else(|| format!("{name} is no name of a capability"))?;
        // One that has no name here is a number.
        let number = name.parse::<u8>().ok().filter(|number| *number < 64);
        let set = number.map(|number| Ok(CapSet::from_bits_retain(1 << number)));
        Ok(all | set.unwrap_or_else(|| parse_caps(name))?)
    })
}

/// A user, as a number or a name; root is none.
fn user(value: &Value) -> Option<String> {
    let user = match value {
        Value::String(user) => user.clone(),
        Value::Number(user) => user.to_string(),
        _ => return None,
    };
    let name = user.split(':').next().unwrap_or(&user);
    (!["", "0", "root"].contains(&name)).then_some(user)
}

#[cfg(test)]
mod tests;
