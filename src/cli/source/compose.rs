//! A Compose file. (github.com/compose-spec/compose-spec, 05-services.md)

use serde_json::Value;

use super::{Found, Source, list, switch, user};
use crate::{
    CapSet,
    profile::{Profile, combine},
};

/// Its services. What a service takes over from another file by `extends` is not looked for. One
/// service alone, as it stands in such a file, is one too.
pub(super) fn parse(document: &Value) -> Found {
    if let Some(services) = document.get("services").and_then(Value::as_object) {
        let services = services.iter().map(|(name, service)| {
            let source = parse_one(service).map_err(|words| format!("service {name}: {words}"))?;
            Ok(Source { name: Some(name.clone()), ..source })
        });
        return Some(services.collect());
    }
    let is_service = ["cap_drop", "cap_add"].iter().any(|key| document.get(key).is_some());
    is_service.then(|| parse_one(document).map(|source| vec![source]))
}

fn parse_one(service: &Value) -> Result<Source, String> {
    let get = |key: &str| service.get(key).unwrap_or(&Value::Null);
    let all = CapSet::supported();
    let given = Profile::Docker.given();
    let caps = combine(given, list(get("cap_drop"))?, list(get("cap_add"))?, all);
    let options = get("security_opt").as_array().map(Vec::as_slice).unwrap_or_default();
    let who = match get("user") {
        Value::String(text) => literal(text)?.into(),
        other => other.clone(),
    };
    Ok(Source {
        caps: if switch("privileged", get("privileged"))? { all } else { caps },
        user: user(&who)?,
        no_new_privs: options.iter().filter_map(Value::as_str).any(is_no_new_privs),
        ..Source::default()
    })
}

/// A text without variables: two dollar signs stand for one. (05-services.md, "Interpolation")
fn literal(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split("$$").collect();
    if parts.iter().any(|part| part.contains('$')) {
        return Err(format!("{text:?} has a variable, which is not resolved"));
    }
    Ok(parts.join("$"))
}

/// Whether an option of `--security-opt` is the one for no-new-privs.
pub(super) fn is_no_new_privs(option: &str) -> bool {
    let (name, value) = option.split_once([':', '=']).unwrap_or((option, "true"));
    name == "no-new-privileges" && value == "true"
}
