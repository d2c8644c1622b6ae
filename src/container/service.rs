//! A service of a Compose file, whose containers Compose itself creates.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{
    Delegation, Edits, Engine, Failed,
    engine::answer,
    one_off::OneOff,
    project::{Changes, Project},
};
use crate::{CapSet, error::Op, launch::helper};

/// The names under which Compose looks for its file.
/// (github.com/compose-spec/compose-go, cli/options.go)
const FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The names under which it looks for a file that is merged onto that one.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Options of Compose that a measurement gives in its own way.
const OWN: [&str; 6] = ["-f", "--file", "-p", "--project-name", "--project-directory", "--dry-run"];

/// A service of a Compose file.
///
/// Compose resolves the files, and creates each container from the result: `docker compose up`
/// would create the same one, but for its capabilities, its labels and the names of networks and
/// volumes. The project is a new one, so that the user's own is left alone.
#[derive(Clone, Debug)]
pub struct Service {
    /// The client with its own options, without those of [`OWN`].
    client: Vec<String>,
    engine: Engine,
    project: Project,
    name: String,
    /// The files, as the user named them.
    files: Vec<PathBuf>,
    directory: PathBuf,
    /// The name of the user's project.
    real: String,
    /// The command line, for messages.
    shown: String,
    /// The values of sysctl(8) that are not in the files, and that the project has already.
    sysctls: Vec<(String, String)>,
    /// The settings of `run`, which the project has already.
    one_off: Option<OneOff>,
    /// The volumes of the dependencies, by their keys in the file: copies, or the real ones.
    shared: BTreeMap<String, String>,
}

impl Service {
    /// Returns the service that a command line such as `docker compose up web` or `docker compose run
    /// web COMMAND` starts.
    ///
    /// # Errors
    ///
    /// The command line or the file is wrong, or does not name one service.
    pub fn new(delegation: &Delegation) -> Result<Service, Failed> {
        if !matches!(&*delegation.verb, "up" | "create" | "run") {
            return Err(Failed::Unfit(format!(
                "only `up`, `create` and `run` of Compose are measured, not `{}`",
                delegation.verb
            )));
        }
        let is_run = delegation.verb == "run";
        let one_off = is_run.then(|| OneOff::new(&delegation.after)).transpose()?;
        let options = Options::of(&delegation.before);
        for file in options.files.iter().filter(|file| file.as_os_str() != "-") {
            fs::metadata(file).map_err(|err| Op::Open.on(&**file, err))?;
        }
        let directory = options.directory().map_err(|err| Failed::Unfit(err.to_string()))?;
        let (mut project, name) = match &one_off {
            Some(one_off) => resolved(&delegation.before, std::slice::from_ref(&one_off.service))?,
            None => resolved(&delegation.before, &services(delegation))?,
        };
        if let Some(one_off) = &one_off {
            project.change(&name, |service| one_off.apply(service));
        }
        let real = match project.name() {
            Some(real) => real.to_owned(),
            None => options.project(&directory),
        };
        let shown = format!("{} {name}", delegation.name);
        Ok(Service {
            engine: Engine::new(&engine_words(&options.client)),
            client: options.client,
            project,
            name,
            files: options.files,
            directory,
            real,
            shown,
            one_off,
            sysctls: Vec::new(),
            shared: BTreeMap::new(),
        })
    }

    /// Returns the command line that starts a service of these files, or the only one:
    /// `docker compose` if that is installed, and otherwise `docker-compose`.
    ///
    /// A single file with a name that Compose looks for brings its override file along, as it does
    /// for Compose.
    pub fn command_line(
        files: &[PathBuf],
        project: Option<&str>,
        service: Option<&str>,
    ) -> Delegation {
        let mut before = if succeeds(&["docker", "compose", "version"]) {
            vec!["docker".to_owned(), "compose".to_owned()]
        } else {
            vec!["docker-compose".to_owned()]
        };
        let name = before.join(" ");
        let override_file = match files {
            [file] => override_of(file),
            _ => None,
        };
        for file in files.iter().chain(&override_file) {
            before.extend(["-f".to_owned(), file.to_string_lossy().into_owned()]);
        }
        if let Some(project) = project {
            before.extend(["-p".to_owned(), project.to_owned()]);
        }
        Delegation {
            client: super::Client::Compose,
            name: format!("{name} up"),
            before,
            verb: "up".to_owned(),
            after: service.map(str::to_owned).into_iter().collect(),
        }
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the Compose files that the command line names, or that Compose finds.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns a file that Compose merges by itself onto the files of the command line, if there is
    /// one in their directory, or else the place for one.
    pub fn override_file(&self) -> (PathBuf, bool) {
        let others = OVERRIDES.iter().map(|name| self.directory.join(name));
        let found = others.into_iter().find(|other| other.symlink_metadata().is_ok());
        let is_new = found.is_none();
        (found.unwrap_or_else(|| self.directory.join("compose.override.yaml")), is_new)
    }

    /// Returns the largest set that the runs try: the engine's default set and all capabilities
    /// that the file adds, whichever it drops.
    ///
    /// # Errors
    ///
    /// A name that is not that of a capability.
    pub fn most(&self) -> Result<CapSet, Failed> {
        self.project.most(&self.name).map_err(|err| Failed::Unfit(err.to_string()))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the same with a sysctl(8) of the container, in the place of its own value.
    pub(super) fn with_sysctl(&self, name: &str, value: &str) -> Service {
        let mut service = self.clone();
        service.project.set_sysctl(&self.name, name, value);
        service.sysctls.push((name.to_owned(), value.to_owned()));
        service
    }

    /// Returns the values of sysctl(8) that [`Recipe::with_sysctl`](super::Recipe::with_sysctl) has
    /// added.
    pub fn added_sysctls(&self) -> &[(String, String)] {
        &self.sysctls
    }

    /// Returns whether the command line is `run`, whose container is not the one of `up`.
    pub fn is_one_off(&self) -> bool {
        self.one_off.is_some()
    }

    /// Returns whether the service is a server, which is not known to work because it ends.
    pub(super) fn is_server(&self) -> bool {
        match &self.one_off {
            Some(one_off) => one_off.is_detached(),
            None => self.project.restarts(&self.name),
        }
    }

    /// Starts the dependencies, with copies of their volumes.
    pub(super) fn start_dependencies(&mut self, uses_real_volumes: bool) -> Result<(), Failed> {
        let mut keys = BTreeSet::new();
        for name in self.project.dependencies(&self.name) {
            keys.extend(self.project.volumes_of(&name));
        }
        if uses_real_volumes {
            keys.extend(self.project.volumes_of(&self.name));
        }
        let mut shared = BTreeMap::new();
        for key in keys {
            let name = self.project.volume_name(&key, &self.real);
            if uses_real_volumes {
                shared.insert(key, name);
            } else {
                self.check_driver(&key)?;
                let copy = format!("{}-{key}", own_name());
                self.engine.copy_volume(&name, &copy)?;
                shared.insert(key, copy);
            }
        }
        self.shared = shared;
        if self.project.dependencies(&self.name).is_empty() {
            return Ok(());
        }
        let none = format!("{}=0", self.name);
        let args = ["up", "-d", "--scale", &none, &self.name];
        self.compose(&args, &self.file(None, &BTreeMap::new(), false, None)).map(|_| ())
    }

    /// Returns the real volumes that each run gets a copy of.
    pub(super) fn volumes(&self) -> Result<Vec<String>, Failed> {
        let keys = self.project.volumes_of(&self.name).into_iter();
        let keys = keys.filter(|key| !self.shared.contains_key(key));
        let name = |key: String| {
            self.check_driver(&key)?;
            Ok(self.project.volume_name(&key, &self.real))
        };
        keys.map(name).collect()
    }

    /// Returns the name of the user's volume with this key in the file.
    pub(super) fn real_volume(&self, key: &str) -> String {
        if self.project.volumes_of(&self.name).contains(key) {
            self.project.volume_name(key, &self.real)
        } else {
            key.to_owned()
        }
    }

    /// Returns whether Compose builds the image.
    pub(super) fn is_built(&self) -> bool {
        let service = self.project.service(&self.name);
        service.is_some_and(|service| service.get("build").is_some())
    }

    /// Returns whether the service and others write to the same volume.
    pub(super) fn shares_volumes(&self) -> bool {
        let keys = self.project.volumes_of(&self.name);
        keys.iter().any(|key| self.shared.contains_key(key))
    }

    /// A volume with a driver or options cannot be copied to an ordinary one.
    fn check_driver(&self, key: &str) -> Result<(), Failed> {
        if !self.project.has_driver(key) {
            return Ok(());
        }
        let words = format!("the volume {key} has a driver or options (--shared-volumes uses it)");
        Err(Failed::Unfit(words))
    }

    /// Creates a container, and returns its ID.
    pub(super) fn create(
        &self,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
        is_checked: bool,
        edits: Option<&Edits>,
    ) -> Result<String, Failed> {
        let file = self.file(caps, copies, is_checked, edits);
        self.compose(&["up", "--no-start", "--no-deps", &self.name], &file)?;
        let project = format!("--filter=label=com.docker.compose.project={}", own_name());
        let service = format!("--filter=label=com.docker.compose.service={}", self.name);
        let args = ["ps", "--all", "--no-trunc", "--quiet", &project, &service];
        let id = self.engine.output(&args)?;
        let none = || Failed::Unfit(format!("Compose has not created {}", self.name));
        id.lines().next().map(str::to_owned).ok_or_else(none)
    }

    fn file(
        &self,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
        is_checked: bool,
        edits: Option<&Edits>,
    ) -> String {
        let mut volumes = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (key, name) in &self.shared {
            // Compose creates a real volume that does not exist yet.
            let is_real = *name == self.project.volume_name(key, &self.real);
            let place =
                if is_real && !self.engine.has_volume(name) { &mut kept } else { &mut volumes };
            place.insert(key.clone(), name.clone());
        }
        for key in self.project.volumes_of(&self.name) {
            if let Some(copy) = copies.get(&self.project.volume_name(&key, &self.real)) {
                volumes.insert(key, copy.clone());
            }
        }
        let own = Engine::owner();
        self.project.changed(&Changes {
            service: &self.name,
            caps,
            label: (super::engine::LABEL, &own),
            image: &own_name(),
            volumes: &volumes,
            kept: &kept,
            is_checked,
            keys: edits.map(Edits::service),
            copies,
        })
    }

    /// Runs a command of Compose with this file.
    fn compose(&self, args: &[&str], file: &str) -> Result<String, Failed> {
        let mut client = helper(self.client.first().map_or("docker", String::as_str));
        client.args(self.client.iter().skip(1)).args(["-p", &own_name(), "-f", "-"]);
        client.arg("--project-directory").arg(&self.directory).args(args);
        let name = format!("docker compose {}", args.first().copied().unwrap_or_default());
        answer(client, &name, Some(file))
    }
}

/// Returns the key of a volume of the project of this measurement.
pub(super) fn volume_key(name: &str) -> &str {
    name.strip_prefix(&*own_name()).and_then(|name| name.strip_prefix('_')).unwrap_or(name)
}

/// Returns the name of the project of this measurement.
fn own_name() -> String {
    format!("rcap-{}", Engine::owner())
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The options of Compose itself.
#[derive(Debug, Default)]
struct Options {
    client: Vec<String>,
    files: Vec<PathBuf>,
    project: Option<String>,
    directory: Option<PathBuf>,
}

impl Options {
    fn of(before: &[String]) -> Options {
        let mut options = Options::default();
        let mut words = before.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&**word, None),
            };
            if !OWN.contains(&name) {
                options.client.push(word.clone());
                continue;
            }
            let value =
                if name == "--dry-run" { None } else { value.or_else(|| words.next().cloned()) };
            match (name, value) {
                ("-f" | "--file", Some(file)) => options.files.push(file.into()),
                ("-p" | "--project-name", value) => options.project = value,
                ("--project-directory", value) => options.directory = value.map(PathBuf::from),
                _ => {}
            }
        }
        if options.files.is_empty() {
            options.files =
                from_environment().unwrap_or_else(|| found(options.directory.as_deref()));
        }
        options
    }

    /// Returns the directory of the project.
    fn directory(&self) -> io::Result<PathBuf> {
        let of_file = || {
            let file = self.files.first().filter(|file| file.as_os_str() != "-");
            file.and_then(|file| file.parent()).filter(|parent| *parent != Path::new(""))
        };
        let directory = self.directory.as_deref().or_else(of_file);
        fs::canonicalize(directory.unwrap_or(Path::new(".")))
    }

    /// Returns the name that docker-compose 1 gives to a project.
    /// (compose/cli/command.py, `get_project_name`)
    fn project(&self, directory: &Path) -> String {
        let named = self.project.clone().or_else(|| variable("COMPOSE_PROJECT_NAME", directory));
        let name = named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
            directory.file_name().map_or_else(String::new, |name| name.to_string_lossy().into())
        });
        let is_kept = |char: &char| char.is_ascii_alphanumeric() || "-_".contains(*char);
        let name: String = name.to_lowercase().chars().filter(is_kept).collect();
        if name.is_empty() { "default".to_owned() } else { name }
    }
}

/// Returns the files that `COMPOSE_FILE` names.
fn from_environment() -> Option<Vec<PathBuf>> {
    let text = variable("COMPOSE_FILE", Path::new("."))?;
    let separator = env::var("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|_| ":".to_owned());
    Some(text.split(&*separator).filter(|file| !file.is_empty()).map(PathBuf::from).collect())
}

/// Returns a variable of the environment, or of the file `.env`.
fn variable(name: &str, directory: &Path) -> Option<String> {
    let of_file = || {
        let text = fs::read_to_string(directory.join(".env")).ok()?;
        let values = text.lines().filter_map(|line| line.split_once('='));
        let value =
            values.filter(|(key, _)| key.trim() == name).map(|(_, value)| value).next_back()?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    env::var(name).ok().filter(|value| !value.is_empty()).or_else(of_file)
}

/// Returns the files that Compose finds by itself: those of the directory, or of the nearest one
/// above it that has some.
fn found(directory: Option<&Path>) -> Vec<PathBuf> {
    let Ok(start) = fs::canonicalize(directory.unwrap_or(Path::new("."))) else {
        return Vec::new();
    };
    let file = start.ancestors().find_map(|directory| {
        FILES.iter().map(|name| directory.join(name)).find(|file| file.exists())
    });
    let other = file.as_deref().and_then(override_of);
    file.into_iter().chain(other).collect()
}

/// Returns the file that Compose merges onto this one, if it finds both by itself.
fn override_of(file: &Path) -> Option<PathBuf> {
    let is_found = FILES.iter().any(|name| file.file_name().is_some_and(|file| file == *name));
    let directory = file.parent().unwrap_or(Path::new(""));
    let others = OVERRIDES.iter().map(|name| directory.join(name));
    others.filter(|_| is_found).find(|other| other.exists())
}

/// Returns the project as Compose resolves it, and the service with this name, or the only one.
///
/// Compose starts a service that is named even if its profile is not active.
fn resolved(before: &[String], names: &[String]) -> Result<(Project, String), Failed> {
    let config = |options: &[String], of: &[&str]| {
        let mut client = helper(before.first().map_or("docker", String::as_str));
        client.args(before.iter().skip(1)).args(options).arg("config").args(of);
        answer(client, "docker compose config", None)
    };
    let project = Project::new(&config(&[], &[])?)?;
    if let Ok(name) = service(names, &project) {
        return Ok((project, name));
    }
    let profiles = config(&[], &["--profiles"])?;
    let profiles: Vec<String> =
        profiles.lines().flat_map(|name| ["--profile".to_owned(), name.to_owned()]).collect();
    let project = Project::new(&config(&profiles, &[])?)?;
    let name = service(names, &project)?;
    Ok((project, name))
}

/// Returns the services that a command line names.
fn services(delegation: &Delegation) -> Vec<String> {
    let is_valued = |word: &str| {
        ["-t", "--timeout", "--scale", "--exit-code-from", "--attach", "--no-attach", "--pull"]
            .contains(&word)
            || ["--wait-timeout"].contains(&word)
    };
    let mut words = delegation.after.iter();
    let mut named = Vec::new();
    while let Some(word) = words.next() {
        if is_valued(word) {
            words.next();
        } else if !word.starts_with('-') {
            named.push(word.clone());
        }
    }
    named
}

/// Returns the service with this name, or the only one of the file.
fn service(names: &[String], project: &Project) -> Result<String, Failed> {
    let all: Vec<&str> = project.services().collect();
    let list = all.join(", ");
    match (names, &*all) {
        ([name], _) if all.contains(&&**name) => Ok(name.clone()),
        ([name], _) => Err(Failed::Unfit(format!("no service {name}, only {list}"))),
        ([], [only]) => Ok((*only).to_owned()),
        _ => Err(Failed::Unfit(format!("one service is measured at a time: name one of {list}"))),
    }
}

/// Returns the client of the engine that Compose asks, with the options that name the engine.
fn engine_words(client: &[String]) -> Vec<String> {
    let mut all = vec!["docker".to_owned()];
    let mut words = client.iter();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or(word);
        if ["-H", "--host", "-c", "--context"].contains(&name) {
            all.push(word.clone());
            if !word.contains('=') {
                all.extend(words.next().cloned());
            }
        }
    }
    all
}

fn succeeds(words: &[&str]) -> bool {
    let mut command = helper(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_of_compose() {
        let before = "docker -H unix:///s compose -f a/x.yaml --file=b --env-file e -p My.P --project-directory=/d";
        let options = Options::of(&words(before));
        assert_eq!(options.client, words("docker -H unix:///s compose --env-file e"));
        assert_eq!(options.files, [PathBuf::from("a/x.yaml"), PathBuf::from("b")]);
        assert_eq!(options.project(Path::new("/else")), "myp");
        assert_eq!(options.directory.as_deref(), Some(Path::new("/d")));
        assert_eq!(engine_words(&options.client), words("docker -H unix:///s"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let line = ["docker-compose", "-f", "/no/such.yaml", "up"].map(Into::into);
        let err = Service::new(&Delegation::of(&line).unwrap()).unwrap_err();
        assert_eq!(err.to_string(), "cannot open /no/such.yaml");
    }

    #[test]
    fn the_service_of_a_command_line() {
        let two = Project::new("services: {a: {image: x}, b: {image: x}}").unwrap();
        let one = Project::new("services: {a: {image: x}}").unwrap();
        let service = |after: &str, project: &Project| {
            let line = format!("docker-compose up {after}");
            let line: Vec<_> = line.split_whitespace().map(Into::into).collect();
            service(&services(&Delegation::of(&line).unwrap()), project).ok()
        };
        assert_eq!(service("-d --scale b=1 a", &two).as_deref(), Some("a"));
        assert_eq!(service("", &one).as_deref(), Some("a"));
        for wrong in ["", "c", "a b"] {
            assert_eq!(service(wrong, &two), None, "{wrong}");
        }
    }
}
