//! A command of setcap(8).

use super::{Settings, SettingsError};
#[cfg(feature = "settings")]
use crate::CapState;

#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    let caps = settings.caps;
    if caps.is_empty() {
        return Ok("setcap -r PROGRAM".to_owned());
    }
    Ok(format!("setcap {caps}=ep PROGRAM"))
}

pub(super) fn caveat(settings: &Settings) -> Option<&'static str> {
    settings.non_root()?;
    Some(if settings.caps.is_empty() {
        "the user is not part of it"
    } else {
        "whoever may execute the file has them, and not one user"
    })
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    let text = words.iter().find(|word| !word.starts_with('-'));
    let text = text.filter(|text| text.contains(['=', '+']));
    let state = text.map_or(Ok(CapState::EMPTY), |text| text.parse::<CapState>())?;
    Ok(Settings::new(state.permitted))
}
