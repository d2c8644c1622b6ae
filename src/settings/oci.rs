//! The `config.json` of an OCI bundle. (github.com/opencontainers/runtime-spec, config.md)

use std::fmt::Write;

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind, Who,
    read::Found,
    value::{caps, switch, user, with_group},
};
use super::{
    Format, Id, Settings, SettingsError, Target,
    text::{constant, list, quoted},
};
use crate::CapState;

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let user = settings.numbers(Format::Oci)?;
    let names = |set| list(set, |cap| quoted(&constant(cap)), ", ");
    let CapState { effective, permitted, inheritable } = settings.caps;
    let mut text = format!(
        "{{\n  \"process\": {{\n    \"capabilities\": {{\n      \
         \"bounding\": [{}],\n      \"permitted\": [{}],\n      \
         \"effective\": [{}],\n      \"inheritable\": [{}],\n      \
         \"ambient\": [{}]\n    }},\n",
        names(settings.bounding),
        names(permitted),
        names(effective),
        names(inheritable),
        names(settings.ambient),
    );
    if let Some((uid, gid)) = user {
        let gid = gid.unwrap_or(uid);
        let groups = groups(settings)?;
        let _ = writeln!(text, "    \"user\": {{\"uid\": {uid}, \"gid\": {gid}{groups}}},");
    }
    let _ = write!(text, "    \"noNewPrivileges\": {}\n  }}\n}}", settings.no_new_privs);
    Ok(text)
}

/// Returns the supplementary groups, which are numbers.
fn groups(settings: &Settings) -> Result<String, SettingsError> {
    let number = |group: &Id| match group {
        Id::Number(gid) => Ok(gid.to_string()),
        Id::Name(_) => Err(SettingsError::Unwritable {
            format: Format::Oci,
            reason: "a supplementary group is named, and not a number",
        }),
    };
    let groups: Vec<String> = settings.groups.iter().map(number).collect::<Result<_, _>>()?;
    if groups.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(", \"additionalGids\": [{}]", groups.join(", ")))
}

#[cfg(feature = "settings")]
pub(super) fn read(document: &Value, context: &Context<'_>) -> Found {
    let process = document.get("process").filter(|process| process.is_object())?;
    Some(read_process(process, context).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn read_process(process: &Value, context: &Context<'_>) -> Result<Settings, SettingsError> {
    let sets = &process["capabilities"];
    let [uid, gid] = ["uid", "gid"].map(|key| &process["user"][key]);
    let user = with_group(user(uid)?, gid)?;
    Ok(Settings {
        kind: Kind::Bundle,
        engine: Some(context.engine(&[EngineKind::Runc, EngineKind::Crun])),
        bounding: caps(&sets["bounding"])?,
        caps: CapState {
            effective: caps(&sets["effective"])?,
            permitted: caps(&sets["permitted"])?,
            inheritable: caps(&sets["inheritable"])?,
        },
        ambient: caps(&sets["ambient"])?,
        user: user.map_or(Who::User(Id::Number(0).into()), Who::User),
        no_new_privs: switch("noNewPrivileges", &process["noNewPrivileges"])?,
        ..Settings::default()
    })
}
