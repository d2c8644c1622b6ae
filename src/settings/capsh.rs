//! A command of libcap's capsh(1).

#[cfg(feature = "settings")]
use super::words::{caps, options, user};
use super::{Format, Id, Settings, SettingsError, User, text::shell_word};
use crate::CapSet;
#[cfg(feature = "settings")]
use crate::Iab;

pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    let mut words = vec!["capsh".to_owned()];
    // A change of the user clears the ambient set, which is set after it.
    if let Some(user) = &settings.user {
        words.push(user_options(user)?);
    }
    let dropped = CapSet::supported() - settings.caps;
    let mut parts: Vec<String> = dropped.iter().map(|cap| format!("!{cap}")).collect();
    if settings.non_root().is_some() {
        parts.extend(settings.caps.iter().map(|cap| format!("^{cap}")));
    }
    words.push(format!("--iab={}", shell_word(&parts.join(","))));
    words.push("--no-new-privs --".to_owned());
    Ok(words.join(" "))
}

fn user_options(user: &User) -> Result<String, SettingsError> {
    match (user.id(), user.numbers()) {
        (_, Some((uid, gid))) => {
            let gid = gid.unwrap_or(uid);
            Ok(format!("--gid={gid} --groups={gid} --cap-uid={uid}"))
        }
        (Id::Name(name), None) if user.group().is_none() => {
            Ok(format!("--user={}", shell_word(name)))
        }
        _ => {
            let needs = "a name alone, or UID:GID";
            Err(SettingsError::inexpressible(Format::Capsh, user, needs))
        }
    }
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    let mut settings = Settings::new(CapSet::supported());
    for (name, value) in options(words, |_| false) {
        match name {
            "--user" | "--uid" | "--cap-uid" => settings.user = user(value)?,
            "--drop" => settings.caps -= caps(value)?,
            "--addamb" => settings.ambient |= caps(value)?,
            "--iab" => {
                let iab: Iab = value.parse()?;
                settings.caps -= iab.dropped();
                settings.ambient = iab.ambient();
            }
            "--no-new-privs" => settings.no_new_privs = true,
            "--" | "==" => break,
            _ => {}
        }
    }
    Ok(settings)
}
