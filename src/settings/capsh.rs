//! A command of libcap's capsh(1).

use super::{Format, Id, Settings, SettingsError, Target, User, text::shell_word};
#[cfg(feature = "settings")]
use super::{
    Kind,
    words::{caps, host_user, options},
};
use crate::{CapSet, Iab};

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let mut words = vec!["capsh".to_owned()];
    // A change of the user clears the ambient set, which is set after it.
    if let Some(user) = settings.user.user() {
        words.push(user_options(settings, user)?);
    }
    let dropped = CapSet::supported() - settings.bounding;
    let iab = Iab::new(settings.caps.inheritable, settings.ambient, dropped);
    words.push(format!("--iab={}", shell_word(&iab.to_string())));
    if !settings.securebits.is_empty() {
        words.push(format!("--secbits={:#x}", settings.securebits.bits()));
    }
    if settings.no_new_privs {
        words.push("--no-new-privs".to_owned());
    }
    words.push("--".to_owned());
    Ok(words.join(" "))
}

fn user_options(settings: &Settings, user: &User) -> Result<String, SettingsError> {
    match (user.id(), user.numbers()) {
        (_, Some((uid, gid))) => {
            let gid = gid.unwrap_or(uid);
            let mut groups = vec![gid.to_string()];
            groups.extend(settings.groups.iter().map(Id::to_string));
            let groups = shell_word(&groups.join(","));
            Ok(format!("--gid={gid} --groups={groups} --cap-uid={uid}"))
        }
        (Id::Name(name), None) if user.group().is_none() && settings.groups.is_empty() => {
            Ok(format!("--user={}", shell_word(name)))
        }
        _ => {
            let needs = "a name alone, or UID:GID";
            Err(SettingsError::inexpressible(Format::Capsh, &settings.user, needs))
        }
    }
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    let mut bounding = CapSet::supported();
    let [mut ambient, mut inheritable] = [CapSet::empty(); 2];
    let mut keeps_permitted = true;
    let mut settings = Settings { kind: Kind::Command, ..Settings::default() };
    for (name, value) in options(words, |_| false) {
        match name {
            "--user" | "--uid" | "--cap-uid" => {
                settings.user = host_user(value)?;
                keeps_permitted = name != "--uid";
            }
            "--drop" => bounding -= caps(value)?,
            "--addamb" => ambient |= caps(value)?,
            "--delamb" => ambient -= caps(value)?,
            "--noamb" => ambient = CapSet::empty(),
            "--inh" => inheritable = caps(value)?,
            "--iab" => {
                let iab: Iab = value.parse()?;
                bounding -= iab.dropped();
                ambient = iab.ambient();
                inheritable = iab.inheritable();
            }
            "--secbits" => settings.securebits = value.parse()?,
            "--no-new-privs" => settings.no_new_privs = true,
            "--" | "==" => break,
            _ => {}
        }
    }
    if let Some(at) = words.iter().position(|word| *word == "--") {
        // The shell of capsh(1).
        settings.command =
            ["/bin/bash"].iter().chain(&words[at + 1..]).map(ToString::to_string).collect();
    }
    let mut settings = settings.with_sets(bounding, ambient);
    if keeps_permitted {
        settings = settings.keeping_permitted();
    }
    settings.caps.inheritable |= inheritable;
    Ok(settings)
}
