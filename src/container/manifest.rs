//! `podman kube play`: the container of a pod in a Kubernetes manifest.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
};

use serde_json::{Map, Value, json};

use super::{Delegation, Engine, Failed, engine::answer};
use crate::{
    CapSet,
    settings::{Profile, documents},
};

/// A `kube play` command line of Podman, with the only container of its manifest.
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
    container: String,
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
    /// Takes a command line apart, and reads the manifest.
    ///
    /// # Errors
    ///
    /// An unknown option, or a manifest that has not exactly one pod with one container.
    pub fn new(delegation: &Delegation) -> Result<Manifest, Failed> {
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
        let container = specification["containers"][0]["name"].as_str().unwrap_or_default();
        // The options of Podman itself stand before both words of the subcommand.
        let mut before = delegation.before.clone();
        let _ = before.pop_if(|last| last == "kube");
        Ok(Manifest {
            before,
            options,
            file: file.clone(),
            container: container.to_owned(),
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
        &self.container
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
        let security = &self.specification["containers"][0]["securityContext"];
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
        // The end of the container would be hidden.
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
        if let (Some(caps), Some(container)) = (caps, specification.get_mut("containers")) {
            let security = &mut container[0]["securityContext"];
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

    /// Creates the pod, and returns the ID of its container, which has not started.
    pub(super) fn create(
        &self,
        engine: &Engine,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
    ) -> Result<String, Failed> {
        let mut command = engine.command(&["kube", "play", "--quiet", "--start=false"]);
        command.args(&self.options).arg("-");
        let text = answer(command, &self.name, Some(&self.changed(caps, copies)))?;
        let mut lines = text.lines().skip_while(|line| !line.starts_with("Container"));
        let id = lines.nth(1).unwrap_or_default().trim().to_owned();
        if id.is_empty() {
            return Err(Failed::Unfit("Podman has not created a container".to_owned()));
        }
        // The processes of the pod itself are not measured.
        let infra = ["pod", "inspect", "--format={{.InfraContainerID}}", &pod_name()];
        let infra = engine.output(&infra)?;
        if !infra.is_empty() {
            engine.output(&["start", "--", &infra])?;
        }
        Ok(id)
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

/// Returns the only pod, which has one container.
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
    let count = |key: &str| specification.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    if count("containers") != 1 || count("initContainers") != 0 {
        return Err("its pod has not exactly one container: measure each in a pod of its own");
    }
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.yaml");
        std::fs::write(&path, text).unwrap();
        let line = format!("podman --root /r kube play {options} {}", path.display());
        let line: Vec<_> = line.split_whitespace().map(Into::into).collect();
        Manifest::new(&Delegation::of(&line).unwrap())
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
        let pods = format!("{POD}---\nkind: Pod\nspec: {{containers: [{{name: a}}]}}\n");
        for (text, options, want) in [
            (&*two, "", "exactly one container"),
            (&pods, "", "exactly one pod"),
            ("kind: Service\n", "", "exactly one pod"),
            (POD, "--what", "unknown option --what"),
            (POD, "other", "one FILE"),
        ] {
            let err = manifest(text, options).unwrap_err().to_string();
            assert!(err.contains(want), "{err}");
        }
    }
}
