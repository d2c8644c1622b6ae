//! A set of capabilities in the words of the systems that take it, with the settings that make it
//! hold.

use std::fmt::Write;

use crate::{Cap, CapSet, Error, Result};

pub use self::user::{Id, User};

mod user;

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
    /// The user who runs it; `None`: root.
    pub user: Option<&'a User>,
    /// Whether no-new-privs is set even where that makes the capabilities ineffective.
    pub no_new_privs: bool,
}

impl<'a> Settings<'a> {
    /// The user, unless it is root.
    fn non_root(&self) -> Option<&'a User> {
        self.user.filter(|user| !user.is_root())
    }

    /// Whether, in containers without ambient capabilities, they have to come from a file.
    fn is_by_file(&self) -> bool {
        !self.caps.is_empty() && self.non_root().is_some()
    }

    /// Whether containers without ambient capabilities get no-new-privs, which takes those of a
    /// file away.
    fn locks_containers(&self) -> bool {
        self.no_new_privs || !self.is_by_file()
    }

    /// The user and the group as numbers, for a format that takes nothing else.
    fn numbers(&self, format: Format) -> Result<Option<(u32, Option<u32>)>> {
        let Some(user) = self.user else { return Ok(None) };
        let needs = "a number, UID or UID:GID";
        user.numbers().map(Some).ok_or_else(|| format.inexpressible(user, needs))
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
    /// let settings = Settings { caps: Cap::NET_RAW.into(), ..Settings::default() };
    /// let options = Format::Docker.write(&settings)?;
    /// assert_eq!(options, "--cap-drop=ALL --cap-add=NET_RAW --security-opt=no-new-privileges");
    /// # Ok::<(), rcap::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Inexpressible`] for a user that the format cannot name.
    pub fn write(self, settings: &Settings<'_>) -> Result<String> {
        let &Settings { caps, user, .. } = settings;
        if let (
            Format::Docker | Format::Podman | Format::Compose | Format::Kubernetes,
            Some(user),
        ) = (self, user)
        {
            self.check_range(user)?;
        }
        Ok(match self {
            Format::Docker => options(caps, user, settings.locks_containers()),
            Format::Podman => options(caps, user, true),
            Format::Compose => compose(caps, user, settings.locks_containers()),
            Format::Kubernetes => kubernetes(settings, settings.numbers(self)?),
            Format::Oci => oci(settings, settings.numbers(self)?),
            Format::Systemd => systemd(settings)?,
            Format::Setcap if caps.is_empty() => "setcap -r PROGRAM".to_owned(),
            Format::Setcap => format!("setcap {caps}=ep PROGRAM"),
            Format::Capsh => capsh(settings)?,
            Format::Setpriv => setpriv(settings),
            Format::Json => json(settings),
        })
    }

    fn inexpressible(self, user: &User, needs: &'static str) -> Error {
        Error::Inexpressible { format: self, user: user.clone(), needs }
    }

    /// Refuses ids above the largest that container engines take. (moby/sys/user, `maxID`)
    fn check_range(self, user: &User) -> Result<()> {
        let is_taken = |id: &Id| !matches!(id, Id::Number(id) if i32::try_from(*id).is_err());
        if is_taken(user.id()) && user.group().is_none_or(is_taken) {
            return Ok(());
        }
        Err(self.inexpressible(user, "ids up to 2147483647"))
    }

    /// What does not hold there as one would think, in words; `None`: nothing.
    pub fn caveat(self, settings: &Settings<'_>) -> Option<&'static str> {
        match self {
            Format::Setcap if settings.caps.is_empty() && settings.non_root().is_some() => {
                Some("the user is not part of it")
            }
            _ if !settings.is_by_file() => None,
            Format::Docker | Format::Compose | Format::Kubernetes if settings.no_new_privs => Some(
                "another user than root gets no capabilities there: no-new-privs takes away what \
                 the program's file has",
            ),
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

fn options(caps: CapSet, user: Option<&User>, no_new_privs: bool) -> String {
    let mut text = "--cap-drop=ALL".to_owned();
    for cap in caps.caps() {
        let _ = write!(text, " --cap-add={}", short(cap));
    }
    if no_new_privs {
        text.push_str(" --security-opt=no-new-privileges");
    }
    if let Some(user) = user {
        let _ = write!(text, " --user={}", shell(&user.to_string()));
    }
    text
}

fn compose(caps: CapSet, user: Option<&User>, no_new_privs: bool) -> String {
    let mut lines = vec!["cap_drop: [ALL]".to_owned()];
    if !caps.is_empty() {
        lines.push(format!("cap_add: [{}]", list(caps, short, ", ")));
    }
    if no_new_privs {
        lines.push("security_opt: [\"no-new-privileges:true\"]".to_owned());
    }
    // A dollar sign begins a variable.
    let text = |user: &User| quoted(&user.to_string().replace('$', "$$"));
    lines.extend(user.map(|user| format!("user: {}", text(user))));
    lines.join("\n")
}

fn kubernetes(settings: &Settings<'_>, user: Option<(u32, Option<u32>)>) -> String {
    let caps = settings.caps;
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [\"ALL\"]\n",
        !settings.locks_containers()
    );
    if !caps.is_empty() {
        let name = |cap| quoted(&short(cap));
        let _ = writeln!(text, "    add: [{}]", list(caps, name, ", "));
    }
    if let Some((uid, gid)) = user {
        if uid != 0 {
            text.push_str("  runAsNonRoot: true\n");
        }
        let _ = writeln!(text, "  runAsUser: {uid}");
        if let Some(gid) = gid {
            let _ = writeln!(text, "  runAsGroup: {gid}");
        }
    }
    text.push_str("  seccompProfile:\n    type: RuntimeDefault");
    text
}

fn oci(settings: &Settings<'_>, user: Option<(u32, Option<u32>)>) -> String {
    let names = list(settings.caps, |cap| quoted(&full(cap)), ", ");
    let ambient = if settings.non_root().is_none() { "" } else { &names };
    let mut text = format!(
        "{{\n  \"process\": {{\n    \"capabilities\": {{\n      \
         \"bounding\": [{names}],\n      \"permitted\": [{names}],\n      \
         \"effective\": [{names}],\n      \"inheritable\": [{ambient}],\n      \
         \"ambient\": [{ambient}]\n    }},\n"
    );
    if let Some((uid, gid)) = user {
        let gid = gid.unwrap_or(uid);
        let _ = writeln!(text, "    \"user\": {{\"uid\": {uid}, \"gid\": {gid}}},");
    }
    text.push_str("    \"noNewPrivileges\": true\n  }\n}");
    text
}

/// The fields are those of docs/json.md.
fn json(settings: &Settings<'_>) -> String {
    let names = |caps| list(caps, |cap| quoted(&cap.to_string()), ",");
    let ambient = if settings.non_root().is_none() { CapSet::empty() } else { settings.caps };
    format!(
        "{{\"schema\":1,\"caps\":[{}],\"ambient\":[{}],\"user\":{},\"no_new_privs\":true}}",
        names(settings.caps),
        names(ambient),
        settings.user.map_or("null".to_owned(), |user| quoted(&user.to_string()))
    )
}

/// systemd.exec(5), "Credentials"; systemd.syntax(7).
fn systemd(settings: &Settings<'_>) -> Result<String> {
    let names = list(settings.caps, full, " ");
    let mut text = format!("[Service]\nCapabilityBoundingSet={names}\n");
    if let Some(user) = settings.user {
        let value = |id: &Id| {
            let value = id.to_string();
            match id {
                // The ids of "nobody has this" in 32 and in 16 bits.
                Id::Number(65535) => Err(Format::Systemd.inexpressible(user, "another id")),
                Id::Name(_) if value.ends_with('\\') => {
                    let needs = "a number, as a backslash at the end would join the next line";
                    Err(Format::Systemd.inexpressible(user, needs))
                }
                // A percent sign begins a specifier.
                _ => Ok(value.replace('%', "%%")),
            }
        };
        if !user.is_root() {
            let _ = writeln!(text, "AmbientCapabilities={names}");
        }
        let _ = writeln!(text, "User={}", value(user.id())?);
        if let Some(group) = user.group() {
            let _ = writeln!(text, "Group={}", value(group)?);
        }
    }
    text.push_str("NoNewPrivileges=yes");
    Ok(text)
}

fn capsh(settings: &Settings<'_>) -> Result<String> {
    let caps = settings.caps;
    let mut text = "capsh".to_owned();
    // What is ambient is lost with the change of the user, and set after it.
    if let Some(user) = settings.user {
        let _ = match (user.id(), user.numbers()) {
            (_, Some((uid, gid))) => {
                let gid = gid.unwrap_or(uid);
                write!(text, " --gid={gid} --groups={gid} --cap-uid={uid}")
            }
            (Id::Name(name), None) if user.group().is_none() => {
                write!(text, " --user={}", shell(name))
            }
            _ => {
                let needs = "a name alone, or UID:GID";
                return Err(Format::Capsh.inexpressible(user, needs));
            }
        };
    }
    let dropped = CapSet::supported() - caps;
    let mut parts: Vec<String> = dropped.caps().map(|cap| format!("!{cap}")).collect();
    if settings.non_root().is_some() {
        parts.extend(caps.caps().map(|cap| format!("^{cap}")));
    }
    let _ = write!(text, " --iab={} --no-new-privs --", shell(&parts.join(",")));
    Ok(text)
}

fn setpriv(settings: &Settings<'_>) -> String {
    let mut set = "-all".to_owned();
    for cap in settings.caps.caps() {
        let _ = write!(set, ",+{}", short(cap).to_lowercase());
    }
    let mut text = "setpriv".to_owned();
    if let Some(user) = settings.user {
        let name = shell(&user.id().to_string());
        let (group, groups) = match (user.id(), user.group()) {
            (_, Some(group)) => (shell(&group.to_string()), "--clear-groups"),
            (Id::Number(uid), None) => (uid.to_string(), "--clear-groups"),
            (Id::Name(_), None) => (format!("\"$(id -g {name})\""), "--init-groups"),
        };
        let _ = write!(text, " --reuid={name} --regid={group} {groups}");
    }
    let raised = if settings.non_root().is_some() { &*set } else { "-all" };
    let _ = write!(text, " --inh-caps={raised} --ambient-caps={raised}");
    let _ = write!(text, " --bounding-set={set} --no-new-privs --");
    text
}

#[cfg(test)]
mod tests;
