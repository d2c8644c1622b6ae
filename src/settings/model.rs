//! The value that is read and written: how a program is started.

use crate::{
    CapSet, CapState, Error, Securebits,
    exec::{self, Credentials, ExecError, FileFacts, Kernel, Outcome},
    identity::Identity,
};

use super::{Engine, EngineKind, Id, User, engine};

/// How a program is started: the user and the privileges that its process has just before
/// execve(2).
///
/// Readers return it, writers take it, [`exec::execute`] continues from its
/// [`credentials`](Settings::credentials).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The name of the service, container or unit, which no other of the same source has.
    pub name: Option<String>,
    /// The object that the container belongs to, such as `deployment/web`.
    pub place: Option<String>,
    /// The kind of source.
    pub kind: Kind,
    /// The user.
    pub user: Who,
    /// The supplementary groups that are named.
    pub groups: Vec<Id>,
    /// The bounding set.
    pub bounding: CapSet,
    /// The effective, permitted and inheritable sets.
    pub caps: CapState,
    /// The ambient set.
    pub ambient: CapSet,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
    /// The securebits.
    pub securebits: Securebits,
    /// The capabilities that the source names, as opposed to defaults.
    pub named: Named,
    /// The engine whose rules were applied; `None` if no rule depends on one.
    pub engine: Option<Engine>,
    /// The program and its arguments, as far as the source names them.
    pub command: Vec<String>,
    /// Remarks: words without effect, and facts that cannot be known.
    pub notes: Vec<Note>,
}

/// The capabilities that a source names explicitly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named {
    /// Those that are added or kept.
    pub add: CapSet,
    /// Those that are dropped.
    pub drop: CapSet,
}

/// The user who runs a program, as far as the settings tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Who {
    /// Any user: the settings are only a set of capabilities, and their sets are those for root.
    #[default]
    Anyone,
    /// The user that a container's image names, who may be root. The sets are those for root.
    OfImage,
    /// Not root. The image names the user, and the engine refuses one with the number 0.
    NotRoot,
    /// A user whom the settings do not determine, such as a specifier of a template unit. The sets
    /// are those for a non-root user.
    Unknown,
    /// A user of the system that starts the program.
    User(User),
    /// A user of a container's image. A name is never looked up on this system.
    InImage(User),
}

/// The kind of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A set of capabilities.
    #[default]
    Set,
    /// The defaults of a container runtime.
    Profile,
    /// A command line.
    Command,
    /// A service of a Compose file.
    Service,
    /// A container.
    Container,
    /// An init container of a pod.
    InitContainer,
    /// An ephemeral container of a pod.
    EphemeralContainer,
    /// An image of a container.
    Image,
    /// An OCI bundle.
    Bundle,
    /// A unit of systemd.
    Unit,
    /// A process.
    Process,
    /// A report of rcap.
    Report,
}

/// A remark about settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The topic of the remark.
    pub topic: Topic,
    /// The remark, as a sentence.
    pub text: String,
}

/// The topic of a [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// A word of the source has no effect, or not the one that its author expects.
    NoEffect,
    /// A fact that the source does not tell.
    Unknown,
    /// The engine or its version, where another one would do something else.
    Engine,
}

impl Settings {
    /// Returns the settings that grant these capabilities to any user who runs the program.
    pub fn new(caps: CapSet) -> Settings {
        Settings { named: Named { add: caps, ..Named::default() }, ..Settings::default() }
            .with_sets(caps, CapSet::empty())
    }

    /// Returns the same settings for `user`, with the sets that this user gets.
    ///
    /// A set of capabilities alone becomes ambient for a non-root user. With an engine, its rules
    /// apply.
    #[must_use]
    pub fn for_user(self, user: User) -> Settings {
        let is_root = user.is_root();
        let of_image = self.engine.as_ref().is_some_and(Engine::has_images);
        let who = if of_image { Who::InImage(user) } else { Who::User(user) };
        let settings = Settings { user: who, ..self };
        let Settings { bounding, ambient, .. } = settings;
        match &settings.engine {
            Some(engine) => {
                let sets = engine::Grant { bounding, named: settings.named, ambient };
                engine.clone().grant(settings, sets)
            }
            None if is_root => settings.with_sets(bounding, ambient),
            None if settings.kind == Kind::Set || settings.kind == Kind::Report => {
                settings.with_sets(bounding, bounding)
            }
            None if settings.kind == Kind::Command => {
                settings.with_sets(bounding, ambient).keeping_permitted()
            }
            None => settings.with_sets(bounding, ambient),
        }
    }

    /// Returns these settings with the sets that the user gets from a bounding set that has
    /// changed.
    #[cfg(feature = "settings")]
    pub(super) fn for_current_user(self) -> Settings {
        let Settings { bounding, ambient, named, .. } = self;
        match self.engine.clone() {
            Some(engine) => engine.grant(self, engine::Grant { bounding, ambient, named }),
            None if self.kind == Kind::Command => {
                self.with_sets(bounding, ambient).keeping_permitted()
            }
            None => self.with_sets(bounding, ambient),
        }
    }

    /// Returns these settings with a bounding and an ambient set, and with the other sets that
    /// follow from the user: root is permitted the bounding set, others the ambient set.
    pub(super) fn with_sets(self, bounding: CapSet, ambient: CapSet) -> Settings {
        let permitted = if self.user.may_be_root() { bounding | ambient } else { ambient };
        let caps = CapState { effective: permitted, permitted, inheritable: ambient };
        Settings { bounding, caps, ambient, ..self }
    }

    /// Returns these settings for a launcher that keeps its own permitted set until execve(2), so
    /// that no_new_privs does not take away the capabilities of the program's file. Outside of the
    /// bounding set, a file grants nothing.
    pub(super) fn keeping_permitted(self) -> Settings {
        let permitted = self.bounding | self.ambient;
        let caps = CapState { effective: permitted, permitted, ..self.caps };
        Settings { caps, ..self }
    }

    /// Returns the permitted set that the source grants. A set that systemd, setpriv or capsh only
    /// keep for a non-root user is not granted.
    pub(super) fn offered(&self) -> CapSet {
        let is_kept = match &self.engine {
            Some(engine) => engine.kind() == EngineKind::Systemd,
            None => self.kind == Kind::Command,
        };
        let CapState { permitted, .. } = self.caps;
        if is_kept && !self.user.may_be_root() { permitted & self.ambient } else { permitted }
    }

    /// Returns the credentials of a process with these settings and the ids of `identity`, as it
    /// is just before the program is executed.
    pub fn credentials(&self, identity: &Identity) -> Credentials {
        let mut process = Credentials::of_user(identity.uid, identity.gid);
        process.groups.clone_from(&identity.groups);
        process.caps = self.caps;
        process.bounding = self.bounding;
        process.ambient = self.ambient;
        process.securebits = self.securebits;
        process.no_new_privs = self.no_new_privs;
        process
    }

    /// Returns the ids of the user. A name of an image and an unknown user have none, and are not
    /// looked up on this system; they are [`None`].
    ///
    /// # Errors
    ///
    /// [`Error::NoUser`], [`Error::NoGroup`], or that of asking the user database.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        match &self.user {
            Who::Anyone => Ok(Some(Identity { uid: 0, gid: 0, groups: Vec::new() })),
            Who::User(user) => user.look_up().map(Some),
            Who::InImage(user) => Ok(user.numbers().map(|(uid, gid)| Identity {
                uid,
                gid: gid.unwrap_or(0),
                groups: Vec::new(),
            })),
            Who::OfImage | Who::NotRoot | Who::Unknown => Ok(None),
        }
    }

    /// Returns the result of executing a file with these settings. An unknown user counts as root
    /// where it may be root, and as the user 65534 otherwise.
    ///
    /// # Errors
    ///
    /// [`ExecError`] if execve(2) fails for reasons of privilege.
    pub fn execute(&self, file: &FileFacts) -> Result<Outcome, ExecError> {
        let uid = match self.user.user().and_then(User::numbers) {
            Some((uid, _)) => uid,
            None if self.user.may_be_root() => 0,
            None => 65534,
        };
        let process = self.credentials(&Identity { uid, gid: uid, groups: Vec::new() });
        exec::execute(&process, file, Kernel { caps: CapSet::all(), ..Kernel::LATEST })
    }

    /// Returns the permitted set of an ordinary program: one without capabilities of its file.
    pub fn granted(&self) -> CapSet {
        let outcome = self.execute(&FileFacts::default());
        outcome.map(|outcome| outcome.after.caps.permitted).unwrap_or_default()
    }

    /// Returns whether the program has every capability of this kernel.
    pub fn is_privileged(&self) -> bool {
        self.granted().is_superset(CapSet::supported())
    }

    /// Returns the user and the group as numbers, for a format that takes no names.
    pub(super) fn numbers(
        &self,
        format: super::Format,
    ) -> Result<Option<(u32, Option<u32>)>, super::SettingsError> {
        let Some(user) = self.user.user() else { return Ok(None) };
        let needs = "a number, UID or UID:GID";
        let wrong = || super::SettingsError::inexpressible(format, &self.user, needs);
        user.numbers().map(Some).ok_or_else(wrong)
    }

    /// Returns whether these settings are a set of capabilities that was asked for, and not those
    /// of something that is started.
    pub(super) fn is_request(&self) -> bool {
        matches!(self.kind, Kind::Set | Kind::Report)
    }

    /// Adds a remark, once.
    pub(super) fn note(&mut self, topic: Topic, text: impl Into<String>) {
        let note = Note { topic, text: text.into() };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Who {
    /// Returns the user, if one is named.
    pub fn user(&self) -> Option<&User> {
        match self {
            Who::User(user) | Who::InImage(user) => Some(user),
            _ => None,
        }
    }

    /// Returns whether the user is root, or `None` if that is unknown. A name other than `root`
    /// counts as a non-root user.
    pub fn is_root(&self) -> Option<bool> {
        match self {
            Who::User(user) | Who::InImage(user) => Some(user.is_root()),
            Who::NotRoot => Some(false),
            Who::Anyone | Who::OfImage | Who::Unknown => None,
        }
    }

    /// Returns where the user comes from, as JSON has it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Who::Anyone => "anyone",
            Who::OfImage | Who::InImage(_) => "image",
            Who::NotRoot => "not-root",
            Who::Unknown => "unknown",
            Who::User(_) => "system",
        }
    }

    /// Returns a user of this system with this group.
    #[cfg(feature = "settings")]
    pub(super) fn with_group(self, group: &str) -> Result<Who, super::SettingsError> {
        Ok(match self {
            Who::User(user) => Who::User(user.with_group(group.parse()?)),
            other => other,
        })
    }

    /// Returns whether the sets are those for root.
    pub(super) fn may_be_root(&self) -> bool {
        match self {
            Who::Anyone | Who::OfImage => true,
            Who::User(user) | Who::InImage(user) => user.is_root(),
            Who::NotRoot | Who::Unknown => false,
        }
    }

    /// Returns whether the user is certainly not root.
    pub(super) fn is_non_root(&self) -> bool {
        self.is_root() == Some(false)
    }
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Kind; 12] = [
        Kind::Set,
        Kind::Profile,
        Kind::Command,
        Kind::Service,
        Kind::Container,
        Kind::InitContainer,
        Kind::EphemeralContainer,
        Kind::Image,
        Kind::Bundle,
        Kind::Unit,
        Kind::Process,
        Kind::Report,
    ];

    /// Returns the name of the kind, such as `init-container`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Set => "set",
            Kind::Profile => "profile",
            Kind::Command => "command",
            Kind::Service => "service",
            Kind::Container => "container",
            Kind::InitContainer => "init-container",
            Kind::EphemeralContainer => "ephemeral-container",
            Kind::Image => "image",
            Kind::Bundle => "bundle",
            Kind::Unit => "unit",
            Kind::Process => "process",
            Kind::Report => "report",
        }
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Topic {
    /// Returns the topic with this name.
    #[cfg(feature = "settings")]
    pub(super) fn from_name(name: &str) -> Option<Topic> {
        let all = [Topic::NoEffect, Topic::Unknown, Topic::Engine];
        all.into_iter().find(|topic| topic.name() == name)
    }

    /// Returns the name of the topic, such as `no-effect`.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::NoEffect => "no-effect",
            Topic::Unknown => "unknown",
            Topic::Engine => "engine",
        }
    }
}
