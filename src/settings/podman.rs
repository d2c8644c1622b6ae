//! Podman: the options of `podman run`, and the label of an image.

use super::{
    Format, Settings, SettingsError, Target,
    container::{self, Changes},
    text::{bare, list},
};
#[cfg(feature = "settings")]
use crate::CapSet;

/// Writes the options of `podman run`, which makes what is added ambient for a non-root user.
pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::write_options(settings, Format::Podman, &Changes::with_ambient(settings))
}

/// Writes lines of a Containerfile. Podman ignores a label that asks for more than its defaults,
/// and one that asks for nothing.
pub(super) fn write_label(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::check_ids(settings, Format::Label)?;
    if settings.bounding.is_empty() {
        return Err(SettingsError::Unwritable {
            format: Format::Label,
            reason: "an image can ask only for capabilities of Podman's defaults, and for at least \
                     one: use the options of podman run",
        });
    }
    let names = list(settings.bounding, bare, ",");
    let mut text = format!("LABEL io.containers.capabilities=\"{names}\"");
    if let Some(user) = settings.user.user() {
        let user = user.to_string();
        if user.contains(['$', '\\', '"', '\'']) {
            return Err(SettingsError::Unwritable {
                format: Format::Label,
                reason: "the name of the user has a character that USER would expand",
            });
        }
        text.push_str("\nUSER ");
        text.push_str(&user);
    }
    Ok(text)
}

/// Returns the capabilities that an image's label asks for if Podman heeds it, and what it does.
#[cfg(feature = "settings")]
pub(super) fn ask(label: &str, given: CapSet) -> (Option<CapSet>, &'static str) {
    let caps: Result<CapSet, _> =
        label.split(',').map(|name| CapSet::from_names(name, CapSet::supported())).collect();
    match caps {
        Ok(caps) if !caps.is_empty() && caps.is_subset(given) => (
            Some(caps),
            "the image asks by its label io.containers.capabilities for less, which Podman heeds \
             and Docker does not",
        ),
        _ => (
            None,
            "Podman ignores the label io.containers.capabilities of the image, which names \
             something that it does not grant by default",
        ),
    }
}
