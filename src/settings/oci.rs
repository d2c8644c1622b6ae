//! The `config.json` of an OCI bundle. (github.com/opencontainers/runtime-spec, config.md)

use std::fmt::Write;

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind, Named, Topic, Who,
    read::Found,
    value::{caps, switch, texts, user, with_group},
};
use super::{
    Format, Id, Settings, SettingsError, Target,
    text::{constant, list, quoted},
};
#[cfg(feature = "settings")]
use crate::CapSet;
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
    let engine = context.engine(&[EngineKind::Runc, EngineKind::Crun]);
    let mut notes = Vec::new();
    let mut set = |key: &str| {
        let names = &process["capabilities"][key];
        names_of(names, key, engine.kind(), &mut notes).map_err(|err| err.within(key))
    };
    let bounding = set("bounding")?;
    let caps = CapState {
        effective: set("effective")?,
        permitted: set("permitted")?,
        inheritable: set("inheritable")?,
    };
    let ambient = set("ambient")?;
    let [uid, gid] = ["uid", "gid"].map(|key| &process["user"][key]);
    let user = with_group(user(uid)?, gid)?;
    let groups = process["user"]["additionalGids"].as_array().into_iter().flatten();
    let mut settings = Settings {
        kind: Kind::Bundle,
        engine: Some(engine),
        bounding,
        caps,
        // The kernel takes an ambient capability that is permitted and inheritable alone.
        ambient: ambient & caps.permitted & caps.inheritable,
        user: user.map_or(Who::User(Id::Number(0).into()), Who::User),
        groups: groups.map(|gid| gid.to_string().parse()).collect::<Result<_, _>>()?,
        no_new_privs: switch("noNewPrivileges", &process["noNewPrivileges"])?,
        named: Named { add: bounding, ..Named::default() },
        command: texts(&process["args"]).map(str::to_owned).collect(),
        ..Settings::default()
    };
    for note in notes {
        settings.note(Topic::NoEffect, note);
    }
    Ok(settings)
}

/// Returns the capabilities in a list. The names are exact: runc warns about another one and
/// ignores it, crun refuses it.
#[cfg(feature = "settings")]
fn names_of(
    value: &Value,
    key: &str,
    engine: EngineKind,
    notes: &mut Vec<String>,
) -> Result<CapSet, SettingsError> {
    let mut set = CapSet::empty();
    for item in value.as_array().into_iter().flatten() {
        let wrong = || SettingsError::value(item, "is not the name of a capability");
        let name = item.as_str().ok_or_else(wrong)?;
        match caps(item) {
            Ok(caps) if caps.iter().any(|cap| cap.constant_name() == Some(name)) => set |= caps,
            _ if engine == EngineKind::Crun => return Err(wrong()),
            Ok(caps) => {
                let meant = list(caps, constant, " ");
                notes.push(format!("{key}: {name} gives nothing with runc: write {meant}"));
            }
            Err(err) => notes.push(format!("{key}: {name} gives nothing with runc: {err}")),
        }
    }
    Ok(set)
}
