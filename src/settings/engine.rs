//! The engines whose rules decide what a source grants, and their versions.

use std::{fmt, str::FromStr};

use super::{Named, Settings, SettingsError, Topic};
use crate::{CapSet, CapState};

/// A program that starts others with privileges that settings describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, for Kubernetes.
    Containerd,
    /// CRI-O, for Kubernetes and OpenShift.
    CriO,
    /// systemd.
    Systemd,
    /// runc.
    Runc,
    /// crun.
    Crun,
}

/// An engine of a version.
///
/// ```
/// use rcap::settings::Engine;
///
/// let engine: Engine = "docker@20.10".parse()?;
/// assert_eq!(engine.to_string(), "docker@20.10");
/// # Ok::<(), rcap::settings::SettingsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    kind: EngineKind,
    version: Box<str>,
    /// The numbers of the version. One that is not stated is the highest: `25` is the last of its
    /// releases.
    numbers: [u32; 3],
}

/// The capabilities that settings grant, before an engine makes the sets of a process of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grant {
    pub(super) bounding: CapSet,
    pub(super) ambient: CapSet,
    pub(super) named: Named,
}

impl EngineKind {
    /// All engines.
    pub const ALL: [EngineKind; 7] = [
        EngineKind::Docker,
        EngineKind::Podman,
        EngineKind::Containerd,
        EngineKind::CriO,
        EngineKind::Systemd,
        EngineKind::Runc,
        EngineKind::Crun,
    ];

    /// Returns the name, and the newest version whose behavior is known.
    const fn row(self) -> [&'static str; 2] {
        match self {
            EngineKind::Docker => ["docker", "26.1"],
            EngineKind::Podman => ["podman", "5.4"],
            EngineKind::Containerd => ["containerd", "2.0"],
            EngineKind::CriO => ["cri-o", "1.30"],
            EngineKind::Systemd => ["systemd", "257"],
            EngineKind::Runc => ["runc", "1.1"],
            EngineKind::Crun => ["crun", "1.21"],
        }
    }

    /// Returns the name, such as `docker`.
    pub const fn name(self) -> &'static str {
        self.row()[0]
    }
}

impl Engine {
    /// Returns the newest version whose behavior is known.
    pub fn newest(kind: EngineKind) -> Engine {
        let version = kind.row()[1];
        Engine { kind, version: version.into(), numbers: numbers(version).unwrap_or([u32::MAX; 3]) }
    }

    /// Returns which engine it is.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Returns whether the version is this one or later.
    pub fn is_at_least(&self, version: [u32; 3]) -> bool {
        self.numbers >= version
    }

    /// Returns whether the engine starts containers from images, which name users.
    pub fn has_images(&self) -> bool {
        matches!(
            self.kind,
            EngineKind::Docker | EngineKind::Podman | EngineKind::Containerd | EngineKind::CriO
        )
    }

    /// Returns the capabilities that the engine has names for. It refuses other names, and grants no
    /// other capability to a privileged container.
    ///
    /// Docker before 23.0 stops at `CAP_AUDIT_READ` (github.com/moby/moby, tag v20.10.24,
    /// oci/caps/utils.go), and so does the library of Podman before 3.1
    /// (github.com/syndtr/gocapability, by Podman's go.mod).
    pub(super) fn known(&self) -> CapSet {
        let is_new = match self.kind {
            EngineKind::Docker => self.is_at_least([23, 0, 0]),
            EngineKind::Podman => self.is_at_least([3, 1, 0]),
            _ => true,
        };
        if is_new { CapSet::all() } else { CapSet::first(38) }
    }

    /// Returns whether a non-root user has the permitted set until execve(2), which is then no
    /// gain that no_new_privs would prevent. (github.com/moby/moby, commit 3aef732e61)
    pub(super) fn permits_users(&self) -> bool {
        match self.kind {
            EngineKind::Docker => self.is_at_least([25, 0, 0]),
            EngineKind::Containerd | EngineKind::CriO => true,
            _ => false,
        }
    }

    /// Returns the settings with the sets that this engine gives the user of a process.
    pub(super) fn grant(self, settings: Settings, grant: Grant) -> Settings {
        let Grant { bounding, ambient, named } = grant;
        let may_be_root = settings.user.may_be_root();
        let is_named = settings.user.user().is_some_and(|user| user.numbers().is_none());
        let mut settings = match self.kind {
            EngineKind::Docker | EngineKind::Containerd | EngineKind::CriO => {
                let has_permitted = may_be_root || self.permits_users();
                let permitted = if has_permitted { bounding } else { CapSet::empty() };
                let inheritable = CapSet::empty();
                let caps = CapState { effective: permitted, permitted, inheritable };
                Settings { bounding, caps, ambient: CapSet::empty(), ..settings }
            }
            EngineKind::Podman => {
                let ambient = if may_be_root { CapSet::empty() } else { named.add & bounding };
                settings.with_sets(bounding, ambient)
            }
            // Capabilities outside of the bounding set are lost.
            EngineKind::Systemd => {
                let settings = settings.with_sets(bounding, ambient & bounding);
                if ambient.is_empty() { settings } else { settings.keeping_permitted() }
            }
            EngineKind::Runc | EngineKind::Crun => settings.with_sets(bounding, ambient),
        };
        settings.named = named;
        if self.kind == EngineKind::Docker && settings.user.is_non_root() && !bounding.is_empty() {
            settings.note(
                Topic::Engine,
                "Docker up to 24 gives a non-root user nothing before execve, later versions the \
                 permitted set: with no-new-privileges, capabilities of the program's file need \
                 Docker 25",
            );
        }
        if is_named && self.has_images() {
            settings.note(
                Topic::Unknown,
                "the image alone knows the number of the user; a name other than root is taken \
                 for a non-root user",
            );
        }
        settings.engine = Some(self);
        settings
    }
}

/// Returns the numbers of a version such as `20.10.24`, at most three.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut numbers = [u32::MAX; 3];
    let parts: Vec<&str> = version.split('.').collect();
    for (number, part) in numbers.iter_mut().zip(&parts) {
        let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_digits)?;
    }
    (parts.len() <= 3).then_some(numbers)
}

impl FromStr for Engine {
    type Err = SettingsError;

    /// Parses `NAME` or `NAME@VERSION`.
    fn from_str(text: &str) -> Result<Engine, SettingsError> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let name = if name == "crio" { EngineKind::CriO.name() } else { name };
        let kind = EngineKind::ALL.into_iter().find(|kind| kind.name() == name);
        let unknown = || SettingsError::UnknownEngine { text: text.into() };
        let kind = kind.ok_or_else(unknown)?;
        let Some(version) = version else { return Ok(Engine::newest(kind)) };
        let numbers = numbers(version).ok_or_else(unknown)?;
        Ok(Engine { kind, version: version.into(), numbers })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.kind.name(), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let knows = |text: &str| text.parse::<Engine>().unwrap().known().contains(crate::Cap::BPF);
        for old in ["docker@20.10", "docker@19.03", "podman@3.0"] {
            assert!(!knows(old), "{old}");
        }
        for new in ["docker", "docker@23.0", "podman@3.1", "podman@4", "systemd@252", "runc"] {
            assert!(knows(new), "{new}");
        }
    }

    #[test]
    fn versions() {
        let engine = |text: &str| text.parse::<Engine>();
        for text in ["docker@20.10.24", "podman@5", "systemd@252", "crun@1.8"] {
            assert_eq!(engine(text).unwrap().to_string(), text);
        }
        #[rustfmt::skip]
        let rows = [
            ("docker",       true),
            ("docker@24",    false),
            ("docker@24.9",  false),
            ("docker@25",    true),
            ("docker@25.0",  true),
            ("docker@100",   true),
            ("containerd",   true),
            ("crio@1.24",    true),
        ];
        for (text, permits) in rows {
            assert_eq!(engine(text).unwrap().permits_users(), permits, "{text}");
        }
        for text in
            ["", "dokcer", "docker@", "docker@x", "docker@1.2.3.4", "docker@+1", "docker@1."]
        {
            assert!(engine(text).is_err(), "{text}");
        }
    }
}
