//! Settings in words: a profile, a set, or a command line.

use super::{
    Context, EngineKind, Kind, Profile, Settings, SettingsError, User, Who, capsh,
    container::Names, line, setcap, setpriv,
};
use crate::{CapSet, CapState, UnknownCap};

/// Reads words; `None` if the text is not in this form. An error is that of a command.
pub(super) fn read(text: &str, context: &Context<'_>) -> Option<Result<Settings, SettingsError>> {
    /// The length of the longest argument that execve(2) takes.
    const LONGEST: usize = 128 << 10;
    if text.len() >= LONGEST {
        return None;
    }
    if let Some(profile) = Profile::from_name(text) {
        return Some(Ok(of_profile(profile)));
    }
    if let Some(settings) = command(text, context) {
        return Some(settings);
    }
    let set = set(text).ok().or_else(|| {
        let state = text.contains(['=', '+']).then(|| text.parse::<CapState>().ok());
        state.flatten().map(|state| state.permitted)
    });
    set.map(Settings::new).map(Ok)
}

/// Returns why a text is not in words. The error of a list of names is the one that helps, except
/// for a text with `=` or `+`.
pub(super) fn refusal(text: &str) -> SettingsError {
    match text.parse::<CapState>() {
        Err(err) if text.contains(['=', '+']) => err.into(),
        _ => set(text).map_or_else(SettingsError::from, |_| SettingsError::Unrecognized),
    }
}

/// Reads a command, or the options of one alone where they say whose they are.
fn command(text: &str, context: &Context<'_>) -> Option<Result<Settings, SettingsError>> {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    let (first, arguments) = words.split_first()?;
    // A path alone is that of a file.
    let name = first.rsplit('/').next().filter(|_| words.len() > 1).unwrap_or(first);
    Some(match name {
        "docker" => line::read(arguments, EngineKind::Docker, context),
        "podman" => line::read(arguments, EngineKind::Podman, context),
        "setpriv" => setpriv::read(arguments),
        "capsh" => capsh::read(arguments),
        "setcap" => setcap::read(arguments),
        _ if first.starts_with("--cap-") => line::read(&words, EngineKind::Docker, context),
        _ => return None,
    })
}

/// Returns the options and their values, after a `=` or in the next word for options of which
/// `takes_value` is true.
pub(super) fn options<'a>(
    words: &[&'a str],
    takes_value: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut words = words.iter().copied();
    std::iter::from_fn(move || {
        let word = words.next()?;
        Some(match word.split_once('=') {
            Some((name, value)) => (name, value.trim_matches(['"', '\''])),
            None if takes_value(word) => (word, words.next().unwrap_or_default()),
            None => (word, ""),
        })
    })
}

/// Returns the capabilities in a list of names with commas.
pub(super) fn caps(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_names(text, CapSet::supported())
}

/// Returns the capabilities in a list of names with commas, and whether `all` is one of them.
pub(super) fn names(text: &str) -> Result<Names, UnknownCap> {
    let is_all = |name: &str| {
        let name = name
            .get(..4)
            .filter(|cap| cap.eq_ignore_ascii_case("cap_"))
            .map_or(name, |_| &name[4..]);
        name.eq_ignore_ascii_case("all")
    };
    let mut names = Names::default();
    for name in text.split(',').map(str::trim) {
        if is_all(name) {
            names.has_all = true;
        } else {
            names.caps |= caps(name)?;
        }
    }
    Ok(names)
}

/// Returns a set alone: a mask or names.
fn set(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_mask(text).or_else(|_| caps(text))
}

/// Returns the settings of a container without any of its own.
fn of_profile(profile: Profile) -> Settings {
    let engine = match profile {
        Profile::Docker => EngineKind::Docker,
        Profile::Podman => EngineKind::Podman,
        Profile::CriO => EngineKind::CriO,
        Profile::KubernetesBaseline | Profile::KubernetesRestricted => EngineKind::Containerd,
    };
    let mut settings = Settings {
        kind: Kind::Profile,
        user: if profile.is_restricted() { Who::NotRoot } else { Who::OfImage },
        no_new_privs: profile.is_restricted(),
        bounding: profile.given(),
        engine: Some(super::Engine::newest(engine)),
        ..Settings::default()
    };
    settings = settings.for_current_user();
    settings
}

/// Returns a user by number or name; `None` for an empty text.
pub(super) fn user(text: &str) -> Result<Option<User>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let user = text.parse().map_err(|err| SettingsError::Parse(err).within("user"))?;
    Ok(Some(user))
}

/// Returns a user of this system; anyone for an empty text.
pub(super) fn host_user(text: &str) -> Result<Who, SettingsError> {
    Ok(user(text)?.map_or(Who::Anyone, Who::User))
}

/// Returns the user with this group, unless the text is empty.
pub(super) fn with_group(user: Option<User>, group: &str) -> Result<Option<User>, SettingsError> {
    if group.is_empty() {
        return Ok(user);
    }
    let group = group.parse().map_err(|err| SettingsError::Parse(err).within("group"))?;
    Ok(user.map(|user| user.with_group(group)))
}
