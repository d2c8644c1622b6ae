//! A Compose file. (github.com/compose-spec/compose-spec, 05-services.md)

use super::{
    Format, Settings, SettingsError, Target, container,
    text::{bare, list, quoted},
};

#[cfg(feature = "settings")]
mod read;
#[cfg(feature = "settings")]
mod resolve;

#[cfg(feature = "settings")]
pub(super) use read::read;
#[cfg(feature = "settings")]
pub(super) use resolve::check_tags;

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let mut lines = vec!["cap_drop: [ALL]".to_owned()];
    lines.extend(keys(settings)?);
    Ok(lines.join("\n"))
}

/// The caveat of an override file whose other file is not known.
pub(super) const UNCHECKED: &str = "not compared with the file that it is merged with: what that \
                                    file's cap_add, security_opt and group_add give stays";

/// Writes a file that Compose merges with the one before it. It adds the lists of both up, so what
/// the other file adds is dropped by no list here. Compose 2 refuses an item of `security_opt` or
/// `group_add` that both have.
pub(super) fn write_override(
    settings: &Settings,
    target: &Target,
) -> Result<String, SettingsError> {
    let name = target.service.as_ref().ok_or(SettingsError::NeedsService)?;
    let mut settings = settings.clone();
    if let Some(base) = &target.base {
        settings.no_new_privs &= !base.no_new_privs;
        settings.groups.retain(|group| !base.groups.contains(group));
    }
    let mut lines = vec!["cap_drop: [ALL]".to_owned(), "privileged: false".to_owned()];
    lines.extend(keys(&settings)?);
    let remark = if target.base.is_some() { String::new() } else { format!("# {UNCHECKED}\n") };
    Ok(format!("{remark}services:\n  {}:\n    {}", quoted(name), lines.join("\n    ")))
}

/// Returns the keys of a service but for `cap_drop`.
fn keys(settings: &Settings) -> Result<Vec<String>, SettingsError> {
    container::check_ids(settings, Format::Compose)?;
    let mut lines = Vec::new();
    if !settings.bounding.is_empty() {
        lines.push(format!("cap_add: [{}]", list(settings.bounding, bare, ", ")));
    }
    if settings.no_new_privs {
        lines.push("security_opt: [\"no-new-privileges:true\"]".to_owned());
    }
    // A dollar sign begins a variable.
    let value = |text: String| quoted(&text.replace('$', "$$"));
    let user = settings.user.user();
    lines.extend(user.map(|user| format!("user: {}", value(user.to_string()))));
    let groups: Vec<String> = settings.groups.iter().map(|id| value(id.to_string())).collect();
    if !groups.is_empty() {
        lines.push(format!("group_add: [{}]", groups.join(", ")));
    }
    Ok(lines)
}
