//! A container that runs with some changes, and the search with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Edits,
    lines::{self, Base},
};
use crate::{
    container::{Container, Engine, Failed, by_engine::ByEngine, recipe::Creation, view},
    rootless::{
        Account, Answer, Change, Changes, Files, Ground, Mounted, Outcome, Place, Runs, Source,
        Tried, all_remedies, chosen, failure, variables,
    },
    trace::{
        Analysis,
        minimize::{Attempt, End, Trial},
    },
};

/// The lines that make the changes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLines {
    /// The Dockerfile, if files of the image change.
    pub dockerfile: Option<String>,
    /// The commands that build the image, prepare volumes and run the container.
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
        let none = || ("65532".to_owned(), "a user without files in the image");
        let (user, origin) = chosen(container.user.as_deref(), &seen).unwrap_or_else(none);
        let account = |user: &str| account(files.as_ref(), user);
        // A number without an entry would have the group of root.
        let is_unknown = user.parse::<u32>().is_ok() && account(&user).name.is_none();
        let user =
            if is_unknown && container.user.is_none() { format!("{user}:{user}") } else { user };
        let account = account(&user);
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
            variables: script.map(|text| variables(&text)).unwrap_or_default(),
            mounts: mounts(facts, &container.recipe),
            files,
            built: BTreeMap::new(),
            expect,
            limit: timeout.unwrap_or(longest),
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
    ) -> Result<Option<Answer<ImageLines>>, Failed> {
        let runs = Runs::search(|changes| self.attempt(changes), progress)?;
        let Some(runs) = runs else { return Ok(None) };
        let lines = |changes: &[&Change]| self.lines(changes);
        let answer =
            self.with_ground(&[], |ground| runs.answer(self.origin, &self.last, ground, lines));
        Ok(Some(answer))
    }

    /// Runs the container with these changes. An error without a reason is an interruption.
    fn attempt(&mut self, changes: &Changes) -> Result<Outcome, Option<Failed>> {
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
        let remedies = match failure {
            Some(_) => {
                self.with_ground(&changes, |ground| all_remedies(&seen.analysis.denials, ground))
            }
            None => Vec::new(),
        };
        self.last = seen.analysis;
        Ok(Outcome { failure, remedies })
    }

    fn edits(&self, changes: &[&Change]) -> Edits {
        let new = |path: &str| {
            let mut name = lines::volume(&self.base.image, path);
            // A volume that exists has files of another container.
            while self.container.engine.has_volume(&name) {
                name.push_str("-rootless");
            }
            name
        };
        let volume = |path: &str, name: Option<&str>| name.map_or_else(|| new(path), str::to_owned);
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

    fn with_ground<T>(&self, changes: &[&Change], of: impl FnOnce(&Ground<'_>) -> T) -> T {
        let files = self.files.as_ref();
        of(&Ground {
            account: &self.account,
            changes,
            find: &|path| files?.find(path),
            resolve: &|path| files.map_or_else(|| path.to_owned(), |files| files.resolve(path)),
            place: Place::Container {
                mounts: &self.mounts,
                variables: &self.variables,
                has_entrypoint: self.has_entrypoint,
            },
        })
    }

    fn lines(&self, changes: &[&Change]) -> ImageLines {
        let mut edits = self.edits(changes);
        let text = lines::dockerfile(&self.base, &self.account, &self.user, changes, None);
        // The lines for an image that Compose builds are the last ones of its own Dockerfile.
        let is_built = self.container.recipe.is_built();
        let own = |text: String| text.split_once('\n').map(|(_, rest)| rest.to_owned());
        let text = if is_built { text.and_then(own) } else { text };
        edits.image = text.as_ref().filter(|_| !is_built).map(|_| lines::derived(&self.base.image));
        ImageLines {
            commands: self.commands(&edits, text.as_deref(), changes),
            compose: Value::Object(edits.service()),
            dockerfile: text,
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
