//! The parsers of values, such as a set of capabilities or a duration.

use std::{error::Error, fmt, time::Duration};

use clap_complete::Shell;

use rcap::{
    CapSet, UnknownCap,
    scan::{Rule, policy},
    settings::{Format, Id, Profile},
    tools::meant,
    trace::Backend,
};

/// A value that its option does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvalidValue {
    /// An unknown name, and the name that may have been meant.
    Unknown { names: Vec<&'static str>, meant: Option<&'static str> },
    /// A value that does not match this description.
    Grammar(&'static str),
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidValue::Unknown { meant: Some(name), .. } => {
                write!(f, "unknown name; did you mean {name}?")
            }
            InvalidValue::Unknown { names, meant: None } => {
                write!(f, "unknown name, not one of {}", names.join(", "))
            }
            InvalidValue::Grammar(expected) => write!(f, "expected {expected}"),
        }
    }
}

impl Error for InvalidValue {}

/// Other common names of formats.
const FORMATS: [(&str, &str); 14] = [
    ("k8s", "kubernetes"),
    ("kube", "kubernetes"),
    ("pod", "kubernetes"),
    ("yaml", "compose"),
    ("docker-compose", "compose"),
    ("docker compose", "compose"),
    ("runc", "oci"),
    ("crun", "oci"),
    ("config.json", "oci"),
    ("unit", "systemd"),
    ("service", "systemd"),
    ("file", "setcap"),
    ("shell", "setpriv"),
    ("libcap", "capsh"),
];

/// Finds a name in a list, or the name that may have been meant.
fn named<T: Copy>(
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    aliases: &[(&str, &'static str)],
) -> Result<T, InvalidValue> {
    let found = all.iter().copied().find(|one| name(*one) == text);
    found.ok_or_else(|| {
        let names: Vec<&'static str> = all.iter().map(|one| name(*one)).collect();
        let meant = meant(text, names.iter().copied(), aliases);
        InvalidValue::Unknown { names, meant }
    })
}

/// Parses names of capabilities. `all` stands for those of the running kernel.
pub(crate) fn caps(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_names(text, CapSet::supported())
}

/// An argument of `rcap explain`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Explained {
    Caps(CapSet),
    /// A finding of `rcap scan` or `rcap check`.
    Rule(&'static Rule),
}

pub(super) fn explained(text: &str) -> Result<Explained, UnknownCap> {
    let of_policy = || policy::RULES.iter().find(|rule| rule.id == text);
    match Rule::by_id(text).or_else(of_policy) {
        Some(rule) => Ok(Explained::Rule(rule)),
        None => caps(text).map(Explained::Caps),
    }
}

/// Parses a mask or names of capabilities.
pub(super) fn caps_or_mask(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_mask(text).or_else(|_| caps(text))
}

pub(super) fn format(text: &str) -> Result<Format, InvalidValue> {
    named(text, &Format::ALL, Format::name, &FORMATS)
}

pub(super) fn backend(text: &str) -> Result<Backend, InvalidValue> {
    named(text, &Backend::ALL, Backend::name, &[])
}

/// The value of `--profile`, where `none` means no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProfileName(pub(crate) Option<Profile>);

pub(super) fn profile(text: &str) -> Result<ProfileName, InvalidValue> {
    let all: Vec<Option<Profile>> = Profile::ALL.into_iter().map(Some).chain([None]).collect();
    let name = |profile: Option<Profile>| profile.map_or("none", Profile::name);
    named(text, &all, name, &[("k8s", "kubernetes-baseline")]).map(ProfileName)
}

pub(super) fn shell(text: &str) -> Result<Shell, InvalidValue> {
    let name = |shell| match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        _ => "fish",
    };
    named(text, &[Shell::Bash, Shell::Zsh, Shell::Fish], name, &[])
}

/// The value of `--groups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups(pub(crate) Vec<Id>);

pub(super) fn groups(text: &str) -> Result<Groups, rcap::ParseError> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::parse).collect::<Result<_, _>>().map(Groups)
}

/// Parses the name and the value of an environment variable.
pub(super) fn variable(text: &str) -> Result<(String, String), InvalidValue> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or(InvalidValue::Grammar("NAME=VALUE"))
}

/// Parses `90`, `90s`, `5m`, `2h` or `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let wrong = InvalidValue::Grammar("a number with ms, s, m or h, such as 90s");
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong),
    };
    let number: u64 = number.parse().map_err(|_| wrong)?;
    let too_long = InvalidValue::Grammar("at most 18446744073709551615ms");
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ok = |milliseconds| Ok(Duration::from_millis(milliseconds));
        assert_eq!(duration("90"), ok(90_000));
        assert_eq!(duration("90s"), ok(90_000));
        assert_eq!(duration("5m"), ok(300_000));
        assert_eq!(duration("2h"), ok(7_200_000));
        assert_eq!(duration("250ms"), ok(250));
        for text in ["", "s", "-1s", "1.5s", "5d", "99999999999999999999", "18446744073709551615h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_that_were_meant() {
        #[rustfmt::skip]
        let rows = [
            ("k8s",            Some("kubernetes")),
            ("docker-compose", Some("compose")),
            ("Kubernetes",     Some("kubernetes")),
            ("kubernets",      Some("kubernetes")),
            ("dokcer",         Some("docker")),
            ("system",         Some("systemd")),
            ("xyz",            None),
            ("",               None),
        ];
        for (text, want) in rows {
            let InvalidValue::Unknown { meant, .. } = format(text).unwrap_err() else { panic!() };
            assert_eq!(meant, want, "{text}");
        }
    }

    #[test]
    fn profiles() {
        assert_eq!(profile("none"), Ok(ProfileName(None)));
        assert_eq!(profile("podman"), Ok(ProfileName(Some(Profile::Podman))));
        let err = profile("kubernetes-restrict").unwrap_err();
        assert_eq!(err.to_string(), "unknown name; did you mean kubernetes-restricted?");
        let err = profile("x").unwrap_err().to_string();
        assert!(err.starts_with("unknown name, not one of docker, podman, "), "{err}");
        assert!(err.ends_with(", none"), "{err}");
    }

    #[test]
    fn variables() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b=c"), pair("A", "b=c"));
        assert_eq!(variable("A="), pair("A", ""));
        assert!(variable("A").is_err() && variable("=b").is_err());
    }
}
