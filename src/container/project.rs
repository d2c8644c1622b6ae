//! A Compose project as Compose itself has resolved it, and the file for a measurement.
//!
//! Files that are merged add up their lists, so an override file cannot take a capability away.
//! Compose therefore gets a whole new file: the resolved one, with other capabilities, labels and
//! volumes. Everything else stays as the user wrote it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Failed;
use crate::{
    CapSet,
    settings::{Profile, documents},
};

/// A resolved project.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Project {
    document: Map<String, Value>,
}

/// The differences between the user's project and the file for a measurement.
#[derive(Clone, Debug)]
pub(super) struct Changes<'a> {
    /// The service that is measured.
    pub(super) service: &'a str,
    /// The capabilities of the service; `None` leaves them as they are.
    pub(super) caps: Option<CapSet>,
    /// The label of everything that Compose creates.
    pub(super) label: (&'a str, &'a str),
    /// The name of an image that has to be built.
    pub(super) image: &'a str,
    /// Existing volumes that take the place of the project's, by their keys in the file.
    pub(super) volumes: &'a BTreeMap<String, String>,
    /// Names of volumes that Compose creates if they do not exist, by their keys.
    pub(super) kept: &'a BTreeMap<String, String>,
    /// Whether the health check runs every second.
    pub(super) is_checked: bool,
    /// Keys of the service that take the place of others.
    pub(super) keys: Option<Map<String, Value>>,
    /// The volumes in the places of those that the keys name.
    pub(super) copies: &'a BTreeMap<String, String>,
}

impl Project {
    /// Reads the output of `docker compose config`.
    pub(super) fn new(text: &str) -> Result<Project, Failed> {
        let all = documents(text).map_err(|err| Failed::Unfit(err.to_string()))?;
        match all.into_iter().next() {
            Some(Value::Object(document)) if document.get("services").is_some() => {
                Ok(Project { document })
            }
            _ => Err(Failed::Unfit("the Compose file has no services".to_owned())),
        }
    }

    /// Returns the names of the services.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        object(self.document.get("services")).map(|(name, _)| name.as_str())
    }

    pub(super) fn service(&self, name: &str) -> Option<&Value> {
        self.document.get("services")?.get(name)
    }

    /// Changes a service.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Map<String, Value>)) {
        let services = self.document.get_mut("services");
        if let Some(service) = services.and_then(|services| services.get_mut(name)) {
            change(as_object(service));
        }
    }

    /// Sets a sysctl(8) of a service, in the place of its own value.
    pub(super) fn set_sysctl(&mut self, service: &str, name: &str, value: &str) {
        self.change(service, |service| {
            let all = service.entry("sysctls").or_insert_with(|| json!({}));
            if let Value::Array(list) = all {
                list.retain(|one| one.as_str().and_then(|one| one.split('=').next()) != Some(name));
                list.push(json!(format!("{name}={value}")));
            } else {
                as_object(all).insert(name.to_owned(), json!(value));
            }
        });
    }

    /// Returns the name of the project, if Compose tells.
    pub(super) fn name(&self) -> Option<&str> {
        self.document.get("name").and_then(Value::as_str)
    }

    /// Returns the services that a service needs, directly or not.
    pub(super) fn dependencies(&self, service: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left = vec![service.to_owned()];
        while let Some(name) = left.pop() {
            let service = self.service(&name).unwrap_or(&Value::Null);
            let new = needed(service).into_iter();
            left.extend(new.filter(|name| found.insert(name.clone())));
        }
        found.remove(service);
        found
    }

    /// Returns the named volumes that a service mounts, by their keys in the file.
    pub(super) fn volumes_of(&self, service: &str) -> BTreeSet<String> {
        let mounts = self.service(service).and_then(|service| service.get("volumes"));
        let mounts = mounts.and_then(Value::as_array).into_iter().flatten();
        let sources = mounts.filter_map(|mount| match mount {
            Value::String(text) => text.split_once(':').map(|(source, _)| source),
            mount => mount.get("source").and_then(Value::as_str),
        });
        let named = sources.filter(|source| self.volume(source).is_some());
        named.map(str::to_owned).collect()
    }

    fn volume(&self, key: &str) -> Option<&Value> {
        self.document.get("volumes")?.get(key)
    }

    /// Returns whether a volume has a driver or options, such as a directory of the host.
    pub(super) fn has_driver(&self, key: &str) -> bool {
        let has = |name: &str| match self.volume(key).and_then(|volume| volume.get(name)) {
            None | Some(Value::Null) => false,
            Some(Value::String(driver)) => driver != "local",
            Some(other) => other.as_object().is_none_or(|options| !options.is_empty()),
        };
        has("driver") || has("driver_opts")
    }

    /// Returns the name of the project's volume in the engine.
    pub(super) fn volume_name(&self, key: &str, project: &str) -> String {
        let volume = self.volume(key).unwrap_or(&Value::Null);
        let external = volume.get("external").unwrap_or(&Value::Null);
        let named = external.get("name").or_else(|| volume.get("name")).and_then(Value::as_str);
        match named {
            Some(name) => name.to_owned(),
            None if external.is_null() || external == false => format!("{project}_{key}"),
            None => key.to_owned(),
        }
    }

    /// Returns the largest set that runs of a service try: the engine's default set and all
    /// capabilities that the file adds, whichever it drops.
    pub(super) fn most(&self, service: &str) -> Result<CapSet, crate::UnknownCap> {
        let all = CapSet::supported();
        let service = self.service(service).unwrap_or(&Value::Null);
        if is_on(service.get("privileged")) {
            return Ok(all);
        }
        let mut most = Profile::Docker.given();
        for name in strings(service.get("cap_add")) {
            most |= CapSet::from_names(name, all)?;
        }
        Ok(most & all)
    }

    /// Returns whether the engine starts a service again when it ends, as it does a server.
    pub(super) fn restarts(&self, service: &str) -> bool {
        let restart = self.service(service).and_then(|service| service.get("restart"));
        restart.and_then(Value::as_str).is_some_and(|policy| policy != "no")
    }

    /// Returns the file for a run.
    pub(super) fn changed(&self, changes: &Changes<'_>) -> String {
        let mut document = self.document.clone();
        document.remove("name");
        let mut uses_default = false;
        for (name, service) in entries(document.get_mut("services")) {
            let has = |key: &str| service.get(key).is_some_and(|value| !value.is_null());
            let names_default = service.get("networks").is_some_and(|all| {
                all.get("default").is_some() || strings(Some(all)).any(|name| name == "default")
            });
            uses_default |= names_default || !(has("networks") || has("network_mode"));
            change_service(name, service, changes);
        }
        if uses_default {
            let networks = document.entry("networks").or_insert_with(|| json!({}));
            if let Some(networks) = networks.as_object_mut() {
                networks.entry("default").or_insert_with(|| json!({}));
            }
        }
        for (_, network) in entries(document.get_mut("networks")) {
            change_created(network, changes.label);
        }
        if let Some(keys) = &changes.keys {
            add_volumes(&mut document, keys, changes.copies);
        }
        for (key, volume) in entries(document.get_mut("volumes")) {
            if let Some(name) = changes.volumes.get(key) {
                *volume = json!({ "external": true, "name": name });
            } else if let Some(name) = changes.kept.get(key) {
                let volume = as_object(volume);
                volume.insert("name".to_owned(), json!(name));
            } else {
                change_created(volume, changes.label);
            }
        }
        Value::Object(document).to_string()
    }
}

/// Labels a network or a volume that Compose creates, and lets Compose name it.
fn change_created(created: &mut Value, label: (&str, &str)) {
    let created = as_object(created);
    if created.get("external").is_some_and(|external| external != false && !external.is_null()) {
        return;
    }
    created.remove("name");
    add_label(created, label);
}

fn change_service(name: &str, service: &mut Value, changes: &Changes<'_>) {
    let service = as_object(service);
    // The services that the measured one needs are started whatever their profiles are.
    service.remove("profiles");
    add_label(service, changes.label);
    if let Some(build) = service.get_mut("build") {
        if let Value::String(context) = build {
            *build = json!({ "context": context });
        }
        add_label(as_object(build), changes.label);
        let image = format!("{}-{name}", changes.image);
        service.entry("image").or_insert_with(|| json!(image));
    }
    if name != changes.service {
        return;
    }
    // The end of the container would be hidden, and there is one container.
    service.remove("restart");
    service.remove("scale");
    if let Some(Value::Object(deploy)) = service.get_mut("deploy") {
        deploy.remove("replicas");
        deploy.remove("restart_policy");
    }
    if let Some(caps) = changes.caps {
        service.remove("privileged");
        service.insert("cap_drop".to_owned(), json!(["ALL"]));
        service
            .insert("cap_add".to_owned(), json!(caps.iter().map(super::bare).collect::<Vec<_>>()));
    }
    for (key, value) in changes.keys.iter().flatten() {
        replace(service, key, value);
    }
    if changes.is_checked {
        let check = as_object(service.entry("healthcheck").or_insert_with(|| json!({})));
        check.insert("interval".to_owned(), json!("1s"));
        check.remove("start_period");
    }
}

/// Puts a value in the place of that of a key. The entries of a list take the places of those that are
/// about the same.
fn replace(service: &mut Map<String, Value>, key: &str, value: &Value) {
    let Value::Array(new) = value else {
        if key == "image" {
            service.remove("build");
        }
        service.insert(key.to_owned(), value.clone());
        return;
    };
    if matches!(key, "entrypoint" | "command") {
        service.insert(key.to_owned(), value.clone());
        return;
    }
    let subject = |entry: &Value| match entry {
        Value::Object(mount) => mount.get("target").and_then(Value::as_str).map(str::to_owned),
        Value::String(text) => Some(subject(key, text).to_owned()),
        _ => None,
    };
    let mut all: Vec<Value> = match service.remove(key) {
        Some(Value::Array(list)) => list,
        Some(Value::Object(map)) => {
            let entry = |(name, value): (&String, &Value)| match value {
                Value::Null => json!(name),
                Value::String(text) => json!(format!("{name}={text}")),
                other => json!(format!("{name}={other}")),
            };
            map.iter().map(entry).collect()
        }
        Some(text @ Value::String(_)) => vec![text],
        _ => Vec::new(),
    };
    all.retain(|entry| !new.iter().any(|one| subject(one) == subject(entry)));
    all.extend(new.iter().cloned());
    service.insert(key.to_owned(), Value::Array(all));
}

/// Returns the part of an entry that says what it is about.
fn subject<'a>(key: &str, text: &'a str) -> &'a str {
    let mut parts =
        text.split(if matches!(key, "volumes" | "tmpfs" | "security_opt") { ':' } else { '=' });
    let first = parts.next().unwrap_or_default();
    if key == "volumes" { parts.next().unwrap_or(first) } else { first }
}

/// Adds the volumes that keys of a service name.
fn add_volumes(
    document: &mut Map<String, Value>,
    keys: &Map<String, Value>,
    copies: &BTreeMap<String, String>,
) {
    for mount in strings(keys.get("volumes")) {
        let name = mount.split(':').next().unwrap_or_default();
        if let Some(copy) = copies.get(name) {
            let volumes = document.entry("volumes").or_insert_with(|| json!({}));
            as_object(volumes).insert(name.to_owned(), json!({ "external": true, "name": copy }));
        }
    }
}

/// Returns the services that a service names.
fn needed(service: &Value) -> Vec<String> {
    let key = |name: &str| service.get(name);
    let mut all: Vec<String> = object(key("depends_on")).map(|(name, _)| name.clone()).collect();
    all.extend(strings(key("depends_on")).map(str::to_owned));
    let first = |text: &str| text.split(':').next().unwrap_or(text).to_owned();
    all.extend(strings(key("links")).map(first));
    let from = strings(key("volumes_from")).filter(|text| !text.starts_with("container:"));
    all.extend(from.map(first));
    for name in ["network_mode", "ipc", "pid"] {
        let mode = key(name).and_then(Value::as_str);
        all.extend(mode.and_then(|mode| mode.strip_prefix("service:")).map(str::to_owned));
    }
    all
}

/// Adds a label to labels that are a map or a list.
fn add_label(object: &mut Map<String, Value>, (name, value): (&str, &str)) {
    match object.entry("labels").or_insert_with(|| json!({})) {
        Value::Array(list) => list.push(json!(format!("{name}={value}"))),
        labels => {
            as_object(labels).insert(name.to_owned(), json!(value));
        }
    }
}

/// Returns the object that a value is, or becomes: an empty one stands as nothing in these files.
fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it is an object"),
    }
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn entries(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_on(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true)))
        || matches!(value, Some(Value::String(text)) if text == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cap;

    const FILE: &str = "
services:
  web:
    image: w
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    privileged: true
    restart: always
    depends_on: {api: {condition: service_healthy}}
    volumes: ['data:/data:rw', '/here:/here:rw', {type: volume, source: logs, target: /l}]
    environment: {A: 'x$$y'}
  api:
    build: /src
    network_mode: 'service:db'
    links: ['cache:c']
    labels: ['a=b']
  db:
    image: d
    volumes: [dbdata:/d]
    networks: [back]
  cache: {image: c, networks: {back: null}, profiles: [p]}
  other: {image: o, restart: always}
networks: {back: {name: real}, out: {external: true, name: o}}
volumes:
  data:
  logs: {external: true, name: all-logs}
  dbdata: {name: fixed}
  unused: {driver_opts: {type: none, o: bind, device: /x}}
";

    fn changed(caps: Option<CapSet>, volumes: &[(&str, &str)], kept: &[(&str, &str)]) -> Value {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect()
        };
        let (volumes, kept) = (map(volumes), map(kept));
        let changes = Changes {
            service: "web",
            caps,
            label: ("l", "1"),
            image: "i",
            volumes: &volumes,
            kept: &kept,
            is_checked: true,
            keys: None,
            copies: &BTreeMap::new(),
        };
        serde_json::from_str(&Project::new(FILE).unwrap().changed(&changes)).unwrap()
    }

    #[test]
    fn the_file_of_a_run() {
        let file = changed(Some(Cap::CHOWN.into()), &[("data", "copy")], &[("dbdata", "fixed")]);
        let web = &file["services"]["web"];
        assert_eq!(web["cap_drop"], json!(["ALL"]));
        assert_eq!(web["cap_add"], json!(["CHOWN"]));
        assert_eq!((&web["privileged"], &web["restart"]), (&Value::Null, &Value::Null));
        assert_eq!(web["healthcheck"], json!({"interval": "1s"}));
        assert_eq!(web["environment"]["A"], "x$$y");
        assert_eq!(web["volumes"][0], "data:/data:rw");
        assert_eq!(web["labels"], json!({"l": "1"}));
        let api = &file["services"]["api"];
        assert_eq!(api["build"], json!({"context": "/src", "labels": {"l": "1"}}));
        assert_eq!((&api["image"], &api["labels"]), (&json!("i-api"), &json!(["a=b", "l=1"])));
        assert_eq!(file["services"]["cache"]["profiles"], Value::Null);
        // The others restart as ever.
        assert_eq!(file["services"]["other"]["restart"], "always");
        let networks = &file["networks"];
        assert_eq!(networks["back"], json!({"labels": {"l": "1"}}));
        assert_eq!(networks["default"], json!({"labels": {"l": "1"}}));
        assert_eq!(networks["out"], json!({"external": true, "name": "o"}));
        let volumes = &file["volumes"];
        assert_eq!(volumes["data"], json!({"external": true, "name": "copy"}));
        assert_eq!(volumes["logs"], json!({"external": true, "name": "all-logs"}));
        assert_eq!(volumes["dbdata"], json!({"name": "fixed"}));
    }

    #[test]
    fn the_own_capabilities_of_a_service() {
        let web = &changed(None, &[], &[])["services"]["web"];
        assert_eq!((&web["cap_add"], &web["privileged"]), (&json!(["NET_ADMIN"]), &json!(true)));
    }

    #[test]
    fn keys_take_the_place_of_others() {
        let file = json!({"services": {"web": {
            "image": "w", "build": ".", "user": "root", "command": "a b", "entrypoint": ["/e"],
            "security_opt": ["no-new-privileges:false", "label:x"], "tmpfs": "/run",
            "sysctls": {"a.b": 1, "c.d": 2}, "environment": {"A": "1", "B": null},
            "volumes": ["d:/data:ro", {"type": "volume", "source": "e", "target": "/e"}, "/f"],
        }}});
        let keys = json!({
            "user": "33", "image": "new", "security_opt": ["no-new-privileges:true"],
            "tmpfs": ["/run:uid=33"], "sysctls": ["a.b=0"], "environment": ["A=2"],
            "volumes": ["v:/data:nocopy", "v:/e:nocopy"], "entrypoint": ["x"], "command": [],
        });
        let none = BTreeMap::new();
        let copies = [("v".to_owned(), "copy".to_owned())].into();
        let changes = Changes {
            service: "web",
            caps: Some(CapSet::empty()),
            label: ("l", "1"),
            image: "i",
            volumes: &none,
            kept: &none,
            is_checked: false,
            keys: keys.as_object().cloned(),
            copies: &copies,
        };
        let project = Project::new(&file.to_string()).unwrap();
        let changed: Value = serde_json::from_str(&project.changed(&changes)).unwrap();
        let want = json!({
            "image": "new", "user": "33", "command": [], "entrypoint": ["x"],
            "security_opt": ["label:x", "no-new-privileges:true"], "tmpfs": ["/run:uid=33"],
            "sysctls": ["c.d=2", "a.b=0"], "environment": ["B", "A=2"],
            "volumes": ["/f", "v:/data:nocopy", "v:/e:nocopy"],
            "cap_drop": ["ALL"], "cap_add": [], "labels": {"l": "1"},
        });
        assert_eq!(changed["services"]["web"], want);
        assert_eq!(changed["volumes"]["v"], json!({"external": true, "name": "copy"}));
    }

    #[test]
    fn dependencies_and_volumes() {
        let project = Project::new(FILE).unwrap();
        let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names(project.dependencies("web")), "api cache db");
        assert_eq!(names(project.dependencies("db")), "");
        assert_eq!(names(project.volumes_of("web")), "data logs");
        let name = |key| project.volume_name(key, "p");
        assert_eq!(["data", "logs", "dbdata"].map(name), ["p_data", "all-logs", "fixed"]);
        assert!(project.has_driver("unused") && !project.has_driver("data"));
        assert!(project.restarts("web") && !project.restarts("db"));
        assert_eq!(project.most("web").unwrap(), CapSet::supported());
        assert_eq!(project.most("db").unwrap(), Profile::Docker.given() & CapSet::supported());
    }

    #[test]
    fn a_file_without_services() {
        for text in ["", "a: b", "[", "services: 1"] {
            let project = Project::new(text);
            assert!(project.is_err() || project.unwrap().services().next().is_none(), "{text}");
        }
    }
}
