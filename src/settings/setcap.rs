//! A command of setcap(8).

use super::{Settings, SettingsError, Target};
#[cfg(feature = "settings")]
use crate::CapState;

#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let caps = settings.caps.permitted;
    if caps.is_empty() {
        return Ok("setcap -r PROGRAM".to_owned());
    }
    Ok(format!("setcap {caps}=ep PROGRAM"))
}

/// Reads the arguments of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    let text = words.iter().find(|word| !word.starts_with('-'));
    let text = text.filter(|text| text.contains(['=', '+']));
    let state = text.map_or(Ok(CapState::EMPTY), |text| text.parse::<CapState>())?;
    Ok(Settings::new(state.permitted))
}
