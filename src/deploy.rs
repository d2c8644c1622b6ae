//! A set of capabilities in the words of the systems that take it, with the settings that make it
//! hold.

use std::fmt::Write;

use crate::{Cap, CapSet};

/// A system that takes settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Options of `docker run`.
    Docker,
    /// Options of `podman run`.
    Podman,
    /// A service in a Compose file.
    Compose,
    /// The `securityContext` of a container in a Kubernetes manifest.
    Kubernetes,
    /// `process` in the `config.json` of an OCI bundle.
    Oci,
    /// A unit of systemd.
    Systemd,
    /// A command that gives a file the capabilities.
    Setcap,
    /// The beginning of a command of libcap's capsh(1).
    Capsh,
    /// The beginning of a command of setpriv(1).
    Setpriv,
    /// An object of JSON, for programs.
    Json,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings<'a> {
    /// What the program is to have, and nothing else.
    pub caps: CapSet,
    /// The user who runs it, by name or number; `None`: root.
    pub user: Option<&'a str>,
}

impl Settings<'_> {
    /// Whether the user is root.
    fn is_root(&self) -> bool {
        self.user.is_none_or(|user| ["0", "root"].contains(&user.split(':').next().unwrap_or(user)))
    }

    /// Whether, in containers without ambient capabilities, they have to come from a file.
    fn is_by_file(&self) -> bool {
        !self.caps.is_empty() && !self.is_root()
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 10] = [
        Format::Docker,
        Format::Podman,
        Format::Compose,
        Format::Kubernetes,
        Format::Oci,
        Format::Systemd,
        Format::Setcap,
        Format::Capsh,
        Format::Setpriv,
        Format::Json,
    ];

    /// Its name, such as `kubernetes`.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Docker => "docker",
            Format::Podman => "podman",
            Format::Compose => "compose",
            Format::Kubernetes => "kubernetes",
            Format::Oci => "oci",
            Format::Systemd => "systemd",
            Format::Setcap => "setcap",
            Format::Capsh => "capsh",
            Format::Setpriv => "setpriv",
            Format::Json => "json",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The settings, ready to paste, and without a newline at the end.
    ///
    /// ```
    /// use rcap::{Cap, deploy::{Format, Settings}};
    ///
    /// let settings = Settings { caps: Cap::NET_RAW.into(), user: None };
    /// let options = Format::Docker.write(&settings);
    /// assert_eq!(options, "--cap-drop=ALL --cap-add=NET_RAW --security-opt=no-new-privileges");
    /// ```
    pub fn write(self, settings: &Settings<'_>) -> String {
        let &Settings { caps, user } = settings;
        match self {
            Format::Docker => options(caps, user, !settings.is_by_file()),
            Format::Podman => options(caps, user, true),
            Format::Compose => compose(caps, user, !settings.is_by_file()),
            Format::Kubernetes => kubernetes(caps, user, !settings.is_by_file()),
            Format::Oci => oci(caps, user, settings.is_root()),
            Format::Systemd => systemd(caps, user),
            Format::Setcap if caps.is_empty() => "setcap -r PROGRAM".to_owned(),
            Format::Setcap => format!("setcap {caps}=ep PROGRAM"),
            Format::Capsh => capsh(caps, user),
            Format::Setpriv => setpriv(caps, user),
            Format::Json => json(caps, user, settings.is_root()),
        }
    }

    /// What does not hold there as one would think, in words; `None`: nothing.
    pub fn caveat(self, settings: &Settings<'_>) -> Option<&'static str> {
        match self {
            _ if !settings.is_by_file() => None,
            Format::Docker | Format::Compose | Format::Kubernetes => Some(
                "another user than root gets there what its program's file has, and nothing else: \
                 give the file these too (rcap setcap). No-new-privs, which would take that away, \
                 is left out",
            ),
            Format::Setcap => Some("whoever may execute the file has them, and not one user"),
            _ => None,
        }
    }
}

/// The name without its prefix, in upper case, as containers have it. One without a name is its
/// number, which they do not take.
fn short(cap: Cap) -> String {
    let name = cap.to_string();
    name.strip_prefix("cap_").unwrap_or(&name).to_uppercase()
}

/// The full name in upper case.
fn full(cap: Cap) -> String {
    cap.to_string().to_uppercase()
}

fn list(caps: CapSet, name: impl Fn(Cap) -> String, separator: &str) -> String {
    caps.caps().map(name).collect::<Vec<_>>().join(separator)
}

/// A text as YAML and JSON have it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

/// A word for the shell.
fn shell(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.:,+@/".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn options(caps: CapSet, user: Option<&str>, no_new_privs: bool) -> String {
    let mut text = "--cap-drop=ALL".to_owned();
    for cap in caps.caps() {
        let _ = write!(text, " --cap-add={}", short(cap));
    }
    if no_new_privs {
        text.push_str(" --security-opt=no-new-privileges");
    }
    if let Some(user) = user {
        let _ = write!(text, " --user={}", shell(user));
    }
    text
}

fn compose(caps: CapSet, user: Option<&str>, no_new_privs: bool) -> String {
    let mut lines = vec!["cap_drop: [ALL]".to_owned()];
    if !caps.is_empty() {
        lines.push(format!("cap_add: [{}]", list(caps, short, ", ")));
    }
    if no_new_privs {
        lines.push("security_opt: [\"no-new-privileges:true\"]".to_owned());
    }
    lines.extend(user.map(|user| format!("user: {}", quoted(user))));
    lines.join("\n")
}

fn kubernetes(caps: CapSet, user: Option<&str>, no_new_privs: bool) -> String {
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [\"ALL\"]\n",
        !no_new_privs
    );
    if !caps.is_empty() {
        let name = |cap| quoted(&short(cap));
        let _ = writeln!(text, "    add: [{}]", list(caps, name, ", "));
    }
    match user.map(|user| (user, user.parse::<u32>())) {
        None | Some((_, Ok(0))) => {}
        Some((_, Ok(uid))) => {
            let _ = writeln!(text, "  runAsNonRoot: true\n  runAsUser: {uid}");
        }
        // Which takes a number: the name is for the image to know.
        Some((_, Err(_))) => text.push_str("  runAsNonRoot: true\n"),
    }
    text.push_str("  seccompProfile:\n    type: RuntimeDefault");
    text
}

fn oci(caps: CapSet, user: Option<&str>, root: bool) -> String {
    let names = list(caps, |cap| quoted(&full(cap)), ", ");
    let ambient = if root { "" } else { &names };
    let mut text = format!(
        "{{\n  \"process\": {{\n    \"capabilities\": {{\n      \
         \"bounding\": [{names}],\n      \"permitted\": [{names}],\n      \
         \"effective\": [{names}],\n      \"inheritable\": [{ambient}],\n      \
         \"ambient\": [{ambient}]\n    }},\n"
    );
    if let Some(Ok(uid)) = user.map(str::parse::<u32>) {
        let _ = writeln!(text, "    \"user\": {{\"uid\": {uid}, \"gid\": {uid}}},");
    }
    text.push_str("    \"noNewPrivileges\": true\n  }\n}");
    text
}

/// The fields are those of docs/json.md.
fn json(caps: CapSet, user: Option<&str>, root: bool) -> String {
    let names = |caps| list(caps, |cap| quoted(&cap.to_string()), ",");
    let ambient = if root { CapSet::empty() } else { caps };
    format!(
        "{{\"schema\":1,\"caps\":[{}],\"ambient\":[{}],\"user\":{},\"no_new_privs\":true}}",
        names(caps),
        names(ambient),
        user.map_or("null".to_owned(), quoted)
    )
}

fn systemd(caps: CapSet, user: Option<&str>) -> String {
    let names = list(caps, full, " ");
    let mut text = format!("[Service]\nCapabilityBoundingSet={names}\n");
    if let Some(user) = user {
        // A percent sign begins a specifier.
        let user = user.replace('%', "%%").replace(char::is_control, "");
        let _ = writeln!(text, "AmbientCapabilities={names}\nUser={user}");
    }
    text.push_str("NoNewPrivileges=yes");
    text
}

fn capsh(caps: CapSet, user: Option<&str>) -> String {
    let mut text = "capsh".to_owned();
    let dropped = CapSet::supported() - caps;
    if let Some(user) = user {
        // What is ambient is lost with the change of the user, and set after it.
        let _ = write!(text, " --user={}", shell(user));
    }
    let mut parts: Vec<String> = dropped.caps().map(|cap| format!("!{cap}")).collect();
    if user.is_some() {
        parts.extend(caps.caps().map(|cap| format!("^{cap}")));
    }
    let _ = write!(text, " --iab={} --no-new-privs --", shell(&parts.join(",")));
    text
}

fn setpriv(caps: CapSet, user: Option<&str>) -> String {
    let mut set = "-all".to_owned();
    for cap in caps.caps() {
        let _ = write!(set, ",+{}", short(cap).to_lowercase());
    }
    let mut text = "setpriv".to_owned();
    if let Some(user) = user {
        let name = shell(user);
        let _ = match user.parse::<u32>() {
            Ok(uid) => write!(text, " --reuid={uid} --regid={uid} --clear-groups"),
            Err(_) => {
                write!(text, " --reuid={name} --regid=\"$(id -g {name})\" --init-groups")
            }
        };
        let _ = write!(text, " --inh-caps={set} --ambient-caps={set}");
    } else {
        text.push_str(" --inh-caps=-all --ambient-caps=-all");
    }
    let _ = write!(text, " --bounding-set={set} --no-new-privs --");
    text
}

#[cfg(test)]
mod tests;
