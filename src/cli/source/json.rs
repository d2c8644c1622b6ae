//! Documents in JSON: a bundle's config.json, `docker inspect`, and rcap's own.

use serde_json::Value;

use super::{Source, compose::is_no_new_privs, list, user};
use crate::{
    CapSet,
    profile::{Profile, combine},
};

pub(super) fn parse(document: &Value) -> Result<Option<Vec<Source>>, String> {
    if let Some(process) = document.get("process").filter(|process| process.is_object()) {
        return oci(process).map(|source| Some(vec![source]));
    }
    if let Some(containers) = document.as_array().filter(|all| {
        !all.is_empty() && all.iter().all(|container| container["HostConfig"].is_object())
    }) {
        return containers.iter().map(inspected).collect::<Result<_, _>>().map(Some);
    }
    if document.get("schema").is_none() {
        return Ok(None);
    }
    // What `rcap minimize`, `trace`, `report`, `deploy` and `diff` say.
    let key = ["minimum", "candidates", "caps"].into_iter().find(|key| document[key].is_array());
    let Some(key) = key else { return Ok(None) };
    Ok(Some(vec![Source {
        caps: list(&document[key])?,
        ambient: list(&document["ambient"])?,
        user: user(&document["user"]),
        no_new_privs: document["no_new_privs"].as_bool() == Some(true),
        name: None,
    }]))
}

/// (github.com/opencontainers/runtime-spec, config.md)
fn oci(process: &Value) -> Result<Source, String> {
    let caps = &process["capabilities"];
    Ok(Source {
        caps: list(&caps["bounding"])?,
        ambient: list(&caps["ambient"])?,
        user: user(&process["user"]["uid"]),
        no_new_privs: process["noNewPrivileges"].as_bool() == Some(true),
        name: None,
    })
}

/// A container that Docker describes.
fn inspected(container: &Value) -> Result<Source, String> {
    let host = &container["HostConfig"];
    let all = CapSet::supported();
    let [drop, add] = ["CapDrop", "CapAdd"].map(|key| list(&host[key]));
    let caps = combine(Profile::Docker.given(), drop?, add?, all);
    let options = host["SecurityOpt"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = container["Name"].as_str().map(|name| name.trim_start_matches('/').to_owned());
    Ok(Source {
        name,
        caps: if host["Privileged"].as_bool() == Some(true) { all } else { caps },
        user: user(&container["Config"]["User"]),
        no_new_privs: options.iter().filter_map(Value::as_str).any(is_no_new_privs),
        ..Source::default()
    })
}
