//! A container that runs with some changes, and the search with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{
    Account, Change, Edits,
    files::{self, Files},
    lines::{self, Base},
    rules::{self, Ground, Mounted, Source},
    search::{Outcome, Searched, search},
};
use crate::{
    CapSet,
    container::{Container, Engine, Failed, by_engine::ByEngine, recipe::Creation, view},
    trace::{
        Analysis,
        denial::{Denial, Lock},
        minimize::{Attempt, End, Observation, Trial},
    },
};

/// A run with some changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The changes.
    pub changes: Vec<Change>,
    /// The failure in words, if it did not work.
    pub failure: Option<String>,
    /// The duration.
    pub time: Duration,
}

/// A change, and the failure of a run with all others of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needed {
    /// The change.
    pub change: Change,
    /// The failure, or empty if no set of changes was enough.
    pub failure: String,
}

/// The answer of [`Rootless::search`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The user.
    pub account: Account,
    /// The way in which the user was chosen, in words.
    pub origin: &'static str,
    /// The changes with which it works, or those of the last run if it does not.
    pub changes: Vec<Needed>,
    /// The capabilities that a program keeps.
    pub caps: CapSet,
    /// The failure of the last run, if it did not work.
    pub failure: Option<String>,
    /// Whether it worked with the changes first, and then did not.
    pub is_flaky: bool,
    /// The refusals of the last run, in words.
    pub refused: Vec<String>,
    /// The capabilities that were refused in the last run.
    pub missing: CapSet,
    /// All runs as this user.
    pub runs: Vec<Tried>,
    /// The Dockerfile, if it works and files of the image change.
    pub dockerfile: Option<String>,
    /// The commands that build the image, prepare volumes and run the container, if it works.
    pub commands: Vec<String>,
    /// The keys of a service of Compose.
    pub compose: Value,
}

/// The search for the changes with which a container works without capabilities.
#[expect(missing_debug_implementations, reason = "it contains a closure")]
pub struct Rootless {
    container: ByEngine,
    account: Account,
    /// The user, as it is given to the engine.
    user: String,
    origin: &'static str,
    base: Base,
    command: Vec<String>,
    has_entrypoint: bool,
    variables: Vec<String>,
    mounts: Vec<Mounted>,
    files: Option<Files>,
    /// The images that were built, by the lines of the Dockerfile.
    built: BTreeMap<String, String>,
    expect: i32,
    limit: Duration,
    runs: Vec<Tried>,
    /// The checks of the last run, in which there was a container.
    last: Analysis,
}

impl Rootless {
    /// Runs the container as it is, and chooses the user: the image's own if that is not root, or
    /// else the one that its processes become. Returns `None` if the user has interrupted the run.
    ///
    /// # Errors
    ///
    /// It does not work as it is, or the engine cannot be recorded.
    pub fn new(
        container: Container,
        expect: i32,
        timeout: Option<Duration>,
    ) -> Result<Option<Rootless>, Failed> {
        let mut container = container.into_engine()?;
        if !container.is_recorded() {
            let words = "the engine's processes cannot be recorded, so refusals are not known";
            return Err(Failed::Unfit(words.to_owned()));
        }
        let begun = Instant::now();
        let attempt = Attempt { set: container.most, limit: timeout };
        let seen = container.run(&attempt)?;
        if seen.end == End::Interrupted {
            return Ok(None);
        }
        if let Some(failure) = failure(&seen, expect) {
            return Err(Failed::Unfit(format!("with its own settings, {failure}")));
        }
        let longest = begun.elapsed().saturating_mul(10).saturating_add(Duration::from_secs(5));
        let facts = &container.facts;
        let image = facts["Config"]["Image"].as_str().unwrap_or_default().to_owned();
        let of_image = container.engine.inspect_image(&image)?;
        let files = view::image(&of_image).ok().map(Files::new);
        let (user, origin) = chosen(container.user.as_deref(), files.as_ref(), &seen);
        let account = account(files.as_ref(), &user);
        let words = |key: &str| -> Vec<String> {
            let list = facts["Config"][key].as_array().into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        let (entrypoint, command) = (words("Entrypoint"), words("Cmd"));
        let script = entrypoint.first().zip(files.as_ref());
        let script = script.and_then(|(path, files)| files.read(Path::new(path)));
        let is_podman = container.engine.is_podman();
        let has_user = !of_image["Config"]["User"].as_str().unwrap_or_default().is_empty();
        Ok(Some(Rootless {
            account,
            user,
            origin,
            base: Base { image, has_user, is_podman },
            has_entrypoint: !entrypoint.is_empty() && !command.is_empty(),
            command,
            variables: script.map(|text| files::variables(&text)).unwrap_or_default(),
            mounts: mounts(facts, &container.recipe),
            files,
            built: BTreeMap::new(),
            expect,
            limit: timeout.unwrap_or(longest),
            runs: Vec::new(),
            last: Analysis::default(),
            container,
        }))
    }

    /// Returns whether the engine tells where the files of the image are. Otherwise a search
    /// does not know them, and its changes may create files that exist.
    pub fn sees_files(&self) -> bool {
        self.files.is_some()
    }

    /// Returns the user.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Searches for the smallest set of changes with which the container works as the user, without
    /// capabilities and with no-new-privileges. Returns `None` if the user has interrupted it.
    ///
    /// `progress` is told of each run.
    ///
    /// # Errors
    ///
    /// A container could not be run or observed. One that fails is an answer.
    pub fn search(
        &mut self,
        progress: &mut dyn FnMut(usize, &Tried),
    ) -> Result<Option<Answer>, Failed> {
        let searched = search(|changes| {
            let begun = Instant::now();
            let outcome = self.attempt(changes)?;
            let tried = Tried {
                changes: changes.iter().cloned().collect(),
                failure: outcome.failure.clone(),
                time: begun.elapsed(),
            };
            self.runs.push(tried.clone());
            progress(self.runs.len(), &tried);
            Ok(outcome)
        });
        match searched {
            Ok(searched) => Ok(Some(self.answer(searched))),
            Err(None) => Ok(None),
            Err(Some(err)) => Err(err),
        }
    }

    /// Runs the container with these changes. An error without a reason is an interruption.
    fn attempt(&mut self, changes: &BTreeSet<Change>) -> Result<Outcome, Option<Failed>> {
        let changes: Vec<&Change> = changes.iter().collect();
        let unfit = |failure: String| Outcome { failure: Some(failure), remedies: Vec::new() };
        let mut edits = self.edits(&changes);
        match self.build(&changes) {
            Ok(image) => edits.image = image,
            Err(Failed::Client { message, .. }) => {
                return Ok(unfit(format!("the image cannot be built: {message}")));
            }
            Err(err) => return Err(Some(err)),
        }
        let attempt = Attempt { set: edits.caps, limit: Some(self.limit) };
        self.container.edits = Some((edits, self.account.clone()));
        let seen = self.container.run(&attempt);
        self.container.edits = None;
        let seen = match seen {
            Ok(seen) => seen,
            // The engine refuses the settings.
            Err(Failed::Client { command, message }) => {
                return Ok(unfit(format!("{command}: {message}")));
            }
            Err(err) => return Err(Some(err)),
        };
        if seen.end == End::Interrupted {
            return Err(None);
        }
        let failure = failure(&seen, self.expect);
        let remedies = if failure.is_some() { self.remedies(&seen.analysis) } else { Vec::new() };
        self.last = seen.analysis;
        Ok(Outcome { failure, remedies })
    }

    fn edits(&self, changes: &[&Change]) -> Edits {
        let volume = |path: &str, name: Option<&str>| {
            name.map_or_else(|| lines::volume(&self.base.image, path), str::to_owned)
        };
        let is_podman = self.base.is_podman;
        Edits::new(&self.account, &self.user, changes, &self.command, is_podman, volume)
    }

    /// Returns the image with these changes, if it is another one.
    fn build(&mut self, changes: &[&Change]) -> Result<Option<String>, Failed> {
        let label = Engine::label();
        let text = lines::dockerfile(&self.base, &self.account, &self.user, changes, Some(&label));
        let Some(text) = text else { return Ok(None) };
        if let Some(image) = self.built.get(&text) {
            return Ok(Some(image.clone()));
        }
        self.container.made.has_images = true;
        let image = self.container.engine.build(&text)?;
        self.built.insert(text, image.clone());
        Ok(Some(image))
    }

    fn remedies(&self, analysis: &Analysis) -> Vec<Vec<Change>> {
        self.with_ground(|ground| {
            let all = analysis.denials.iter().map(|denial| rules::remedies(denial, ground));
            rules::joined(&all.filter(|remedies| !remedies.is_empty()).collect::<Vec<_>>())
        })
    }

    fn with_ground<T>(&self, of: impl FnOnce(&Ground<'_>) -> T) -> T {
        let files = self.files.as_ref();
        of(&Ground {
            account: &self.account,
            mounts: &self.mounts,
            find: &|path| files?.find(path),
            resolve: &|path| files.map_or_else(|| path.to_owned(), |files| files.resolve(path)),
            variables: &self.variables,
            has_entrypoint: self.has_entrypoint,
        })
    }

    fn answer(&mut self, searched: Searched) -> Answer {
        let Searched { changes, failure, is_flaky } = searched;
        let list: Vec<&Change> = changes.iter().map(|(change, _)| change).collect();
        let mut edits = self.edits(&list);
        let text = lines::dockerfile(&self.base, &self.account, &self.user, &list, None);
        // The lines for an image that Compose builds are the last ones of its own Dockerfile.
        let is_built = self.container.recipe.is_built();
        let own = |text: String| text.split_once('\n').map(|(_, rest)| rest.to_owned());
        let text = if is_built { text.and_then(own) } else { text };
        edits.image = text.as_ref().filter(|_| !is_built).map(|_| lines::derived(&self.base.image));
        let refused = |denial: &Denial| denial.lock == Lock::Capability;
        let missing = self.last.denials.iter().filter(|denial| refused(denial));
        let missing = missing.fold(CapSet::empty(), |all, denial| all | denial.caps);
        let mut words: Vec<String> = self.with_ground(|ground| {
            self.last.denials.iter().map(|denial| refusal(denial, ground)).collect()
        });
        words.dedup();
        let works = failure.is_none();
        let text = text.filter(|_| works);
        let commands = works.then(|| self.commands(&edits, text.as_deref(), &list));
        let compose = if works { edits.service() } else { Map::new() };
        let changes = changes.into_iter().map(|(change, failure)| Needed { change, failure });
        Answer {
            account: self.account.clone(),
            origin: self.origin,
            changes: changes.collect(),
            caps: if works { edits.caps } else { CapSet::empty() },
            failure,
            is_flaky,
            refused: words,
            missing,
            runs: std::mem::take(&mut self.runs),
            dockerfile: text,
            commands: commands.unwrap_or_default(),
            compose: Value::Object(compose),
        }
    }

    /// Returns the commands to paste.
    fn commands(&self, edits: &Edits, text: Option<&str>, changes: &[&Change]) -> Vec<String> {
        let engine = &self.container.engine;
        let mut commands = Vec::new();
        if let (Some(text), Some(image)) = (text, &edits.image) {
            let build = engine.line(&engine.build_words(&["--tag", image]));
            commands.push(format!("{build} <<'END'\n{text}END"));
        }
        let image = edits.image.as_ref().unwrap_or(&self.base.image);
        for path in changes.iter().filter_map(|change| match change {
            Change::Volume { path, .. } => Some(path),
            _ => None,
        }) {
            let name = self.container.recipe.real_volume(&edits.volumes[path]);
            let words = own_volume(&self.account, image, &name, path);
            let words: Vec<&str> =
                ["run", "--rm"].into_iter().chain(words.iter().map(|word| &**word)).collect();
            commands.push(engine.line(&words));
        }
        if let Creation::Run(invocation) = &self.container.recipe {
            commands.push(invocation.with_edits(edits));
        }
        commands
    }
}

/// Returns the arguments of a container that gives the files of a volume to a user.
pub(in crate::container) fn own_volume(
    account: &Account,
    image: &str,
    name: &str,
    path: &str,
) -> Vec<String> {
    let (volume, owner) = (format!("{name}:{path}"), format!("{}:{}", account.uid, account.gid));
    let words = [
        "--network",
        "none",
        "--user",
        "0:0",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--cap-add",
        "DAC_READ_SEARCH",
        "--volume",
        &volume,
        "--entrypoint",
        "chown",
        image,
        "-R",
        &owner,
        path,
    ];
    words.map(str::to_owned).to_vec()
}

fn account(files: Option<&Files>, user: &str) -> Account {
    let none = || Account {
        name: None,
        uid: user.split(':').next().and_then(|uid| uid.parse().ok()).unwrap_or(0),
        gid: 0,
    };
    files.map_or_else(none, |files| files.account(user))
}

/// Returns the most visible failure of a run in words.
fn failure(seen: &Observation, expect: i32) -> Option<String> {
    seen.failures(expect).first().map(|failure| failure.with_message(&seen.message))
}

/// Returns a refusal in words.
fn refusal(denial: &Denial, ground: &Ground<'_>) -> String {
    let name = denial.object.as_ref().map(|object| format!(" {}", object.name)).unwrap_or_default();
    let why = match denial.lock {
        Lock::Capability => format!("needs {}", denial.caps),
        lock => lock.about().to_owned(),
    };
    let host = rules::of_host(denial, ground);
    let host = host.map(|host| format!(" ({host} of the host; its owner is not changed)"));
    let program = denial.program.rsplit('/').next().unwrap_or_default();
    let errno = nix::errno::Errno::from_raw(denial.errno);
    format!("{errno:?} {}{name}: {why}{} [{program}]", denial.system_call, host.unwrap_or_default())
}

/// Returns the user for a container, as it is given to an engine, and the way in which it was chosen.
/// `own` is the container's own user, unless that is root.
fn chosen(own: Option<&str>, files: Option<&Files>, seen: &Observation) -> (String, &'static str) {
    match (own, become_user(seen)) {
        (Some(user), _) => (user.to_owned(), "its own user"),
        (None, Some(uid)) => {
            // A number without an entry in /etc/passwd would have the group of root.
            let is_known = account(files, &uid.to_string()).name.is_some();
            let user = if is_known { uid.to_string() } else { format!("{uid}:{uid}") };
            (user, "the user that its processes become")
        }
        (None, None) => ("65532:65532".to_owned(), "a user without files in the image"),
    }
}

/// Returns the user that most processes of a run have, or that a program has become, if that is not
/// root.
fn become_user(seen: &Observation) -> Option<u32> {
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for process in seen.effects.processes.keys().filter(|process| process.users[1] != 0) {
        *numbers.entry(process.users[1]).or_default() += 1;
    }
    // The least ID of those that most processes have.
    let most = numbers.iter().max_by_key(|(uid, number)| (**number, std::cmp::Reverse(**uid)));
    let asked = || {
        let objects = seen.analysis.needs.iter().flat_map(|need| &need.objects);
        let mut ids = objects.filter_map(|object| object.name.strip_prefix("user ")?.parse().ok());
        ids.find(|uid| *uid != 0)
    };
    most.map(|(uid, _)| *uid).or_else(asked)
}

/// Returns the mounts of a container.
fn mounts(facts: &Value, recipe: &Creation) -> Vec<Mounted> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = facts["Mounts"].as_array().into_iter().flatten().map(|mount| Mounted {
        path: PathBuf::from(text(&mount["Destination"])),
        source: match mount["Type"].as_str() {
            Some("bind") => Source::Host(text(&mount["Source"])),
            Some("volume") => {
                let is_named = crate::container::recipe::is_named(mount);
                let name = mount["Name"].as_str().unwrap_or_default();
                Source::Volume(is_named.then(|| recipe.volume_key(name).to_owned()))
            }
            _ => Source::Other,
        },
    });
    let tmpfs = facts["HostConfig"]["Tmpfs"].as_object().into_iter().flatten();
    let tmpfs = tmpfs.map(|(path, _)| Mounted { path: path.into(), source: Source::Other });
    listed.chain(tmpfs).collect()
}
