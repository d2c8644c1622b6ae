//! A command of setpriv(1).

#[cfg(feature = "settings")]
use super::words::{caps, options, user};
use super::{
    Id, Settings, SettingsError,
    text::{bare, shell_word},
};
#[cfg(feature = "settings")]
use crate::CapSet;

#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    let mut words = vec!["setpriv".to_owned()];
    if let Some(user) = &settings.user {
        let name = shell_word(&user.id().to_string());
        let (group, groups) = match (user.id(), user.group()) {
            (_, Some(group)) => (shell_word(&group.to_string()), "--clear-groups"),
            (Id::Number(uid), None) => (uid.to_string(), "--clear-groups"),
            (Id::Name(_), None) => (format!("\"$(id -g {name})\""), "--init-groups"),
        };
        words.push(format!("--reuid={name} --regid={group} {groups}"));
    }
    let names = settings.caps.iter().map(|cap| format!(",+{}", bare(cap).to_lowercase()));
    let set = format!("-all{}", names.collect::<String>());
    let raised = if settings.non_root().is_some() { &*set } else { "-all" };
    words.push(format!("--inh-caps={raised} --ambient-caps={raised}"));
    words.push(format!("--bounding-set={set} --no-new-privs --"));
    Ok(words.join(" "))
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    const VALUES: [&str; 5] =
        ["--reuid", "--ruid", "--bounding-set", "--ambient-caps", "--inh-caps"];
    let mut settings = Settings::new(CapSet::supported());
    for (name, value) in options(words, |word| VALUES.contains(&word)) {
        match name {
            "--reuid" => settings.user = user(value)?,
            "--bounding-set" => settings.caps = change(settings.caps, value)?,
            "--ambient-caps" => settings.ambient = change(settings.ambient, value)?,
            "--no-new-privs" | "--nnp" => settings.no_new_privs = true,
            _ => {}
        }
    }
    Ok(settings)
}

/// Applies a list such as `-all,+net_raw` to a set.
#[cfg(feature = "settings")]
fn change(set: CapSet, list: &str) -> Result<CapSet, SettingsError> {
    list.split(',').try_fold(set, |set, item| match item.split_at_checked(1) {
        Some(("+", name)) => Ok(set | caps(name)?),
        Some(("-", name)) => Ok(set - caps(name)?),
        _ => Err(SettingsError::value(item, "begins with neither + nor -")),
    })
}
