//! A command of setpriv(1).

use super::{
    Id, Settings, SettingsError, Target,
    text::{bare, shell_word},
};
#[cfg(feature = "settings")]
use super::{
    Kind,
    words::{before_program, caps, host_user, options},
};
use crate::{CapSet, Securebits};

#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let mut words = vec!["setpriv".to_owned()];
    if let Some(user) = settings.user.user() {
        let name = shell_word(&user.id().to_string());
        let named: Vec<String> = settings.groups.iter().map(Id::to_string).collect();
        let groups = match (user.id(), user.group()) {
            _ if !named.is_empty() => format!("--groups={}", shell_word(&named.join(","))),
            (Id::Name(_), None) => "--init-groups".to_owned(),
            _ => "--clear-groups".to_owned(),
        };
        let group = match (user.id(), user.group()) {
            (_, Some(group)) => shell_word(&group.to_string()),
            (Id::Number(uid), None) => uid.to_string(),
            (Id::Name(_), None) => format!("\"$(id -g {name})\""),
        };
        words.push(format!("--reuid={name} --regid={group} {groups}"));
    }
    let set = |caps: CapSet| {
        let names = caps.iter().map(|cap| format!(",+{}", bare(cap).to_lowercase()));
        format!("-all{}", names.collect::<String>())
    };
    let inheritable = set(settings.caps.inheritable);
    words.push(format!("--inh-caps={inheritable} --ambient-caps={}", set(settings.ambient)));
    words.push(format!("--bounding-set={}", set(settings.bounding)));
    if !settings.securebits.is_empty() {
        words.push(format!("--securebits={}", securebits(settings.securebits)));
    }
    if settings.no_new_privs {
        words.push("--no-new-privs".to_owned());
    }
    words.push("--".to_owned());
    Ok(words.join(" "))
}

/// Returns securebits as setpriv takes them: with underscores, and the bits that it does not know
/// as a number. (setpriv(1), `--securebits`)
fn securebits(bits: Securebits) -> String {
    let names = bits.to_string().replace('-', "_");
    names.split(',').map(|name| format!("+{name}")).collect::<Vec<_>>().join(",")
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    const VALUES: [&str; 12] = [
        "--reuid",
        "--ruid",
        "--euid",
        "--regid",
        "--rgid",
        "--egid",
        "--groups",
        "--bounding-set",
        "--ambient-caps",
        "--inh-caps",
        "--securebits",
        "--pdeathsig",
    ];
    let mut bounding = CapSet::supported();
    let [mut ambient, mut inheritable] = [CapSet::empty(); 2];
    let (words, program) = before_program(words, |word| VALUES.contains(&word));
    let command = program.iter().copied().map(str::to_owned).collect();
    let mut settings = Settings { kind: Kind::Command, command, ..Settings::default() };
    let mut group = "";
    for (name, value) in options(words, |word| VALUES.contains(&word)) {
        match name {
            "--reuid" => settings.user = host_user(value)?,
            "--regid" => group = value,
            "--groups" => {
                settings.groups = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            "--bounding-set" => bounding = change(bounding, value)?,
            "--ambient-caps" => ambient = change(ambient, value)?,
            "--inh-caps" => inheritable = change(inheritable, value)?,
            "--securebits" => {
                settings.securebits = value.replace('+', "").parse()?;
            }
            "--no-new-privs" | "--nnp" => settings.no_new_privs = true,
            _ => {}
        }
    }
    if !group.starts_with("$(") && !group.is_empty() {
        settings.user = settings.user.with_group(group)?;
    }
    let mut settings = settings.with_sets(bounding, ambient).keeping_permitted();
    settings.caps.inheritable |= inheritable;
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
