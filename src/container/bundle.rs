//! The bundle of an OCI runtime: the command line that runs it, and its configuration.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    Delegation, Failed,
    client::{Known, option},
};
use crate::{
    CapSet,
    launch::helper,
    settings::{
        self, Context, Format, Id, InputFormat, Profile, Settings, User, after_wrappers, shell_word,
    },
    trace::minimize::{Effects, Subject},
};

/// A `run` command line of an OCI runtime such as runc or crun, with the configuration of its
/// bundle. (github.com/opencontainers/runtime-spec, bundle.md)
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The runtime with its own options.
    before: Vec<String>,
    /// The options of `run` that every run has.
    options: Vec<String>,
    /// Whether the runtime ends before the container does.
    is_detached: bool,
    id: String,
    directory: PathBuf,
    /// The file with the configuration, without links.
    configuration: PathBuf,
    document: Value,
    /// The directories of the machine that the container sees, and their places in it. The longest
    /// ones come first.
    shared: Vec<[PathBuf; 2]>,
}

/// The options of `run`: their names, whether they take a value, and their meaning.
const OPTIONS: [Known<Meaning>; 10] = [
    (&["--bundle", "-b"], true, Meaning::Bundle),
    (&["--config", "-f"], true, Meaning::Configuration),
    (&["--detach", "-d"], false, Meaning::Detach),
    (&["--no-pivot"], false, Meaning::Kept),
    (&["--no-new-keyring"], false, Meaning::Kept),
    (&["--console-socket"], true, Meaning::LeftOut),
    (&["--pid-file"], true, Meaning::LeftOut),
    (&["--preserve-fds"], true, Meaning::LeftOut),
    (&["--keep"], false, Meaning::LeftOut),
    (&["--no-subreaper"], false, Meaning::LeftOut),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Bundle,
    Configuration,
    Detach,
    Kept,
    LeftOut,
}

impl Bundle {
    /// Takes a command line apart, and reads the configuration.
    ///
    /// # Errors
    ///
    /// An unknown option, no container ID, or a configuration that cannot be read or measured.
    pub fn new(delegation: &Delegation) -> Result<Bundle, Failed> {
        let (mut directory, mut configuration) = (PathBuf::from("."), None);
        let (mut options, mut is_detached, mut names) = (Vec::new(), false, Vec::new());
        let mut words = delegation.after.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                names.push(word.clone());
                continue;
            }
            let (meaning, value) = option(word, &mut words, &OPTIONS)?;
            match (meaning, value) {
                (Meaning::Bundle, Some(value)) => directory = value.into(),
                (Meaning::Configuration, value) => configuration = value.map(PathBuf::from),
                (_, Some(value)) if value == "false" => {}
                (Meaning::Detach, _) => is_detached = true,
                (Meaning::Kept, _) => options.push(word.clone()),
                _ => {}
            }
        }
        let [id] = &*names else {
            return Err(Failed::Unfit("one container ID is required".to_owned()));
        };
        let directory = resolved(&directory)?;
        let file = configuration.clone().unwrap_or_else(|| directory.join("config.json"));
        let file = resolved(&file)?;
        if configuration.is_some() {
            options.extend(["--config".to_owned(), file.to_string_lossy().into_owned()]);
        }
        let document = read(&file)?;
        check_namespaces(&document)?;
        Ok(Bundle {
            before: delegation.before.clone(),
            options,
            is_detached,
            id: id.clone(),
            shared: shared(&document, &directory)?,
            directory,
            configuration: file,
            document,
        })
    }

    /// Returns the name of the runtime, such as `runc`.
    pub fn runtime(&self) -> &str {
        let program = self.before.get(after_wrappers(&self.before));
        program.map_or("", |word| word.rsplit('/').next().unwrap_or(word))
    }

    /// Returns the file with the configuration.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Returns the value of `process.capabilities` that gives the container exactly this set. For a
    /// user other than root, the capabilities are also ambient.
    ///
    /// # Panics
    ///
    /// Never: the text of an OCI configuration is JSON.
    pub fn capabilities(&self, set: CapSet) -> Value {
        let text = Format::Oci.write(&Settings::new(set).for_user(self.user()));
        let written: Option<Value> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        written.map(|mut written| written["process"]["capabilities"].take()).unwrap_or_default()
    }

    fn user(&self) -> User {
        let number = |key: &str| self.document["process"]["user"][key].as_u64();
        let uid = number("uid").and_then(|uid| u32::try_from(uid).ok()).unwrap_or_default();
        Id::Number(uid).into()
    }

    /// Returns the user ID of the container, unless it is root.
    pub(super) fn other_user(&self) -> Option<String> {
        let user = self.user();
        (!user.is_root()).then(|| user.to_string())
    }

    /// Returns the largest set that the runs try: Docker's default set, and the capabilities of the
    /// configuration.
    pub(super) fn most(&self) -> CapSet {
        let own = self.given().unwrap_or_default();
        (Profile::Docker.given() | own) & CapSet::supported()
    }

    /// Returns the capabilities that the configuration gives.
    pub(super) fn given(&self) -> Result<CapSet, Failed> {
        let text = self.document.to_string();
        let read = settings::read_in(&text, Some(InputFormat::Oci), &Context::default());
        let read = read.map_err(|err| self.unfit(&err.to_string()))?;
        Ok(read.first().map(|settings| settings.bounding).unwrap_or_default())
    }

    fn unfit(&self, words: &str) -> Failed {
        Failed::Unfit(format!("{}: {words}", self.configuration.display()))
    }

    pub(super) fn is_detached(&self) -> bool {
        self.is_detached
    }

    /// Returns the configuration of a run with these capabilities, or with its own ones.
    pub(super) fn changed(&self, caps: Option<CapSet>) -> String {
        let mut document = self.document.clone();
        if let Some(caps) = caps {
            document["process"]["capabilities"] = self.capabilities(caps);
        }
        // A terminal would join both streams.
        document["process"]["terminal"] = json!(false);
        if let Some(linux) = document["linux"].as_object_mut() {
            // A group with the name of the run can be found and removed later.
            linux.remove("cgroupsPath");
        }
        document.to_string()
    }

    /// Returns the command that runs a container with this ID.
    pub(super) fn run(&self, id: &str) -> Command {
        let mut command = self.command(&["run"]);
        command.args(&self.options).arg("--bundle").arg(&self.directory).arg(id);
        command
    }

    /// Returns a command of the runtime.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = helper(self.before.first().map_or("runc", String::as_str));
        command.args(self.before.iter().skip(1)).args(args);
        command
    }

    /// Returns a shell command line that calls the runtime.
    pub(super) fn line(&self, args: &[&str]) -> String {
        let words = self.before.iter().map(String::as_str).chain(args.iter().copied());
        words.map(shell_word).collect::<Vec<_>>().join(" ")
    }

    /// Returns the effects on files that the container sees, under their names in it.
    pub(super) fn inside(&self, effects: Effects) -> Effects {
        let facts = effects.facts.into_iter().filter_map(|(subject, facts)| match subject {
            Subject::File(path) => Some((Subject::File(self.name_inside(&path)?), facts)),
            other => Some((other, facts)),
        });
        Effects { facts: facts.collect(), processes: effects.processes }
    }

    fn name_inside(&self, path: &Path) -> Option<PathBuf> {
        self.shared.iter().find_map(|[outside, inside]| {
            let rest = path.strip_prefix(outside).ok()?;
            Some(if rest.as_os_str().is_empty() { inside.clone() } else { inside.join(rest) })
        })
    }
}

/// The subcommand and the ID, such as `runc run … web`.
impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run \u{2026} {}", self.runtime(), self.id)
    }
}

fn failed(path: &Path, err: &io::Error) -> Failed {
    Failed::Unfit(format!("{}: {err}", path.display()))
}

fn resolved(path: &Path) -> Result<PathBuf, Failed> {
    fs::canonicalize(path).map_err(|err| failed(path, &err))
}

fn read(path: &Path) -> Result<Value, Failed> {
    /// Far more than the configuration of any container.
    const LONGEST: u64 = 16 << 20;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .map_err(|err| failed(path, &err))?;
    let unfit = |words: &str| Failed::Unfit(format!("{}: {words}", path.display()));
    let document: Value = serde_json::from_str(&text).map_err(|err| unfit(&err.to_string()))?;
    if !document["process"].is_object() {
        return Err(unfit("it has no process"));
    }
    Ok(document)
}

/// Refuses a configuration that joins a namespace: its file leads out of the copy of the file
/// system.
fn check_namespaces(document: &Value) -> Result<(), Failed> {
    let all = document["linux"]["namespaces"].as_array().into_iter().flatten();
    for namespace in all {
        if let Some(path) = namespace["path"].as_str().filter(|path| !path.is_empty()) {
            let kind = namespace["type"].as_str().unwrap_or_default();
            return Err(Failed::Unfit(format!(
                "the container joins the {kind} namespace {path}, which a copy of the file system \
                 does not have: measure it with a new one"
            )));
        }
    }
    Ok(())
}

/// Returns the root directory and the bind mounts: the directory of the machine, and its place in
/// the container.
fn shared(document: &Value, directory: &Path) -> Result<Vec<[PathBuf; 2]>, Failed> {
    let root = document["root"]["path"].as_str().unwrap_or("rootfs");
    let mut all = vec![[resolved(&directory.join(root))?, PathBuf::from("/")]];
    for mount in document["mounts"].as_array().into_iter().flatten() {
        let options = mount["options"].as_array().into_iter().flatten();
        let mut options = options.filter_map(Value::as_str);
        let is_bind =
            mount["type"] == "bind" || options.any(|one| ["bind", "rbind"].contains(&one));
        let (source, place) = (mount["source"].as_str(), mount["destination"].as_str());
        if let (true, Some(source), Some(place)) = (is_bind, source, place) {
            // The runtime says what is wrong with a directory that does not exist.
            if let Ok(source) = fs::canonicalize(directory.join(source)) {
                all.push([source, place.into()]);
            }
        }
    }
    all.sort_by_key(|[outside, _]| std::cmp::Reverse(outside.components().count()));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, trace::minimize::Aspect};

    fn bundle(directory: &Path, words: &str, configuration: &Value) -> Result<Bundle, Failed> {
        fs::create_dir_all(directory.join("rootfs")).unwrap();
        fs::create_dir_all(directory.join("data")).unwrap();
        fs::write(directory.join("config.json"), configuration.to_string()).unwrap();
        let line = format!("runc --root /r run {words} -b {}", directory.display());
        let line: Vec<_> = line.split(' ').map(Into::into).collect();
        Bundle::new(&Delegation::of(&line).unwrap())
    }

    fn configuration(uid: u32) -> Value {
        json!({
            "process": {
                "terminal": true, "user": {"uid": uid}, "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_NET_ADMIN"], "ambient": ["CAP_KILL"]},
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data", "source": "data", "options": ["rbind", "ro"]},
            ],
            "linux": {"cgroupsPath": "/g", "namespaces": [{"type": "mount"}]},
        })
    }

    #[test]
    fn the_configuration_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let chown = json!(["CAP_CHOWN"]);
        for (uid, others) in [(0, json!([])), (1000, chown.clone())] {
            let bundle = bundle(dir.path(), "x", &configuration(uid)).unwrap();
            let text = bundle.changed(Some(Cap::CHOWN.into()));
            let run: Value = serde_json::from_str(&text).unwrap();
            let caps = &run["process"]["capabilities"];
            for key in ["bounding", "permitted", "effective"] {
                assert_eq!(
                    caps[key],
                    if uid == 0 || key == "bounding" { chown.clone() } else { others.clone() },
                    "{key}"
                );
            }
            for key in ["inheritable", "ambient"] {
                assert_eq!(caps[key], others, "{key}");
            }
            assert_eq!(run["process"]["terminal"], false);
            assert_eq!(run["process"]["noNewPrivileges"], true);
            assert_eq!(run["linux"], json!({"namespaces": [{"type": "mount"}]}));
            let own: Value = serde_json::from_str(&bundle.changed(None)).unwrap();
            assert_eq!(
                own["process"]["capabilities"],
                configuration(uid)["process"]["capabilities"]
            );
            assert_eq!(bundle.given().unwrap(), Cap::NET_ADMIN.into());
        }
    }

    #[test]
    fn the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let words = "--no-pivot --pid-file p -d --preserve-fds=2 web";
        let found = bundle(dir.path(), words, &configuration(0)).unwrap();
        assert!(found.is_detached());
        let command = found.run("c");
        let args: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        let directory = fs::canonicalize(dir.path()).unwrap();
        let want =
            ["--root", "/r", "run", "--no-pivot", "--bundle", directory.to_str().unwrap(), "c"];
        assert_eq!(args, want);
        assert_eq!(found.to_string(), "runc run \u{2026} web");
        let words = "--detach=false --no-pivot=false web";
        let found = bundle(dir.path(), words, &configuration(0)).unwrap();
        let command = found.run("c");
        assert!(!found.is_detached());
        assert!(!command.get_args().any(|word| word.as_encoded_bytes().starts_with(b"--no-pivot")));
        let mut joins = configuration(0);
        joins["linux"]["namespaces"][0]["path"] = json!("/proc/1/ns/mnt");
        for (words, configuration, want) in [
            ("--foo web", &configuration(0), "unknown option --foo"),
            ("a b", &configuration(0), "one container ID is required"),
            ("web", &json!({}), "it has no process"),
            ("web", &joins, "joins the mount namespace /proc/1/ns/mnt"),
        ] {
            let err = bundle(dir.path(), words, configuration).unwrap_err().to_string();
            assert!(err.contains(want), "{err}");
        }
    }

    #[test]
    fn names_inside() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path(), "x", &configuration(0)).unwrap();
        let directory = fs::canonicalize(dir.path()).unwrap();
        let mut effects = Effects::default();
        for name in ["rootfs", "rootfs/etc/f", "data/x", "config.json", "rootfs2"] {
            let subject = Subject::File(directory.join(name));
            effects.insert(subject, Aspect::Change, "changed");
        }
        let inside = bundle.inside(effects);
        let names: Vec<_> = inside.facts.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["/", "/data/x", "/etc/f"]);
    }
}
