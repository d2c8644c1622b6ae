//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use std::fmt::Write;

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind, Who,
    container::Container,
    read::Found,
    value::{names, switch, user, with_group},
};
use super::{
    Format, Settings, SettingsError, Target, container,
    text::{bare, list, quoted},
};

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::check_ids(settings, Format::Kubernetes)?;
    let user = settings.numbers(Format::Kubernetes)?;
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [\"ALL\"]\n",
        !settings.no_new_privs
    );
    if !settings.bounding.is_empty() {
        let names = list(settings.bounding, |cap| quoted(&bare(cap)), ", ");
        let _ = writeln!(text, "    add: [{names}]");
    }
    if settings.user.is_root() == Some(false) {
        text.push_str("  runAsNonRoot: true\n");
    }
    if let Some((uid, gid)) = user {
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
pub(super) fn read(document: &Value, context: &Context<'_>) -> Found {
    if ["apiVersion", "kind"].iter().all(|key| document.get(key).is_some_and(Value::is_string)) {
        let mut all = Vec::new();
        return Some(read_pods(document, context, &mut all).map(|()| all));
    }
    let is_context = |value: &&Value| value.get("capabilities").is_some_and(Value::is_object);
    let own = document.get("securityContext").filter(is_context)?;
    let is_pod = document.get("containers").is_some();
    (!is_pod).then(|| {
        read_container(own, &Value::Null, Kind::Container, context).map(|settings| vec![settings])
    })
}

/// Looks for pods, which are not deep inside of the objects that create them.
#[cfg(feature = "settings")]
fn read_pods(
    value: &Value,
    context: &Context<'_>,
    all: &mut Vec<Settings>,
) -> Result<(), SettingsError> {
    let Some(object) = value.as_object() else { return Ok(()) };
    let pod = object.get("securityContext").unwrap_or(&Value::Null);
    for (key, kind) in [
        ("initContainers", Kind::InitContainer),
        ("containers", Kind::Container),
        ("ephemeralContainers", Kind::EphemeralContainer),
    ] {
        for container in object.get(key).and_then(Value::as_array).into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str);
            let own = container.get("securityContext").unwrap_or(&Value::Null);
            let settings = read_container(own, pod, kind, context)
                .map_err(|err| err.within(&format!("container {}", name.unwrap_or("?"))))?;
            all.push(Settings { name: name.map(str::to_owned), ..settings });
        }
    }
    for key in ["spec", "template", "jobTemplate"] {
        object.get(key).map_or(Ok(()), |value| read_pods(value, context, all))?;
    }
    let items = object.get("items").and_then(Value::as_array);
    items.into_iter().flatten().try_for_each(|item| read_pods(item, context, all))
}

/// Reads a container by its own context and by that of its pod.
#[cfg(feature = "settings")]
fn read_container(
    own: &Value,
    pod: &Value,
    kind: Kind,
    context: &Context<'_>,
) -> Result<Settings, SettingsError> {
    let get = |key: &str| own.get(key).or_else(|| pod.get(key)).unwrap_or(&Value::Null);
    let list = |key: &str| names(own["capabilities"].get(key).unwrap_or(&Value::Null));
    let [drop, add] = [list("drop")?, list("add")?];
    let user = with_group(user(get("runAsUser"))?, get("runAsGroup"))?;
    let is_not_root = user.is_none() && switch("runAsNonRoot", get("runAsNonRoot"))?;
    let escalates = own.get("allowPrivilegeEscalation").unwrap_or(&Value::Bool(true));
    let container = Container {
        drop,
        add,
        is_privileged: switch("privileged", &own["privileged"])?,
        user,
        no_new_privs: !switch("allowPrivilegeEscalation", escalates)?,
        ..Container::default()
    };
    let engine = context.engine(&[EngineKind::Containerd, EngineKind::CriO, EngineKind::Docker]);
    let mut settings = container.settings(kind, engine)?;
    if is_not_root {
        settings.user = Who::NotRoot;
        settings = settings.for_current_user();
    }
    Ok(settings)
}
