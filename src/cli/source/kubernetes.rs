//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use serde_json::Value;

use super::{Found, Source, list, switch, user, with_group};
use crate::{
    CapSet,
    deploy::Id,
    profile::{Profile, combine},
};

/// The containers of whatever is in it: pods, and what has a template of one. What a container
/// has that asks for nothing is what containerd gives. A `securityContext` alone is one too.
pub(super) fn parse(document: &Value) -> Found {
    if ["apiVersion", "kind"].iter().all(|key| document.get(key).is_some_and(Value::is_string)) {
        let mut sources = Vec::new();
        return Some(containers(document, &mut sources).map(|()| sources));
    }
    let is_context = |value: &&Value| value.get("capabilities").is_some_and(Value::is_object);
    let context = document.get("securityContext").filter(is_context)?;
    let is_pod = document.get("containers").is_some();
    (!is_pod).then(|| parse_one(context, &Value::Null).map(|source| vec![source]))
}

/// Looks for pods, which are not deep inside of what makes them.
fn containers(value: &Value, sources: &mut Vec<Source>) -> Result<(), String> {
    let Some(object) = value.as_object() else { return Ok(()) };
    let pod = object.get("securityContext").unwrap_or(&Value::Null);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for container in object.get(key).and_then(Value::as_array).into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str);
            let context = container.get("securityContext").unwrap_or(&Value::Null);
            let source = parse_one(context, pod)
                .map_err(|words| format!("container {}: {words}", name.unwrap_or("?")))?;
            sources.push(Source { name: name.map(str::to_owned), ..source });
        }
    }
    for key in ["spec", "template", "jobTemplate"] {
        object.get(key).map_or(Ok(()), |value| containers(value, sources))?;
    }
    let items = object.get("items").and_then(Value::as_array);
    items.into_iter().flatten().try_for_each(|item| containers(item, sources))
}

/// A container, by its own context and that of its pod.
fn parse_one(context: &Value, pod: &Value) -> Result<Source, String> {
    let get = |key: &str| context.get(key).or_else(|| pod.get(key)).unwrap_or(&Value::Null);
    let of = |key: &str| context["capabilities"].get(key).unwrap_or(&Value::Null);
    let all = CapSet::supported();
    let caps = combine(Profile::Docker.given(), list(of("drop"))?, list(of("add"))?, all);
    let mut user = with_group(user(get("runAsUser"))?, get("runAsGroup"))?;
    if user.is_none() && switch("runAsNonRoot", get("runAsNonRoot"))? {
        // The image's, whom only the image knows.
        user = Some(Id::Number(65534).into());
    }
    let escalates = context.get("allowPrivilegeEscalation").unwrap_or(&Value::Bool(true));
    Ok(Source {
        caps: if switch("privileged", &context["privileged"])? { all } else { caps },
        user,
        no_new_privs: !switch("allowPrivilegeEscalation", escalates)?,
        ..Source::default()
    })
}
