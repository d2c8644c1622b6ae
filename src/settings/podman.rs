//! Podman: the options of `podman run`.

use super::{Format, Settings, SettingsError, engine};
#[cfg(feature = "settings")]
use super::{Profile, engine::Container};

/// Podman has ambient capabilities, so that no_new_privs takes none away.
pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    engine::write_options(settings, Format::Podman, true)
}

/// Reads the words of a command. The capabilities that are added for a non-root user are ambient.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    let container = Container::read_options(words)?;
    let add = container.add;
    let mut settings = container.settings(Profile::Podman);
    if settings.user.is_some() {
        settings.ambient = add & settings.caps;
    }
    Ok(settings)
}
