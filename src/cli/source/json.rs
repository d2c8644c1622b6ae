//! Documents in JSON: a bundle's config.json, `docker inspect`, and rcap's own.

use serde_json::Value;

use super::{Found, Source, compose::is_no_new_privs, list, switch, user, with_group};
use crate::{
    CapSet,
    profile::{Profile, combine},
};

/// (github.com/opencontainers/runtime-spec, config.md)
pub(super) fn oci(document: &Value) -> Found {
    let process = document.get("process").filter(|process| process.is_object())?;
    let source = || {
        let caps = &process["capabilities"];
        let [uid, gid] = ["uid", "gid"].map(|key| &process["user"][key]);
        Ok(vec![Source {
            caps: list(&caps["bounding"])?,
            ambient: list(&caps["ambient"])?,
            user: with_group(user(uid)?, gid)?,
            no_new_privs: switch("noNewPrivileges", &process["noNewPrivileges"])?,
            name: None,
        }])
    };
    Some(source())
}

/// What `rcap minimize`, `trace`, `report` and `deploy` say.
pub(super) fn report(document: &Value) -> Found {
    document.get("schema").filter(|schema| schema.is_number())?;
    let key = ["minimum", "candidates", "caps"].into_iter().find(|key| document[key].is_array())?;
    let source = || {
        Ok(vec![Source {
            caps: list(&document[key])?,
            ambient: list(&document["ambient"])?,
            user: user(&document["user"])?,
            no_new_privs: switch("no_new_privs", &document["no_new_privs"])?,
            name: None,
        }])
    };
    Some(source())
}

/// The containers that Docker describes.
pub(super) fn inspect(document: &Value) -> Found {
    let containers = document.as_array().filter(|all| {
        !all.is_empty() && all.iter().all(|container| container["HostConfig"].is_object())
    })?;
    Some(containers.iter().map(inspected).collect())
}

fn inspected(container: &Value) -> Result<Source, String> {
    let host = &container["HostConfig"];
    let all = CapSet::supported();
    let [drop, add] = ["CapDrop", "CapAdd"].map(|key| list(&host[key]));
    let caps = combine(Profile::Docker.given(), drop?, add?, all);
    let options = host["SecurityOpt"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = container["Name"].as_str().map(|name| name.trim_start_matches('/').to_owned());
    Ok(Source {
        name,
        caps: if switch("Privileged", &host["Privileged"])? { all } else { caps },
        user: user(&container["Config"]["User"])?,
        no_new_privs: options.iter().filter_map(Value::as_str).any(is_no_new_privs),
        ..Source::default()
    })
}
