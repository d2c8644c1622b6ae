//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use serde_json::Value;

use super::{Source, list, user};
use crate::{
    CapSet,
    profile::{Profile, combine},
};

/// The containers of whatever is in it: pods, and what has a template of one. What a container
/// has that asks for nothing is what containerd gives. A `securityContext` alone is one too.
pub(super) fn parse(document: &Value) -> Result<Option<Vec<Source>>, String> {
    let is_context = |value: &Value| value.get("capabilities").is_some_and(Value::is_object);
    if let Some(context) = document.get("securityContext").filter(|context| is_context(context))
        && document.get("containers").is_none()
    {
        return parse_one(context, &Value::Null).map(|source| Some(vec![source]));
    }
    if document.get("kind").is_none() {
        return Ok(None);
    }
    let mut sources = Vec::new();
    containers(document, &mut sources)?;
    Ok(Some(sources))
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
    let is_privileged = context["privileged"].as_bool() == Some(true);
    let all = CapSet::supported();
    let caps = combine(Profile::Docker.given(), list(of("drop"))?, list(of("add"))?, all);
    let group = get("runAsGroup").as_u64().map(|group| format!(":{group}")).unwrap_or_default();
    let mut user = user(get("runAsUser")).map(|user| user + &group);
    if user.is_none() && get("runAsNonRoot").as_bool() == Some(true) {
        // The image's, whom only the image knows.
        user = Some("65534".to_owned());
    }
    Ok(Source {
        caps: if is_privileged { all } else { caps },
        user,
        no_new_privs: context["allowPrivilegeEscalation"].as_bool() == Some(false),
        ..Source::default()
    })
}
