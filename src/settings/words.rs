//! Settings in words: a profile, a set, or a command line.

use super::{Profile, Settings, SettingsError, User, capsh, docker, podman, setcap, setpriv};
use crate::{CapSet, CapState, UnknownCap};

/// Reads words; `None` if the text is not in this form. An error is that of a command.
pub(super) fn read(text: &str) -> Option<Result<Settings, SettingsError>> {
    /// The length of the longest argument that execve(2) takes.
    const LONGEST: usize = 128 << 10;
    if text.len() >= LONGEST {
        return None;
    }
    if let Some(profile) = Profile::from_name(text) {
        return Some(Ok(Settings::new(profile.given())));
    }
    if let Some(settings) = command(text) {
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
fn command(text: &str) -> Option<Result<Settings, SettingsError>> {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    let (first, arguments) = words.split_first()?;
    // A path alone is that of a file.
    let name = first.rsplit('/').next().filter(|_| words.len() > 1).unwrap_or(first);
    Some(match name {
        "docker" => docker::read(arguments),
        "podman" => podman::read(arguments),
        "setpriv" => setpriv::read(arguments),
        "capsh" => capsh::read(arguments),
        "setcap" => setcap::read(arguments),
        _ if first.starts_with("--cap-") => docker::read(&words),
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

/// Returns a set alone: a mask or names.
fn set(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_mask(text).or_else(|_| caps(text))
}

/// Returns a user by number or name; `None` for root and for an empty text.
pub(super) fn user(text: &str) -> Result<Option<User>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let user: User = text.parse().map_err(|err| SettingsError::Parse(err).within("user"))?;
    Ok(Some(user).filter(|user| !user.is_root()))
}

/// Returns the user with this group, unless the text is empty.
pub(super) fn with_group(user: Option<User>, group: &str) -> Result<Option<User>, SettingsError> {
    if group.is_empty() {
        return Ok(user);
    }
    let group = group.parse().map_err(|err| SettingsError::Parse(err).within("group"))?;
    Ok(user.map(|user| user.with_group(group)))
}
