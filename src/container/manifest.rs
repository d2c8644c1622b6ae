//! `podman kube play`: a container of a pod in a Kubernetes manifest.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    panic, thread,
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{Delegation, Engine, Failed, engine::answer};
use crate::{
    CapSet,
    settings::{Profile, documents},
};

/// A `kube play` command line of Podman, with a container of the only pod in its manifest.
///
/// Each run has a new pod. Its other containers are started first, as the manifest gives them, by a
/// client that is not recorded.
#[derive(Clone, Debug)]
pub struct Manifest {
    before: Vec<String>,
    /// The options of `kube play` that every run has.
    options: Vec<String>,
    file: String,
    /// The specification of the pod, and the labels of its metadata.
    specification: Map<String, Value>,
    labels: Map<String, Value>,
    /// The values that containers can refer to.
    others: Vec<Value>,
    place: Place,
    /// The name of the client and its subcommand, for messages.
    name: String,
}

/// Options of `kube play` that take a value.
const VALUED: [&str; 14] = [
    "--annotation",
    "--authfile",
    "--cert-dir",
    "--configmap",
    "--context-dir",
    "--creds",
    "--ip",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "--network",
    "--publish",
    "--seccomp-profile-root",
    "--userns",
];

/// Options of `kube play` that every run has.
const SWITCHES: [&str; 6] = [
    "--build",
    "--no-hosts",
    "--publish-all",
    "--service-container",
    "--tls-verify",
    "--no-hostname",
];

/// Options of `kube play` that a measurement replaces.
const LEFT_OUT: [&str; 6] = ["--quiet", "-q", "--replace", "--start", "--wait", "-w"];

impl Manifest {
    /// Takes a command line apart, and reads the manifest. `container` names a container or an init
    /// container of the pod; a pod with one container needs no name.
    ///
    /// # Errors
    ///
    /// An unknown option, a manifest that has not exactly one pod, or a pod with several containers
    /// if none is named.
    pub fn new(delegation: &Delegation, container: Option<&str>) -> Result<Manifest, Failed> {
        // `podman play kube` is the older name.
        let is_old = delegation.after.first().is_some_and(|word| word == "kube");
        let mut words = delegation.after.iter().skip(usize::from(is_old));
        let (mut options, mut files) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            let name = word.split('=').next().unwrap_or(word);
            if word == "-" || !word.starts_with('-') {
                files.push(word.clone());
            } else if VALUED.contains(&name) {
                options.push(word.clone());
                let value = if name == word { words.next() } else { None };
                options.extend(value.cloned());
            } else if SWITCHES.contains(&name) {
                options.push(word.clone());
            } else if !LEFT_OUT.contains(&name) {
                return Err(Failed::Unfit(format!("unknown option {name}")));
            }
        }
        let [file] = &*files else { return Err(Failed::Unfit("one FILE is required".to_owned())) };
        let unfit = |words: &str| Failed::Unfit(format!("{file}: {words}"));
        if file == "-" {
            return Err(unfit("a manifest from standard input cannot be played again"));
        }
        let text = read(file).map_err(|err| unfit(&err.to_string()))?;
        let all = documents(&text).map_err(|err| unfit(&err.to_string()))?;
        let (specification, labels) = only_pod(&all).map_err(unfit)?;
        let place = Place::of(&specification, container, unfit)?;
        // The options of Podman itself stand before both words of the subcommand.
        let mut before = delegation.before.clone();
        let _ = before.pop_if(|last| last == "kube");
        Ok(Manifest {
            before,
            options,
            file: file.clone(),
            place,
            others: all.into_iter().filter(|one| one["kind"] == "ConfigMap").collect(),
            specification,
            labels,
            name: delegation.name.clone(),
        })
    }

    /// Returns the file, as the user named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the name of the container.
    pub fn container(&self) -> &str {
        name_of(&self.specification[self.place.key][self.place.index])
    }

    pub(super) fn engine(&self) -> Engine {
        Engine::new(&self.before)
    }

    /// Returns whether Podman starts the container again when it ends, as it does a server.
    pub(super) fn restarts(&self) -> bool {
        let policy = self.specification.get("restartPolicy").and_then(Value::as_str);
        !matches!(policy, Some("Never" | "OnFailure"))
    }

    /// Returns the largest set that the runs try: Podman's default set and what the manifest adds,
    /// whichever it drops.
    pub(super) fn most(&self) -> Result<CapSet, crate::UnknownCap> {
        let all = CapSet::supported();
        let security = &self.specification[self.place.key][self.place.index]["securityContext"];
        if security["privileged"] == true {
            return Ok(all);
        }
        let mut most = Profile::Podman.given();
        for name in security["capabilities"]["add"].as_array().into_iter().flatten() {
            most |= CapSet::from_names(name.as_str().unwrap_or_default(), all)?;
        }
        Ok(most & all)
    }

    /// Returns the manifest of a run, with these capabilities or its own ones.
    fn changed(&self, caps: Option<CapSet>, copies: &BTreeMap<String, String>) -> String {
        let mut specification = self.specification.clone();
        // The end of the container would be hidden. Podman has one policy for the whole pod.
        specification.insert("restartPolicy".to_owned(), json!("Never"));
        for volume in
            specification.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten()
        {
            let claim = volume.pointer_mut("/persistentVolumeClaim/claimName");
            if let Some(claim) = claim
                && let Some(copy) = claim.as_str().and_then(|name| copies.get(name))
            {
                *claim = json!(copy);
            }
        }
        if let (Some(caps), Some(containers)) = (caps, specification.get_mut(self.place.key)) {
            let security = &mut containers[self.place.index]["securityContext"];
            if !security.is_object() {
                *security = json!({});
            }
            security["privileged"] = json!(false);
            security["capabilities"] = capabilities(caps);
        }
        let mut labels = self.labels.clone();
        labels.insert(super::engine::LABEL.to_owned(), json!(Engine::owner()));
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": specification,
            "metadata": {"name": pod_name(), "labels": labels},
        });
        let all = self.others.iter().chain([&pod]).map(Value::to_string);
        all.collect::<Vec<_>>().join("\n---\n")
    }

    /// Creates the pod, and returns the name of its container. None has started.
    pub(super) fn create(
        &self,
        engine: &Engine,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
    ) -> Result<String, Failed> {
        let mut command = engine.command(&["kube", "play", "--quiet", "--start=false"]);
        command.args(&self.options).arg("-");
        answer(command, &self.name, Some(&self.changed(caps, copies)))?;
        Ok(in_pod(self.container()))
    }

    /// Starts the other containers of the pod: the init containers before this one, each after the
    /// end of the last, and then all others, which run on. Returns whether it was not cancelled.
    pub(super) fn start_others(
        &self,
        engine: &Engine,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Failed> {
        // The processes of the pod itself are not measured.
        let infra = ["pod", "inspect", "--format={{.InfraContainerID}}", &pod_name()];
        let infra = engine.output(&infra)?;
        if !infra.is_empty() {
            engine.output(&["start", "--", &infra])?;
        }
        let (first, others) = self.place.others(&self.specification);
        for name in first {
            if !run_to_end(engine, name, cancelled)? {
                return Ok(false);
            }
        }
        for name in others {
            engine
                .output(&["start", "--", &in_pod(name)])
                .map_err(|err| of_container(name, err))?;
        }
        Ok(true)
    }

    /// Returns the names of the volumes that the containers of the pod share with other pods.
    pub(super) fn volumes(&self) -> Vec<String> {
        let volumes = self.specification.get("volumes").and_then(Value::as_array);
        let claims = volumes.into_iter().flatten();
        let claims =
            claims.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        claims.map(str::to_owned).collect()
    }

    /// Returns whether a container of the pod can write to a directory of the host, or to a volume
    /// that is not copied.
    pub(super) fn is_stateful(&self, uses_real_volumes: bool) -> bool {
        let volumes = self.specification.get("volumes").and_then(Value::as_array);
        let is_shared = |name: &Value| {
            volumes.into_iter().flatten().filter(|volume| volume["name"] == *name).any(|volume| {
                let is_claim = volume["persistentVolumeClaim"].is_object();
                volume["hostPath"].is_object() || is_claim && uses_real_volumes
            })
        };
        let containers = KEYS.iter().flat_map(|key| containers(&self.specification, key));
        let mut mounts = containers.filter_map(|one| one["volumeMounts"].as_array()).flatten();
        mounts.any(|mount| mount["readOnly"] != true && is_shared(&mount["name"]))
    }
}

/// The lists of containers of a pod, in the order in which they are started.
const KEYS: [&str; 2] = ["initContainers", "containers"];

/// The place of a container in the specification of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: &'static str,
    index: usize,
}

impl Place {
    /// Returns the place of the container with this name, or of the only container of a pod. `unfit`
    /// makes the error.
    fn of(
        specification: &Map<String, Value>,
        name: Option<&str>,
        unfit: impl Fn(&str) -> Failed,
    ) -> Result<Place, Failed> {
        let [init, main] = KEYS.map(|key| containers(specification, key));
        let places = KEYS.iter().zip([init, main]).flat_map(|(key, all)| {
            all.iter().enumerate().map(|(index, one)| (Place { key, index }, name_of(one)))
        });
        let places: Vec<_> = places.collect();
        let names: Vec<&str> = places.iter().map(|(_, name)| *name).collect();
        let choice = format!("choose one of {} with --container", names.join(", "));
        match (name, main) {
            (Some(name), _) => {
                let found = places.iter().find(|(_, other)| *other == name);
                let found = found.map(|(place, _)| *place);
                found.ok_or_else(|| unfit(&format!("its pod has no container {name}: {choice}")))
            }
            (None, [_]) => Ok(Place { key: KEYS[1], index: 0 }),
            (None, []) => Err(unfit("its pod has no container")),
            (None, _) => Err(unfit(&format!("its pod has several containers: {choice}"))),
        }
    }

    /// Returns the names of the other containers that are started: the init containers before this
    /// one, and all others. Podman starts the latter after every init container.
    fn others(self, specification: &Map<String, Value>) -> (Vec<&str>, Vec<&str>) {
        let [init, main] =
            KEYS.map(|key| containers(specification, key).iter().map(name_of).collect::<Vec<_>>());
        if self.key == KEYS[0] {
            return (init.into_iter().take(self.index).collect(), Vec::new());
        }
        let main = main.into_iter().enumerate().filter(|(index, _)| *index != self.index);
        (init, main.map(|(_, name)| name).collect())
    }
}

fn containers<'a>(specification: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    specification.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name_of(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// Returns the name that Podman gives to a container of the pod of this measurement.
fn in_pod(container: &str) -> String {
    format!("{}-{container}", pod_name())
}

/// Runs an init container until it has ended. Returns whether it was not cancelled.
fn run_to_end(
    engine: &Engine,
    name: &str,
    cancelled: &mut dyn FnMut() -> bool,
) -> Result<bool, Failed> {
    const PULSE: Duration = Duration::from_millis(20);
    thread::scope(|scope| {
        let client = scope.spawn(|| engine.output(&["start", "--attach", "--", &in_pod(name)]));
        while !client.is_finished() {
            if cancelled() {
                // The client ends with its container.
                engine.remove_pod(&pod_name());
                return Ok(false);
            }
            thread::sleep(PULSE);
        }
        let ended = client.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        ended.map(|_| true).map_err(|err| of_container(name, err))
    })
}

/// Returns an error of the client with the name of the container.
fn of_container(name: &str, err: Failed) -> Failed {
    match err {
        Failed::Client { message, .. } => {
            Failed::Client { command: format!("container {name}"), message }
        }
        err => err,
    }
}

/// Returns `capabilities` of a security context that gives exactly this set.
fn capabilities(set: CapSet) -> Value {
    json!({ "drop": ["ALL"], "add": set.iter().map(super::bare).collect::<Vec<_>>() })
}

/// Returns the name of the pod of this measurement.
pub(super) fn pod_name() -> String {
    format!("rcap-{}", Engine::owner())
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.file)
    }
}

fn read(file: &str) -> io::Result<String> {
    /// Far more than any manifest has.
    const LONGEST: u64 = 16 << 20;
    let mut text = String::new();
    File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The specification of a pod, and its labels.
type Pod = (Map<String, Value>, Map<String, Value>);

/// Returns the only pod.
fn only_pod(all: &[Value]) -> Result<Pod, &'static str> {
    let pods = all.iter().filter_map(|document| {
        let template = &document["spec"]["template"];
        let pod = if document["kind"] == "Pod" { document } else { template };
        let specification = pod["spec"].as_object()?;
        Some((specification, pod["metadata"]["labels"].as_object()))
    });
    let pods: Vec<_> = pods.collect();
    let [(specification, labels)] = &*pods else {
        return Err("it has not exactly one pod: measure each in a file of its own");
    };
    Ok(((*specification).clone(), labels.cloned().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cap;

    const POD: &str = "
kind: ConfigMap
metadata: {name: c}
---
kind: Deployment
metadata: {name: d}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      volumes: [{name: v, persistentVolumeClaim: {claimName: data}}, {name: e, emptyDir: {}}]
      containers:
      - {name: web, image: i, securityContext: {privileged: true, runAsUser: 5}}
---
kind: Service
metadata: {name: s}
spec: {ports: []}
";

    fn manifest(text: &str, options: &str) -> Result<Manifest, Failed> {
        named(text, options, None)
    }

    fn named(text: &str, options: &str, container: Option<&str>) -> Result<Manifest, Failed> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.yaml");
        std::fs::write(&path, text).unwrap();
        let line = format!("podman --root /r kube play {options} {}", path.display());
        let line: Vec<_> = line.split_whitespace().map(Into::into).collect();
        Manifest::new(&Delegation::of(&line).unwrap(), container)
    }

    #[test]
    fn the_manifest_of_a_run() {
        let found = manifest(POD, "--replace --network host --log-driver=none").unwrap();
        assert_eq!(found.options, ["--network", "host", "--log-driver=none"]);
        assert_eq!(found.before, ["podman", "--root", "/r"]);
        assert_eq!((found.container(), found.restarts()), ("web", true));
        assert_eq!(found.most().unwrap(), CapSet::supported());
        let copies = [("data".to_owned(), "copy".to_owned())].into();
        let text = found.changed(Some(Cap::KILL.into()), &copies);
        let all = documents(&text).unwrap();
        assert_eq!(all[0]["kind"], "ConfigMap");
        assert_eq!(all[1]["metadata"]["labels"]["app"], "web");
        let pod = &all[1]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "copy");
        assert_eq!(pod["volumes"][1], json!({"name": "e", "emptyDir": {}}));
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "privileged": false, "runAsUser": 5,
                "capabilities": {"drop": ["ALL"], "add": ["KILL"]},
            })
        );
        let own = documents(&found.changed(None, &copies)).unwrap();
        assert_eq!(own[1]["spec"]["containers"][0]["securityContext"]["privileged"], true);
    }

    #[test]
    fn wrong_manifests() {
        let two = POD.replace("- {name: web", "- {name: a, image: i}\n      - {name: web");
        let empty = "kind: Pod\nspec: {initContainers: [{name: a}]}\n";
        let pods = format!("{POD}---\nkind: Pod\nspec: {{containers: [{{name: a}}]}}\n");
        for (text, options, want) in [
            (&*two, "", "several containers: choose one of a, web with --container"),
            (empty, "", "no container"),
            (&pods, "", "exactly one pod"),
            ("kind: Service\n", "", "exactly one pod"),
            (POD, "--what", "unknown option --what"),
            (POD, "other", "one FILE"),
        ] {
            let err = manifest(text, options).unwrap_err().to_string();
            assert!(err.contains(want), "{err}");
        }
    }

    #[test]
    fn a_container_of_several() {
        let text = "
kind: Pod
spec:
  volumes:
  - {name: h, hostPath: {path: /h}}
  - {name: v, persistentVolumeClaim: {claimName: data}}
  initContainers: [{name: a}, {name: b, securityContext: {privileged: true}}]
  containers:
  - {name: c, volumeMounts: [{name: h, readOnly: true}]}
  - {name: d, securityContext: {capabilities: {add: [SYS_TIME]}}, volumeMounts: [{name: v}]}
  - {name: e}
";
        let all = CapSet::supported();
        let podman = Profile::Podman.given() & all;
        #[rustfmt::skip]
        let rows: [(&str, &[&str], &[&str], CapSet); 5] = [
            ("a", &[],         &[],         podman),
            ("b", &["a"],      &[],         all),
            ("c", &["a", "b"], &["d", "e"], podman),
            ("d", &["a", "b"], &["c", "e"], podman | Cap::SYS_TIME),
            ("e", &["a", "b"], &["c", "d"], podman),
        ];
        for (name, first, others, most) in rows {
            let found = named(text, "", Some(name)).unwrap();
            assert_eq!(found.container(), name);
            let started = found.place.others(&found.specification);
            assert_eq!(started, (first.to_vec(), others.to_vec()), "{name}");
            assert_eq!(found.most().unwrap(), most, "{name}");
            // The others keep their own capabilities.
            let pod = documents(&found.changed(Some(Cap::KILL.into()), &BTreeMap::new())).unwrap();
            let pod = pod[0]["spec"].as_object().unwrap();
            let containers = KEYS.iter().flat_map(|key| containers(pod, key));
            let given = containers
                .filter(|one| one["securityContext"]["capabilities"]["add"] == json!(["KILL"]));
            assert_eq!(given.map(name_of).collect::<Vec<_>>(), [name]);
            assert_eq!(found.volumes(), ["data"]);
            assert_eq!([false, true].map(|real| found.is_stateful(real)), [false, true]);
        }
        let err = named(text, "", Some("x")).unwrap_err().to_string();
        assert!(err.ends_with("no container x: choose one of a, b, c, d, e with --container"));
        let written = text.replace(", readOnly: true", "");
        assert!(named(&written, "", Some("e")).unwrap().is_stateful(false));
    }
}
