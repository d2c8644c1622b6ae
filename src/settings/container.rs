//! The rules that container engines share.

#[cfg(feature = "settings")]
use super::{
    Context, Engine, EngineKind, Kind, Named, Note, Who,
    engine::Grant,
    profile::{Profile, combine},
};
use super::{
    Format, Id, Settings, SettingsError, User,
    text::{bare, shell_word},
};
use crate::CapSet;

/// The default set of Podman.
pub(super) const PODMAN: CapSet = super::Profile::Podman.given();

/// Refuses ids above the largest that container engines take. (github.com/moby/sys, user, `maxID`)
pub(super) fn check_ids(settings: &Settings, format: Format) -> Result<(), SettingsError> {
    let Some(user) = settings.user.user() else { return Ok(()) };
    let is_taken = |id: &Id| !matches!(id, Id::Number(id) if i32::try_from(*id).is_err());
    if is_taken(user.id()) && user.group().is_none_or(is_taken) {
        return Ok(());
    }
    Err(SettingsError::inexpressible(format, &settings.user, "ids up to 2147483647"))
}

/// The changes of a default set that result in a set.
pub(super) struct Changes {
    /// `None` is all of them.
    pub(super) drop: Option<CapSet>,
    pub(super) add: CapSet,
}

impl Changes {
    /// Returns those for an engine whose default set grants nothing.
    pub(super) fn only(add: CapSet) -> Changes {
        Changes { drop: None, add }
    }

    /// Returns those for the engine of the settings, which makes added capabilities ambient.
    /// Capabilities that are only bounding come from the default set, and all others are dropped by
    /// name, because the default set can be configured.
    pub(super) fn with_ambient(settings: &Settings) -> Changes {
        let add = settings.named.add & settings.bounding;
        if settings.bounding == add {
            return Changes::only(add);
        }
        let known = settings.engine.as_ref().map_or(CapSet::all(), super::Engine::known);
        Changes { drop: Some((CapSet::NAMED & known) - settings.bounding), add }
    }
}

/// Writes the options of a command that starts a container.
pub(super) fn write_options(
    settings: &Settings,
    format: Format,
    changes: &Changes,
) -> Result<String, SettingsError> {
    check_ids(settings, format)?;
    let mut options = match changes.drop {
        None => vec!["--cap-drop=ALL".to_owned()],
        Some(drop) => drop.iter().map(|cap| format!("--cap-drop={}", bare(cap))).collect(),
    };
    options.extend(changes.add.iter().map(|cap| format!("--cap-add={}", bare(cap))));
    if settings.no_new_privs {
        options.push("--security-opt=no-new-privileges".to_owned());
    }
    options.extend(user(settings).map(|user| format!("--user={}", shell_word(&user.to_string()))));
    let group = |group: &Id| format!("--group-add={}", shell_word(&group.to_string()));
    options.extend(settings.groups.iter().map(group));
    Ok(options.join(" "))
}

/// Returns the user to write.
pub(super) fn user(settings: &Settings) -> Option<&User> {
    settings.user.user()
}

/// Capabilities in a list that may have the word `all`.
#[cfg(feature = "settings")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) caps: CapSet,
    pub(super) has_all: bool,
}

#[cfg(feature = "settings")]
impl Names {
    fn set(self) -> CapSet {
        if self.has_all { CapSet::supported() } else { self.caps }
    }
}

/// The settings of a container as an engine takes them.
#[cfg(feature = "settings")]
#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) drop: Names,
    pub(super) add: Names,
    pub(super) is_privileged: bool,
    pub(super) user: Option<User>,
    pub(super) groups: Vec<Id>,
    pub(super) no_new_privs: bool,
    pub(super) command: Vec<String>,
    pub(super) notes: Vec<Note>,
}

#[cfg(feature = "settings")]
impl Container {
    /// Returns what the program gets by the rules of the engine.
    pub(super) fn settings(self, kind: Kind, engine: Engine) -> Result<Settings, SettingsError> {
        let known = engine.known();
        if let Some(cap) = ((self.add.caps | self.drop.caps) - known).iter().next() {
            return Err(SettingsError::UnknownToEngine { cap, engine });
        }
        let bounding = self.bounding(&engine)?;
        let named = Named { add: self.add.set() & known, drop: self.drop.set() & known };
        let settings = Settings {
            kind,
            user: self.user.map_or(Who::OfImage, Who::InImage),
            groups: self.groups,
            no_new_privs: self.no_new_privs,
            command: self.command,
            notes: self.notes,
            ..Settings::default()
        };
        Ok(engine.grant(settings, Grant { bounding, named, ambient: CapSet::empty() }))
    }

    fn bounding(&self, engine: &Engine) -> Result<CapSet, SettingsError> {
        let all = CapSet::supported() & engine.known();
        let Container { add, drop, .. } = *self;
        let kind = engine.kind();
        Ok(match kind {
            _ if self.is_privileged => all,
            // (containerd, internal/cri/opts/spec_opts.go, WithCapabilities; CRI-O,
            // server/container_create.go, setupCapabilities)
            EngineKind::Containerd | EngineKind::CriO => {
                let profile =
                    if kind == EngineKind::CriO { Profile::CriO } else { Profile::Docker };
                let base = match (add.has_all, drop.has_all) {
                    (_, true) => CapSet::empty(),
                    (true, false) => all,
                    (false, false) => profile.given(),
                };
                (base | add.caps) - drop.caps
            }
            // (github.com/containers/common, pkg/capabilities, MergeCapabilities)
            EngineKind::Podman => {
                let both = if add.has_all { CapSet::empty() } else { add.caps & drop.caps };
                if add.has_all && drop.has_all {
                    return Err(SettingsError::value("all", "is both added and dropped"));
                }
                if let Some(cap) = both.iter().next() {
                    return Err(SettingsError::value(cap, "is both added and dropped"));
                }
                combine(Profile::Podman.given(), drop.set() & all, add.set() & all, all)
            }
            _ => combine(Profile::Docker.given(), drop.set() & all, add.set() & all, all),
        })
    }
}

/// Returns whether these options set no_new_privs: the last one decides.
#[cfg(feature = "settings")]
pub(super) fn sets_no_new_privs<'a>(
    options: impl Iterator<Item = &'a str>,
) -> Result<bool, SettingsError> {
    let last = options.filter_map(no_new_privs).last();
    last.unwrap_or(Ok(false))
}

/// Returns whether a value of `--security-opt` sets no_new_privs; `None` if it is about something
/// else.
#[cfg(feature = "settings")]
pub(super) fn no_new_privs(option: &str) -> Option<Result<bool, SettingsError>> {
    let (name, value) = option.split_once([':', '=']).unwrap_or((option, "true"));
    let wrong = || SettingsError::value(option, "is neither true nor false");
    (name == "no-new-privileges").then(|| parse_bool(value).ok_or_else(wrong))
}

/// Returns a boolean as engines parse one. (strconv.ParseBool of Go)
#[cfg(feature = "settings")]
pub(crate) fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(feature = "settings")]
impl Context<'_> {
    /// Returns the engine that reads a source: the one that was named, if it reads such a source,
    /// or else the newest of the first kind.
    pub(super) fn engine(&self, kinds: &[EngineKind]) -> Engine {
        let named = self.engines.iter().find(|engine| kinds.contains(&engine.kind()));
        named.cloned().unwrap_or_else(|| Engine::newest(kinds[0]))
    }
}
