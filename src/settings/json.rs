//! rcap's own JSON. (docs/json.md)

#[cfg(feature = "settings")]
use serde_json::Value;

use super::{
    Settings, SettingsError,
    text::{list, quoted},
};
#[cfg(feature = "settings")]
use super::{
    read::Found,
    value::{caps, switch, user},
};
use crate::CapSet;

#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    let names = |caps| list(caps, |cap| quoted(&cap.to_string()), ",");
    let ambient = if settings.non_root().is_none() { CapSet::empty() } else { settings.caps };
    let user = settings.user.as_ref().map_or("null".to_owned(), |user| quoted(&user.to_string()));
    Ok(format!(
        "{{\"schema\":1,\"caps\":[{}],\"ambient\":[{}],\"user\":{user},\"no_new_privs\":true}}",
        names(settings.caps),
        names(ambient),
    ))
}

/// Reads the output of `rcap minimize`, `trace`, `report` and `export`.
#[cfg(feature = "settings")]
pub(super) fn read(document: &Value) -> Found {
    document.get("schema").filter(|schema| schema.is_number())?;
    let key = ["minimum", "candidates", "caps"].into_iter().find(|key| document[key].is_array())?;
    Some(read_report(document, key).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn read_report(document: &Value, key: &str) -> Result<Settings, SettingsError> {
    Ok(Settings {
        name: None,
        caps: caps(&document[key])?,
        ambient: caps(&document["ambient"])?,
        user: user(&document["user"])?,
        no_new_privs: switch("no_new_privs", &document["no_new_privs"])?,
    })
}
