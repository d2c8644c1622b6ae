//! Where settings come from: a file of another system, a process, a command line or a set.
//!
//! Whether an argument is words or names a file depends on the argument alone, and the format of
//! a file on its whole structure: whoever writes one field of it does not choose its reader.

use std::{fs::File, io::Read, path::Path};

use serde_json::Value;

use super::{
    decode::a_set,
    input::{self, Unread},
    parse_caps,
};
use crate::{
    CapSet, CapState,
    deploy::{Id, User},
    exec::Process,
    proc::{Ids, Proc},
    profile::Profile,
    securebits::Securebits,
};

mod command;
mod compose;
mod document;
mod json;
mod kubernetes;
mod status;
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
    /// The user; `None`: root, or whom the image names.
    pub(super) user: Option<User>,
    pub(super) no_new_privs: bool,
}

/// For the help of commands that take one.
pub(super) const FORMS: &str = "A profile such as docker; a mask or names; options or a command \
     of docker, podman, setpriv, capsh or setcap; pid:N; or the path of a Compose file, a \
     Kubernetes manifest, an OCI config.json, a unit of systemd, the output of `docker inspect` \
     or of rcap's --json, or - for standard input; FILE:NAME is one of several services";

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

/// What one reader finds in a text: `None` if the text does not have its structure.
type Found = Option<Result<Vec<Source>, String>>;

/// A format of settings.
struct Format {
    /// What stands before the path of a file to name its format.
    prefix: &'static str,
    name: &'static str,
    read: fn(&Input<'_>) -> Found,
}

/// Every format. Their order has no meaning: a text that two of them can read is refused.
#[rustfmt::skip]
const FORMATS: &[Format] = &[
    Format { prefix: "compose:",    name: "a Compose file",         read: |input| input.documents(compose::parse) },
    Format { prefix: "kubernetes:", name: "a Kubernetes manifest",  read: |input| input.documents(kubernetes::parse) },
    Format { prefix: "oci:",        name: "an OCI config.json",     read: |input| input.documents(json::oci) },
    Format { prefix: "inspect:",    name: "docker inspect output",  read: |input| input.documents(json::inspect) },
    Format { prefix: "report:",     name: "a report of rcap's",     read: |input| input.documents(json::report) },
    Format { prefix: "unit:",       name: "a systemd unit",         read: |input| systemd::parse(input.text) },
    Format { prefix: "status:",     name: "a /proc/PID/status",     read: |input| status::parse(input.text) },
    Format { prefix: "words:",      name: "a set or command line",  read: |input| words(input.text.trim()).map(one_source) },
];

/// A text, and the documents in it if it is JSON or YAML.
struct Input<'a> {
    text: &'a str,
    documents: Result<Vec<Value>, String>,
}

impl Input<'_> {
    fn new(text: &str) -> Input<'_> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Input { text, documents: document::parse(text) }
    }

    /// What a reader of documents finds in all of them. If it reads one, it must read each.
    fn documents(&self, read: fn(&Value) -> Found) -> Found {
        let documents = self.documents.as_ref().ok()?;
        let found: Vec<Found> = documents.iter().map(read).collect();
        found.iter().any(Option::is_some).then(|| {
            found.into_iter().enumerate().try_fold(Vec::new(), |mut all, (nth, found)| {
                let unlike = || Err(format!("document {} is of another format", nth + 1));
                all.extend(found.unwrap_or_else(unlike)?);
                Ok(all)
            })
        })
    }
}

fn one_source(source: Result<Source, String>) -> Result<Vec<Source>, String> {
    source.map(|source| vec![source])
}

/// The one that an argument names: a path of a file, with the name of a service behind it if there
/// are several, or the settings themselves.
pub(super) fn one(argument: &str, stdin: &mut dyn Read) -> Result<Source, String> {
    let mut sources = all(argument, stdin)?;
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (last, _) => {
            sources.extend(last);
            let names = sources.iter().filter_map(|source| source.name.as_deref());
            let names = names.map(|name| format!("{argument}:{name}")).collect::<Vec<_>>();
            Err(format!("{argument}: it has several; name one: {}", names.join(", ")))
        }
    }
}

/// All that an argument names, which is at least one.
pub(super) fn all(argument: &str, stdin: &mut dyn Read) -> Result<Vec<Source>, String> {
    let about = |subject: &str, reason: &str| format!("{subject}: {reason}");
    let in_it = |reason: String| about(argument, &reason);
    if let Some(pid) = argument.strip_prefix("pid:") {
        return one_source(process(pid)).map_err(in_it);
    }
    let format = FORMATS.iter().find(|format| argument.starts_with(format.prefix));
    let path = format.map_or(argument, |format| &argument[format.prefix.len()..]);
    if format.is_none()
        && let Some(source) = words(argument)
    {
        return one_source(source).map_err(in_it);
    }
    let (path, name, text) = match find(path, stdin) {
        Ok(found) => found,
        // A word that is no path is a name that is mistyped.
        Err((_, reason)) if reason == NO_FILE && format.is_none() && !is_path(argument) => {
            return Err(in_it(not_words(argument)));
        }
        Err((subject, reason)) => return Err(about(subject, &reason)),
    };
    let text = text.map_err(|err| about(path, &err.to_string()))?;
    let sources = parse(&text, format).map_err(|reason| about(path, &reason))?;
    let Some(name) = name else {
        let none = || in_it("no service or container in it".to_owned());
        return if sources.is_empty() { Err(none()) } else { Ok(sources) };
    };
    let found: Vec<Source> =
        sources.into_iter().filter(|source| source.name.as_deref() == Some(name)).collect();
    match found.len() {
        1 => Ok(found),
        0 => Err(about(path, &format!("no service or container {name} in it"))),
        count => Err(about(path, &format!("{count} services or containers are called {name}"))),
    }
}

const NO_FILE: &str = "no such file";

/// Whether an argument that is no known word is meant for the path of a file.
fn is_path(argument: &str) -> bool {
    argument.contains(['/', '.'])
}

/// A path, the name of a service behind it, and the text of the file.
type Named<'a> = (&'a str, Option<&'a str>, Result<String, Unread>);

/// Opens the file that an argument names: `FILE` or `FILE:NAME`. The error has its subject.
fn find<'a>(argument: &'a str, stdin: &mut dyn Read) -> Result<Named<'a>, (&'a str, String)> {
    let split = argument.rsplit_once(':').map(|(path, name)| (path, Some(name)));
    if argument == "-" || matches!(split, Some(("-", _))) {
        let (path, name) = split.unwrap_or((argument, None));
        return Ok((path, name, input::text(stdin)));
    }
    // Both are opened: whichever is read is the one that was found.
    let whole = open(argument);
    let part = split.map(|(path, name)| (path, name, open(path)));
    match (whole, part) {
        (Ok(_), Some((path, _, Ok(_)))) => {
            let reason = format!("{path} is a file too; give the one that is meant as - or -:NAME");
            Err((argument, reason))
        }
        (Ok(mut file), _) => Ok((argument, None, input::text(&mut file))),
        (Err(err), Some((path, name, Ok(mut file)))) if err.is_missing() => {
            Ok((path, name, input::text(&mut file)))
        }
        (Err(err), Some((path, _, Err(part)))) if err.is_missing() && !part.is_missing() => {
            Err((path, part.to_string()))
        }
        (Err(err), _) => Err((argument, err.to_string())),
    }
}

/// Opens a file, or the status in a directory such as /proc/1.
fn open(path: &str) -> Result<File, Unread> {
    let path = Path::new(path);
    input::open(path).or_else(|err| input::open_status(path).map_err(|_| err))
}

fn process(pid: &str) -> Result<Source, String> {
    let pid = pid.parse().map_err(|_| "a process is named by its number".to_owned())?;
    let status =
        Proc::of_namespace().and_then(|proc| proc.status(pid)).map_err(|err| super::chain(&err))?;
    Ok(Source {
        caps: status.caps.permitted,
        ambient: status.ambient,
        user: user(&status.uid.effective.into())?,
        no_new_privs: status.no_new_privs.unwrap_or(false),
        name: None,
    })
}

/// Settings in the text of a file: of the format that is named, or of the only one whose structure
/// it has.
fn parse(text: &str, format: Option<&Format>) -> Result<Vec<Source>, String> {
    let input = Input::new(text);
    if let Some(format) = format {
        let found = (format.read)(&input);
        let syntax = input.documents.err().map(|err| format!(" ({err})")).unwrap_or_default();
        return found.unwrap_or_else(|| Err(format!("is not {}{syntax}", format.name)));
    }
    let mut found: Vec<_> =
        FORMATS.iter().filter_map(|format| Some((format, (format.read)(&input)?))).collect();
    match (found.pop(), &*found) {
        (Some((_, sources)), []) => sources,
        (Some(last), _) => {
            found.push(last);
            let names: Vec<_> = found.iter().map(|(format, _)| format.name).collect();
            let prefixes: Vec<_> =
                found.iter().map(|(format, _)| format!("{}FILE", format.prefix)).collect();
            Err(format!(
                "is ambiguous: {}; name its format: {}",
                names.join(" and "),
                prefixes.join(" or ")
            ))
        }
        (None, _) => Err(unknown(&input)),
    }
}

/// Why no reader takes a text.
fn unknown(input: &Input<'_>) -> String {
    match input.documents.as_deref() {
        _ if input.text.trim().is_empty() => "is empty".to_owned(),
        Err(err) => err.clone(),
        Ok([Value::String(_) | Value::Number(_)]) => not_words(input.text.trim()),
        Ok(_) => {
            let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
            format!("is none of: {}", names.join(", "))
        }
    }
}

/// Settings in words: a profile, a command line, a mask, names or libcap's text; `None` if it is
/// none of these. An error is one of a command.
fn words(text: &str) -> Option<Result<Source, String>> {
    /// The longest argument that execve(2) takes.
    const LONGEST: usize = 128 << 10;
    if text.len() >= LONGEST {
        return None;
    }
    if let Some(profile) = Profile::from_name(text) {
        return Some(Ok(Source::of(profile.given())));
    }
    if let Some(source) = command::parse(text) {
        return Some(source);
    }
    let set = a_set(text).ok().or_else(|| {
        let state = text.contains(['=', '+']).then(|| text.parse::<CapState>().ok());
        state.flatten().map(|state| state.permitted)
    });
    set.map(Source::of).map(Ok)
}

/// Why a text is no words.
fn not_words(text: &str) -> String {
    // The error of a list of names is the one that helps, but for an = in it.
    let state = text.parse::<CapState>().err().filter(|_| text.contains(['=', '+']));
    let state = state.map(|err| super::chain(&err));
    state.or_else(|| a_set(text).err()).unwrap_or_default()
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

/// The text of a number or a name; `None` if there is none.
fn scalar(name: &str, value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(format!("{name}: {other} is neither a number nor a name")),
    }
}

/// A user, as a number or a name; root is none, and so is nobody named.
fn user(value: &Value) -> Result<Option<User>, String> {
    let Some(text) = scalar("user", value)? else { return Ok(None) };
    let user: User = text.parse().map_err(|err| format!("user: {err}"))?;
    Ok(Some(user).filter(|user| !user.is_root()))
}

/// A user with this group, if one is named.
fn with_group(user: Option<User>, group: &Value) -> Result<Option<User>, String> {
    let Some(text) = scalar("group", group)? else { return Ok(user) };
    let group: Id = text.parse().map_err(|err| format!("group: {err}"))?;
    Ok(user.map(|user| user.with_group(group)))
}

/// A switch; one that is not there is off. Compose takes the words too.
fn switch(name: &str, value: &Value) -> Result<bool, String> {
    let is_on = match value {
        Value::Null => Some(false),
        Value::Bool(is_on) => Some(*is_on),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    is_on.ok_or_else(|| format!("{name}: {value} is not true or false"))
}

#[cfg(test)]
mod tests;
