//! The tables of formats: those that are written and those that are read.

use super::{
    Settings, SettingsError, capsh, compose, docker, engine, json, kubernetes, oci, podman, setcap,
    setpriv, systemd,
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
    /// The `securityContext` of a container in a Kubernetes manifest.
    Kubernetes,
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

/// A row of the table of formats.
struct Row {
    name: &'static str,
    write: fn(&Settings) -> Result<String, SettingsError>,
    caveat: fn(&Settings) -> Option<&'static str>,
}

impl Format {
    /// All formats.
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

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Format::Docker =>     Row { name: "docker",     write: docker::write,     caveat: engine::caveat },
            Format::Podman =>     Row { name: "podman",     write: podman::write,     caveat: no_caveat },
            Format::Compose =>    Row { name: "compose",    write: compose::write,    caveat: engine::caveat },
            Format::Kubernetes => Row { name: "kubernetes", write: kubernetes::write, caveat: engine::caveat },
            Format::Oci =>        Row { name: "oci",        write: oci::write,        caveat: no_caveat },
            Format::Systemd =>    Row { name: "systemd",    write: systemd::write,    caveat: no_caveat },
            Format::Setcap =>     Row { name: "setcap",     write: setcap::write,     caveat: setcap::caveat },
            Format::Capsh =>      Row { name: "capsh",      write: capsh::write,      caveat: no_caveat },
            Format::Setpriv =>    Row { name: "setpriv",    write: setpriv::write,    caveat: no_caveat },
            Format::Json =>       Row { name: "json",       write: json::write,       caveat: no_caveat },
        }
    }

    /// Returns the name of the format, such as `kubernetes`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the format with this name.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Writes the settings, ready to paste and without a newline at the end.
    ///
    /// ```
    /// use rcap::{Cap, settings::{Format, Settings}};
    ///
    /// let settings = Settings::new(Cap::NET_RAW.into()).for_user("nobody".parse().ok());
    /// assert_eq!(
    ///     Format::Systemd.write(&settings)?,
    ///     "[Service]\nCapabilityBoundingSet=CAP_NET_RAW\nAmbientCapabilities=CAP_NET_RAW\n\
    ///      User=nobody\nNoNewPrivileges=yes"
    /// );
    /// assert!(Format::Kubernetes.write(&settings).is_err());
    /// # Ok::<(), rcap::settings::SettingsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingsError::Inexpressible`] for a user whom the format cannot name.
    pub fn write(self, settings: &Settings) -> Result<String, SettingsError> {
        (self.row().write)(settings)
    }

    /// Returns, as a sentence for people, the part of the settings that does not hold in this
    /// format as one would expect.
    pub fn caveat(self, settings: &Settings) -> Option<&'static str> {
        (self.row().caveat)(settings)
    }
}

fn no_caveat(_: &Settings) -> Option<&'static str> {
    None
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
    /// A unit of systemd.
    Unit,
    /// The text of `/proc/PID/status`.
    Status,
    /// A set of capabilities, the name of a profile, or a command line of docker, podman, setpriv,
    /// capsh or setcap.
    Words,
}

impl InputFormat {
    /// All formats. Their order has no meaning: a text that has the structure of two is refused.
    pub const ALL: [InputFormat; 8] = [
        InputFormat::Compose,
        InputFormat::Kubernetes,
        InputFormat::Oci,
        InputFormat::Inspect,
        InputFormat::Report,
        InputFormat::Unit,
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
