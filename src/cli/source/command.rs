//! Command lines of docker, podman, setpriv, capsh and setcap.

use serde_json::Value;

use super::{Source, compose::is_no_new_privs, user};
use crate::{
    CapSet, CapState, Iab,
    cli::parse_caps,
    profile::{Profile, combine},
};

/// The settings of a command, or of its options alone where they say whose they are; `None` if it
/// is no command of these.
pub(super) fn parse(text: &str) -> Option<Result<Source, String>> {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    let first = words.first()?;
    // A path alone is that of a file.
    let name = first.rsplit('/').next().filter(|_| words.len() > 1).unwrap_or(first);
    Some(match name {
        "docker" => container(&words, Profile::Docker),
        "podman" => container(&words, Profile::Podman),
        "setpriv" => setpriv(&words[1..]),
        "capsh" => capsh(&words[1..]),
        "setcap" => setcap(&words[1..]),
        _ if first.starts_with("--cap-") => container(&words, Profile::Docker),
        _ => return None,
    })
}

/// Options and their values, behind an = or in the next word, as far as `takes_value` says.
fn options<'a>(
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

fn container(words: &[&str], profile: Profile) -> Result<Source, String> {
    const VALUES: [&str; 5] = ["--cap-add", "--cap-drop", "--user", "-u", "--security-opt"];
    let mut source = Source::default();
    let [mut drop, mut add] = [CapSet::empty(); 2];
    let mut is_privileged = false;
    for (name, value) in options(words, |word| VALUES.contains(&word)) {
        match name {
            "--cap-drop" => drop |= parse_caps(value)?,
            "--cap-add" => add |= parse_caps(value)?,
            "--user" | "-u" => source.user = user(&Value::from(value))?,
            "--security-opt" => source.no_new_privs |= is_no_new_privs(value),
            "--privileged" => is_privileged = value != "false",
            _ => {}
        }
    }
    let all = CapSet::supported();
    source.caps = if is_privileged { all } else { combine(profile.given(), drop, add, all) };
    if profile == Profile::Podman && source.user.is_some() {
        source.ambient = add & source.caps;
    }
    Ok(source)
}

fn setpriv(words: &[&str]) -> Result<Source, String> {
    const VALUES: [&str; 5] =
        ["--reuid", "--ruid", "--bounding-set", "--ambient-caps", "--inh-caps"];
    let mut source = Source { caps: CapSet::supported(), ..Source::default() };
    for (name, value) in options(words, |word| VALUES.contains(&word)) {
        match name {
            "--reuid" => source.user = user(&Value::from(value))?,
            "--bounding-set" => source.caps = change(source.caps, value)?,
            "--ambient-caps" => source.ambient = change(source.ambient, value)?,
            "--no-new-privs" | "--nnp" => source.no_new_privs = true,
            _ => {}
        }
    }
    Ok(source)
}

/// A list such as `-all,+net_raw`.
fn change(set: CapSet, list: &str) -> Result<CapSet, String> {
    list.split(',').try_fold(set, |set, item| match item.split_at_checked(1) {
        Some(("+", name)) => Ok(set | parse_caps(name)?),
        Some(("-", name)) => Ok(set - parse_caps(name)?),
        _ => Err(format!("{item} begins with neither + nor -")),
    })
}

fn capsh(words: &[&str]) -> Result<Source, String> {
    let mut source = Source { caps: CapSet::supported(), ..Source::default() };
    for (name, value) in options(words, |_| false) {
        match name {
            "--user" | "--uid" | "--cap-uid" => source.user = user(&Value::from(value))?,
            "--drop" => source.caps -= parse_caps(value)?,
            "--addamb" => source.ambient |= parse_caps(value)?,
            "--iab" => {
                let iab: Iab = value.parse().map_err(|err| super::super::chain(&err))?;
                source.caps -= iab.dropped();
                source.ambient = iab.ambient();
            }
            "--no-new-privs" => source.no_new_privs = true,
            "--" | "==" => break,
            _ => {}
        }
    }
    Ok(source)
}

fn setcap(words: &[&str]) -> Result<Source, String> {
    let text = words.iter().find(|word| !word.starts_with('-'));
    let text = text.filter(|text| text.contains(['=', '+']));
    let state = text.map_or(Ok(CapState::EMPTY), |text| text.parse::<CapState>());
    state.map(|state| Source::of(state.permitted)).map_err(|err| super::super::chain(&err))
}
