//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use std::fmt::Write;

#[cfg(feature = "settings")]
use serde_json::Value;

use super::{
    Format, Settings, SettingsError, engine,
    text::{bare, list, quoted},
};
#[cfg(feature = "settings")]
use super::{
    Id, Profile,
    engine::Container,
    read::Found,
    value::{caps, switch, user, with_group},
};

pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    engine::check_ids(settings, Format::Kubernetes)?;
    let user = settings.numbers(Format::Kubernetes)?;
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [\"ALL\"]\n",
        !engine::sets_no_new_privs(settings)
    );
    if !settings.caps.is_empty() {
        let names = list(settings.caps, |cap| quoted(&bare(cap)), ", ");
        let _ = writeln!(text, "    add: [{names}]");
    }
    if let Some((uid, gid)) = user {
        if uid != 0 {
            text.push_str("  runAsNonRoot: true\n");
        }
        let _ = writeln!(text, "  runAsUser: {uid}");
        if let Some(gid) = gid {
            let _ = writeln!(text, "  runAsGroup: {gid}");
        }
    }
    text.push_str("  seccompProfile:\n    type: RuntimeDefault");
    Ok(text)
}

/// Reads the containers of all pods, and of all that has a template of one, or a
/// `securityContext` alone. A container without settings has what containerd grants.
#[cfg(feature = "settings")]
pub(super) fn read(document: &Value) -> Found {
    if ["apiVersion", "kind"].iter().all(|key| document.get(key).is_some_and(Value::is_string)) {
        let mut all = Vec::new();
        return Some(read_pods(document, &mut all).map(|()| all));
    }
    let is_context = |value: &&Value| value.get("capabilities").is_some_and(Value::is_object);
    let context = document.get("securityContext").filter(is_context)?;
    let is_pod = document.get("containers").is_some();
    (!is_pod).then(|| read_container(context, &Value::Null).map(|settings| vec![settings]))
}

/// Looks for pods, which are not deep inside of the objects that create them.
#[cfg(feature = "settings")]
fn read_pods(value: &Value, all: &mut Vec<Settings>) -> Result<(), SettingsError> {
    let Some(object) = value.as_object() else { return Ok(()) };
    let pod = object.get("securityContext").unwrap_or(&Value::Null);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for container in object.get(key).and_then(Value::as_array).into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str);
            let context = container.get("securityContext").unwrap_or(&Value::Null);
            let settings = read_container(context, pod)
                .map_err(|err| err.within(&format!("container {}", name.unwrap_or("?"))))?;
            all.push(Settings { name: name.map(str::to_owned), ..settings });
        }
    }
    for key in ["spec", "template", "jobTemplate"] {
        object.get(key).map_or(Ok(()), |value| read_pods(value, all))?;
    }
    let items = object.get("items").and_then(Value::as_array);
    items.into_iter().flatten().try_for_each(|item| read_pods(item, all))
}

/// Reads a container by its own context and by that of its pod.
#[cfg(feature = "settings")]
fn read_container(context: &Value, pod: &Value) -> Result<Settings, SettingsError> {
    let get = |key: &str| context.get(key).or_else(|| pod.get(key)).unwrap_or(&Value::Null);
    let list = |key: &str| caps(context["capabilities"].get(key).unwrap_or(&Value::Null));
    let [drop, add] = [list("drop")?, list("add")?];
    let mut user = with_group(user(get("runAsUser"))?, get("runAsGroup"))?;
    if user.is_none() && switch("runAsNonRoot", get("runAsNonRoot"))? {
        // The user of the image, which only the image knows.
        user = Some(Id::Number(65534).into());
    }
    let escalates = context.get("allowPrivilegeEscalation").unwrap_or(&Value::Bool(true));
    let container = Container {
        drop,
        add,
        is_privileged: switch("privileged", &context["privileged"])?,
        user,
        no_new_privs: !switch("allowPrivilegeEscalation", escalates)?,
    };
    Ok(container.settings(Profile::Docker))
}
