//! The `config.json` of an OCI bundle. (github.com/opencontainers/runtime-spec, config.md)

use std::fmt::Write;

#[cfg(feature = "settings")]
use serde_json::Value;

use super::{
    Format, Settings, SettingsError,
    text::{constant, list, quoted},
};
#[cfg(feature = "settings")]
use super::{
    read::Found,
    value::{caps, switch, user, with_group},
};

pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    let user = settings.numbers(Format::Oci)?;
    let names = list(settings.caps, |cap| quoted(&constant(cap)), ", ");
    let ambient = if settings.non_root().is_none() { "" } else { &names };
    let mut text = format!(
        "{{\n  \"process\": {{\n    \"capabilities\": {{\n      \
         \"bounding\": [{names}],\n      \"permitted\": [{names}],\n      \
         \"effective\": [{names}],\n      \"inheritable\": [{ambient}],\n      \
         \"ambient\": [{ambient}]\n    }},\n"
    );
    if let Some((uid, gid)) = user {
        let gid = gid.unwrap_or(uid);
        let _ = writeln!(text, "    \"user\": {{\"uid\": {uid}, \"gid\": {gid}}},");
    }
    text.push_str("    \"noNewPrivileges\": true\n  }\n}");
    Ok(text)
}

#[cfg(feature = "settings")]
pub(super) fn read(document: &Value) -> Found {
    let process = document.get("process").filter(|process| process.is_object())?;
    Some(read_process(process).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn read_process(process: &Value) -> Result<Settings, SettingsError> {
    let sets = &process["capabilities"];
    let [uid, gid] = ["uid", "gid"].map(|key| &process["user"][key]);
    Ok(Settings {
        name: None,
        caps: caps(&sets["bounding"])?,
        ambient: caps(&sets["ambient"])?,
        user: with_group(user(uid)?, gid)?,
        no_new_privs: switch("noNewPrivileges", &process["noNewPrivileges"])?,
    })
}
