//! The containers of manifests.

use serde_json::Value;

use super::super::{
    Context, EngineKind, Id, Kind, Settings, SettingsError, Topic, Who,
    container::{Container, Names},
    read::Found,
    value::{self, switch, texts, user, with_group},
};
use crate::{Cap, CapSet};

/// Reads the containers of every object in a document, however deep they are, or one
/// `securityContext` alone.
pub(in super::super) fn read(document: &Value, context: &Context<'_>) -> Found {
    let is_text = |key: &str| document.get(key).is_some_and(Value::is_string);
    let has_body = ["spec", "items"].iter().any(|key| document.get(key).is_some());
    if is_text("kind") && (is_text("apiVersion") || has_body) {
        let mut reader = Reader { context, all: Vec::new() };
        return Some(reader.walk(document, "").map(|()| reader.all));
    }
    let is_context = |value: &&Value| value.get("capabilities").is_some_and(Value::is_object);
    let own = document.get("securityContext").filter(is_context)?;
    let is_pod = document.get("containers").is_some();
    let container =
        Value::Object(std::iter::once(("securityContext".to_owned(), own.clone())).collect());
    let read = || read_container(&container, &Value::Null, Kind::Container, context);
    (!is_pod).then(|| read().map(|settings| vec![settings]))
}

struct Reader<'a> {
    context: &'a Context<'a>,
    all: Vec<Settings>,
}

/// The lists of containers in the specification of a pod.
const LISTS: [(&str, Kind); 3] = [
    ("initContainers", Kind::InitContainer),
    ("containers", Kind::Container),
    ("ephemeralContainers", Kind::EphemeralContainer),
];

impl Reader<'_> {
    /// Looks for specifications of pods, in any kind of object. `place` names the nearest object.
    fn walk(&mut self, value: &Value, place: &str) -> Result<(), SettingsError> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item, place)),
            Value::Object(object) => {
                let own = place_of(value);
                let place = own.as_deref().unwrap_or(place);
                if LISTS.iter().any(|(key, _)| value.get(key).is_some_and(is_list)) {
                    self.read_pod(value, place)?;
                }
                let is_list = |key: &str| LISTS.iter().any(|(list, _)| *list == key);
                let others = object.iter().filter(|(key, _)| !is_list(key));
                others.map(|(_, value)| value).try_for_each(|value| self.walk(value, place))
            }
            _ => Ok(()),
        }
    }

    fn read_pod(&mut self, pod: &Value, place: &str) -> Result<(), SettingsError> {
        for (key, kind) in LISTS {
            for container in pod.get(key).and_then(Value::as_array).into_iter().flatten() {
                let name = container.get("name").and_then(Value::as_str);
                let settings = read_container(container, pod, kind, self.context)
                    .map_err(|err| err.within(&format!("container {}", name.unwrap_or("?"))))?;
                let place = (!place.is_empty()).then(|| place.to_owned());
                self.all.push(Settings { name: name.map(str::to_owned), place, ..settings });
            }
        }
        Ok(())
    }
}

/// Returns whether a value is a list of containers.
fn is_list(value: &Value) -> bool {
    let is_container = |item: &Value| item.get("name").is_some_and(Value::is_string);
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_container))
}

/// Returns the place of an object of the API, such as `deployment/web`.
fn place_of(value: &Value) -> Option<String> {
    let kind = value.get("kind")?.as_str()?.to_lowercase();
    let name = value.get("metadata").and_then(|metadata| metadata.get("name"));
    Some(match name.and_then(Value::as_str) {
        Some(name) => format!("{kind}/{name}"),
        None => kind,
    })
}

/// Reads a container by its own context and by that of its pod.
fn read_container(
    value: &Value,
    pod: &Value,
    kind: Kind,
    context: &Context<'_>,
) -> Result<Settings, SettingsError> {
    let [own, of_pod] =
        [value, pod].map(|value| value.get("securityContext").unwrap_or(&Value::Null));
    let get = |key: &str| own.get(key).or_else(|| of_pod.get(key)).unwrap_or(&Value::Null);
    let engine = context.engine(&[EngineKind::Containerd, EngineKind::CriO, EngineKind::Podman]);
    let is_podman = engine.kind() == EngineKind::Podman;
    let mut notes = Vec::new();
    let mut names = |key: &str| {
        let list = own.get("capabilities").and_then(|lists| lists.get(key));
        names(list.unwrap_or(&Value::Null), key, engine.kind(), &mut notes)
            .map_err(|err| err.within(key))
    };
    let (drop, add) = (names("drop")?, names("add")?);
    let user = with_group(user(get("runAsUser"))?, get("runAsGroup"))?;
    let is_not_root = switch("runAsNonRoot", get("runAsNonRoot"))?;
    let escalates = own.get("allowPrivilegeEscalation").unwrap_or(&Value::Bool(true));
    let groups = of_pod.get("supplementalGroups").and_then(Value::as_array);
    let group = |value: &Value| value.to_string().parse::<Id>();
    let is_root = user.as_ref().is_some_and(super::super::User::is_root);
    let has_user = user.is_some();
    let program = value.get("command").filter(|command| command.is_array());
    let words = program.into_iter().chain(value.get("args").filter(|_| program.is_some()));
    let container = Container {
        drop,
        add,
        is_privileged: switch("privileged", own.get("privileged").unwrap_or(&Value::Null))?,
        user,
        groups: groups.into_iter().flatten().map(group).collect::<Result<_, _>>()?,
        no_new_privs: !switch("allowPrivilegeEscalation", escalates)?,
        command: words.flat_map(texts).map(str::to_owned).collect(),
        ..Container::default()
    };
    let mut settings = container.settings(kind, engine)?;
    if is_not_root && is_podman {
        let note = "runAsNonRoot has no effect in podman kube play: the image names the user";
        settings.note(Topic::NoEffect, note);
    } else if is_not_root && !has_user {
        settings.user = Who::NotRoot;
        settings = settings.for_current_user();
    }
    for note in notes {
        settings.note(Topic::NoEffect, note);
    }
    if is_not_root && is_root && !is_podman {
        settings.note(Topic::NoEffect, "runAsNonRoot with the user 0: the kubelet refuses it");
    }
    note_pod(&mut settings, pod, of_pod);
    Ok(settings)
}

/// Adds remarks about the fields of the pod.
fn note_pod(settings: &mut Settings, pod: &Value, of_pod: &Value) {
    for key in ["capabilities", "privileged", "allowPrivilegeEscalation"] {
        if of_pod.get(key).is_some() {
            settings.note(
                Topic::NoEffect,
                format!(
                    "securityContext.{key} of the pod is not a field and has no effect: it \
                     belongs in that of each container"
                ),
            );
        }
    }
    if pod.get("hostUsers") == Some(&Value::Bool(false)) {
        settings.note(
            Topic::Unknown,
            "hostUsers: false puts the pod into a user namespace of its own, where its \
             capabilities reach nothing outside",
        );
    }
}

/// Returns the capabilities in a list, as the engine reads it. Names without effect become
/// remarks.
fn names(
    value: &Value,
    key: &str,
    engine: EngineKind,
    notes: &mut Vec<String>,
) -> Result<Names, SettingsError> {
    let mut names = Names::default();
    let list = match value {
        Value::Null => &[],
        Value::Array(list) => &**list,
        other => return Err(SettingsError::value(other, "is not a list")),
    };
    for item in list {
        let wrong = || SettingsError::value(item, "is not the name of a capability");
        let name = item.as_str().ok_or_else(wrong)?;
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            names.has_all = true;
            if name != "ALL" {
                notes.push(format!(
                    "{key}: {name:?} holds, and Pod Security \"restricted\" wants \"ALL\""
                ));
            }
            continue;
        }
        let bare = upper.strip_prefix("CAP_");
        if let (Some(bare), EngineKind::Containerd) = (bare, engine) {
            notes.push(format!(
                "{key}: {name} has no effect: containerd makes CAP_{upper} of it, which does not \
                 exist; write {bare}"
            ));
            continue;
        }
        match known(bare.unwrap_or(&upper)) {
            Some(cap) => names.caps |= CapSet::from(cap),
            None if engine == EngineKind::Podman => return Err(wrong()),
            None => notes.push(unknown(key, name)),
        }
    }
    Ok(names)
}

fn known(bare: &str) -> Option<Cap> {
    format!("cap_{}", bare.to_ascii_lowercase()).parse().ok()
}

fn unknown(key: &str, name: &str) -> String {
    let hint = value::caps(&Value::String(name.to_owned())).err();
    let hint = hint.map_or(String::new(), |err| format!(": {err}"));
    format!("{key}: {name} has no effect, as runc knows no such capability{hint}")
}
