//! The rules that container engines share.

use super::{
    Format, Id, Settings, SettingsError,
    text::{bare, shell_word},
};
#[cfg(feature = "settings")]
use super::{
    User,
    profile::{Profile, combine},
    words::{caps, options, user},
};
#[cfg(feature = "settings")]
use crate::CapSet;

/// Returns whether the capabilities of a container without an ambient set have to come from a
/// file.
fn is_by_file(settings: &Settings) -> bool {
    !settings.caps.is_empty() && settings.non_root().is_some()
}

/// Returns whether no_new_privs is set in containers without an ambient set. It is left out where
/// it would take away the capabilities of a file, unless it was asked for.
pub(super) fn sets_no_new_privs(settings: &Settings) -> bool {
    settings.no_new_privs || !is_by_file(settings)
}

pub(super) fn caveat(settings: &Settings) -> Option<&'static str> {
    is_by_file(settings).then_some(if settings.no_new_privs {
        "another user than root gets no capabilities there: no-new-privs takes away what the \
         program's file has"
    } else {
        "another user than root gets there what its program's file has, and nothing else: give \
         the file these too (rcap setcap). No-new-privs, which would take that away, is left out"
    })
}

/// Refuses ids above the largest that container engines take. (github.com/moby/sys, user, `maxID`)
pub(super) fn check_ids(settings: &Settings, format: Format) -> Result<(), SettingsError> {
    let Some(user) = &settings.user else { return Ok(()) };
    let is_taken = |id: &Id| !matches!(id, Id::Number(id) if i32::try_from(*id).is_err());
    if is_taken(user.id()) && user.group().is_none_or(is_taken) {
        return Ok(());
    }
    Err(SettingsError::inexpressible(format, user, "ids up to 2147483647"))
}

/// Writes the options of a command that starts a container.
pub(super) fn write_options(
    settings: &Settings,
    format: Format,
    no_new_privs: bool,
) -> Result<String, SettingsError> {
    check_ids(settings, format)?;
    let mut options = vec!["--cap-drop=ALL".to_owned()];
    options.extend(settings.caps.iter().map(|cap| format!("--cap-add={}", bare(cap))));
    if no_new_privs {
        options.push("--security-opt=no-new-privileges".to_owned());
    }
    let user = settings.user.as_ref();
    options.extend(user.map(|user| format!("--user={}", shell_word(&user.to_string()))));
    Ok(options.join(" "))
}

/// The settings of a container as an engine takes them.
#[cfg(feature = "settings")]
#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) drop: CapSet,
    pub(super) add: CapSet,
    pub(super) is_privileged: bool,
    pub(super) user: Option<User>,
    pub(super) no_new_privs: bool,
}

#[cfg(feature = "settings")]
impl Container {
    /// Reads the options of a command that starts a container.
    pub(super) fn read_options(words: &[&str]) -> Result<Container, SettingsError> {
        const VALUES: [&str; 5] = ["--cap-add", "--cap-drop", "--user", "-u", "--security-opt"];
        let mut container = Container::default();
        for (name, value) in options(words, |word| VALUES.contains(&word)) {
            match name {
                "--cap-drop" => container.drop |= caps(value)?,
                "--cap-add" => container.add |= caps(value)?,
                "--user" | "-u" => container.user = user(value)?,
                "--security-opt" => container.no_new_privs |= is_no_new_privs(value),
                "--privileged" => container.is_privileged = value != "false",
                _ => {}
            }
        }
        Ok(container)
    }

    /// Returns what the program gets where `profile` applies to a container without settings.
    pub(super) fn settings(self, profile: Profile) -> Settings {
        let all = CapSet::supported();
        let combined = combine(profile.given(), self.drop, self.add, all);
        Settings {
            caps: if self.is_privileged { all } else { combined },
            user: self.user,
            no_new_privs: self.no_new_privs,
            ..Settings::default()
        }
    }
}

/// Returns whether a value of `--security-opt` sets no_new_privs.
#[cfg(feature = "settings")]
pub(super) fn is_no_new_privs(option: &str) -> bool {
    let (name, value) = option.split_once([':', '=']).unwrap_or((option, "true"));
    name == "no-new-privileges" && value == "true"
}
