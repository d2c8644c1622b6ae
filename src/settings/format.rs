//! The tables of formats: those that are written and those that are read.

use super::{
    Engine, EngineKind, Settings, SettingsError, Target, Written, capsh, compose, convert, docker,
    json, kubernetes, oci, podman, quadlet, setcap, setpriv, systemd,
};

/// A format that settings are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Options of `docker run`.
    Docker,
    /// Options of `podman run`.
    Podman,
    /// A service in a Compose file.
    Compose,
    /// A Compose override file, which is given after the file that it changes.
    ComposeOverride,
    /// The `securityContext` of a container in a Kubernetes manifest.
    Kubernetes,
    /// The section of a container in a Quadlet of Podman.
    Quadlet,
    /// Lines of a Containerfile: the label by which an image asks Podman for less.
    Label,
    /// `process` in the `config.json` of an OCI bundle.
    Oci,
    /// A unit of systemd.
    Systemd,
    /// A command that sets the capabilities of a file.
    Setcap,
    /// The beginning of a command of libcap's capsh(1).
    Capsh,
    /// The beginning of a command of setpriv(1).
    Setpriv,
    /// A JSON object, for programs.
    Json,
}

/// The part of settings that a format can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Everything.
    Document,
    /// The five sets of a process.
    Process,
    /// The bounding, inheritable and ambient sets, and the securebits.
    Launcher,
    /// One set.
    Container,
    /// One set, whose members are ambient for a non-root user if they were added.
    Ambient,
    /// A part of the default set, in an image.
    Image,
    /// The permitted set of a file.
    File,
}

impl Class {
    pub(super) fn has_securebits(self) -> bool {
        matches!(self, Class::Document | Class::Launcher)
    }

    /// Returns whether an image names the user, unless the settings do.
    pub(super) fn is_container(self) -> bool {
        matches!(self, Class::Container | Class::Ambient | Class::Image)
    }
}

type Write = fn(&Settings, &Target) -> Result<String, SettingsError>;

/// A row of the table of formats: the name, what it can express, the engine that reads it unless
/// another one is named, and the writer.
struct Row(&'static str, Class, &'static [EngineKind], Write);

impl Format {
    /// All formats.
    pub const ALL: [Format; 13] = [
        Format::Docker,
        Format::Podman,
        Format::Compose,
        Format::ComposeOverride,
        Format::Kubernetes,
        Format::Quadlet,
        Format::Label,
        Format::Oci,
        Format::Systemd,
        Format::Setcap,
        Format::Capsh,
        Format::Setpriv,
        Format::Json,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        use EngineKind::{Containerd, CriO, Crun, Docker, Podman, Runc, Systemd};
        match self {
            Format::Docker =>          Row("docker",           Class::Container, &[Docker],            docker::write),
            Format::Podman =>          Row("podman",           Class::Ambient,   &[Podman],            podman::write),
            Format::Compose =>         Row("compose",          Class::Container, &[Docker],            compose::write),
            Format::ComposeOverride => Row("compose-override", Class::Container, &[Docker],            compose::write_override),
            Format::Kubernetes =>      Row("kubernetes",       Class::Container, &[Containerd, CriO, Podman], kubernetes::write),
            Format::Quadlet =>         Row("quadlet",          Class::Ambient,   &[Podman],            quadlet::write),
            Format::Label =>           Row("label",            Class::Image,     &[Podman],            podman::write_label),
            Format::Oci =>             Row("oci",              Class::Process,   &[Runc, Crun],        oci::write),
            Format::Systemd =>         Row("systemd",          Class::Launcher,  &[Systemd],           systemd::write),
            Format::Setcap =>          Row("setcap",           Class::File,      &[],                  setcap::write),
            Format::Capsh =>           Row("capsh",            Class::Launcher,  &[],                  capsh::write),
            Format::Setpriv =>         Row("setpriv",          Class::Launcher,  &[],                  setpriv::write),
            Format::Json =>            Row("json",             Class::Document,  &[],                  json::write),
        }
    }

    /// Returns the name of the format, such as `kubernetes`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    pub(super) const fn class(self) -> Class {
        self.row().1
    }

    /// Returns the engines that read the format.
    pub const fn engines(self) -> &'static [EngineKind] {
        self.row().2
    }

    /// Returns the engine that is to read the format: that of the target if it does, or else the
    /// newest that is known.
    pub(super) fn engine(self, target: &Target) -> Option<Engine> {
        let kinds = self.engines();
        let wanted = target.engine.clone().filter(|engine| kinds.contains(&engine.kind()));
        wanted.or_else(|| kinds.first().map(|kind| Engine::newest(*kind)))
    }

    /// Returns the format with this name.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Writes the settings for the newest engine, ready to paste and without a newline at the end.
    ///
    /// ```
    /// use rcap::{Cap, settings::{Format, Settings}};
    ///
    /// let settings = Settings::new(Cap::NET_RAW.into()).for_user("nobody".parse()?);
    /// assert_eq!(
    ///     Format::Systemd.write(&settings)?,
    ///     "[Service]\nCapabilityBoundingSet=CAP_NET_RAW\nAmbientCapabilities=CAP_NET_RAW\n\
    ///      User=nobody\nNoNewPrivileges=yes"
    /// );
    /// assert!(Format::Kubernetes.write(&settings).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`export`](Format::export).
    pub fn write(self, settings: &Settings) -> Result<String, SettingsError> {
        Ok(self.export(settings, &Target::default())?.text)
    }

    /// Writes the settings for an engine. A process that results has no set that is larger than
    /// that of `settings`, the same user, and no_new_privs if `settings` have it.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Inexpressible`] for a user whom the format cannot name, and other errors
    /// for settings that the format cannot express without granting more.
    pub fn export(self, settings: &Settings, target: &Target) -> Result<Written, SettingsError> {
        let fit = convert::fit(settings, self, target)?;
        let text = (self.row().3)(&fit.settings, target)?;
        Ok(Written { text, caveats: fit.caveats })
    }
}

/// A format that settings are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputFormat {
    /// A Compose file.
    Compose,
    /// A Kubernetes manifest.
    Kubernetes,
    /// The `config.json` of an OCI bundle.
    Oci,
    /// The output of `docker inspect`.
    Inspect,
    /// The output of a command of rcap's with `--json`.
    Report,
    /// A unit of systemd, or the output of `systemctl cat`.
    Unit,
    /// The output of `systemctl show`.
    Show,
    /// A Quadlet of Podman.
    Quadlet,
    /// The text of `/proc/PID/status`.
    Status,
    /// A set of capabilities, the name of a profile, or a command line of docker, podman, setpriv,
    /// capsh or setcap.
    Words,
}

impl InputFormat {
    /// All formats. Their order has no meaning: a text that has the structure of two is refused.
    pub const ALL: [InputFormat; 10] = [
        InputFormat::Compose,
        InputFormat::Kubernetes,
        InputFormat::Oci,
        InputFormat::Inspect,
        InputFormat::Report,
        InputFormat::Unit,
        InputFormat::Show,
        InputFormat::Quadlet,
        InputFormat::Status,
        InputFormat::Words,
    ];

    #[rustfmt::skip]
    const fn row(self) -> [&'static str; 2] {
        match self {
            InputFormat::Compose =>    ["compose",    "a Compose file"],
            InputFormat::Kubernetes => ["kubernetes", "a Kubernetes manifest"],
            InputFormat::Oci =>        ["oci",        "an OCI config.json"],
            InputFormat::Inspect =>    ["inspect",    "docker inspect output"],
            InputFormat::Report =>     ["report",     "a report of rcap's"],
            InputFormat::Unit =>       ["unit",       "a systemd unit"],
            InputFormat::Show =>       ["show",       "systemctl show output"],
            InputFormat::Quadlet =>    ["quadlet",    "a Quadlet"],
            InputFormat::Status =>     ["status",     "a /proc/PID/status"],
            InputFormat::Words =>      ["words",      "a set or command line"],
        }
    }

    /// Returns the name that stands before a path to name the format, such as `compose`.
    pub const fn name(self) -> &'static str {
        self.row()[0]
    }

    /// Returns what a text of this format is called, such as `a Compose file`.
    pub const fn description(self) -> &'static str {
        self.row()[1]
    }
}
