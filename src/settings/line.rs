//! The command lines of `docker run`, `podman run`, `nerdctl run` and `create`.

use super::{
    Context, Engine, EngineKind, Kind, Settings, SettingsError, Topic, Who,
    container::{self, Container, Names},
    shell::Word,
    words::{names, user},
};
use crate::caps::most_alike;

/// Options with a value. (docker-run(1), podman-run(1))
const VALUED: &str = "add-host annotation arch attach authfile blkio-weight blkio-weight-device \
    cap-add cap-drop cert-dir cgroup-conf cgroup-parent cgroupns cgroups chrootdirs cidfile \
    conmon-pidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime \
    cpu-shares cpus cpuset-cpus cpuset-mems creds decryption-key detach-keys device \
    device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops dns \
    dns-opt dns-option dns-search domainname entrypoint env env-file env-merge expose gidmap gpus \
    group-add group-entry health-cmd health-interval health-log-destination health-max-log-count \
    health-max-log-size health-on-failure health-retries health-start-interval \
    health-start-period health-startup-cmd health-startup-interval health-startup-retries \
    health-startup-success health-startup-timeout health-timeout hostname hosts-file hostuser \
    image-volume init-ctr init-path io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory \
    label label-file link link-local-ip log-driver log-opt mac-address memory memory-reservation \
    memory-swap memory-swappiness mount name net net-alias network network-alias oom-score-adj os \
    passwd-entry personality pid pidfile pids-limit platform pod pod-id-file preserve-fd \
    preserve-fds publish pull rdt-class requires restart retry retry-delay runtime sdnotify \
    seccomp-policy secret security-opt shm-size shm-size-systemd stop-signal stop-timeout \
    storage-opt subgidname subuidname sysctl systemd timeout tmpfs tz uidmap ulimit umask unsetenv \
    user userns uts variant volume volume-driver volumes-from workdir";

/// Options without a value, unless one follows a `=`.
const SWITCHES: &str = "detach disable-content-trust env-host help http-proxy init interactive \
    no-healthcheck no-hostname no-hosts oom-kill-disable passwd privileged publish-all quiet \
    read-only read-only-tmpfs replace rm rmi rootfs sig-proxy tls-verify tty unsetenv-all \
    use-api-socket";

/// Options of the program itself that take a value in the next word.
const GLOBAL: &str = "--host -H --context -c --config --log-level -l --tlscacert --tlscert --tlskey \
    --root --runroot --storage-driver --storage-opt --namespace -n --address -a --url --connection \
    --cgroup-manager --runtime --events-backend --identity --tmpdir --volumepath --hooks-dir \
    --conmon --module --snapshotter --data-root --imagestore --out";

/// The number of short options without a value.
const SWITCHES_FIRST: usize = 5;

/// Short options, and the long ones that they stand for. Those without a value come first.
const SHORT: [(char, &str); 15] = [
    ('d', "detach"),
    ('i', "interactive"),
    ('t', "tty"),
    ('P', "publish-all"),
    ('q', "quiet"),
    ('a', "attach"),
    ('c', "cpu-shares"),
    ('e', "env"),
    ('h', "hostname"),
    ('l', "label"),
    ('m', "memory"),
    ('p', "publish"),
    ('u', "user"),
    ('v', "volume"),
    ('w', "workdir"),
];

fn is_one_of(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == name)
}

/// Returns the error of an unknown option.
fn unknown(name: &str) -> SettingsError {
    const ALIKE: f64 = 0.85;
    let known = [SWITCHES, VALUED].into_iter().flat_map(str::split_ascii_whitespace);
    let meant = most_alike(name, known.map(|known| (known, known)), ALIKE);
    SettingsError::UnknownOption { option: format!("--{name}").into(), meant }
}

#[cfg(feature = "cli")]
/// Splits the words after `run` or `create`: the options, with their long names, values and places,
/// and the place of the image.
pub(crate) fn split_options(words: &[String]) -> Result<(Vec<LineOption>, usize), SettingsError> {
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let begin = at;
        at += 1;
        if word == "--" {
            return Ok((options, at));
        }
        let next = |name: &str| {
            let wrong = || SettingsError::value(format_args!("--{name}"), "has no value");
            words.get(begin + 1).cloned().ok_or_else(wrong)
        };
        let mut found = Vec::new();
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if is_one_of(SWITCHES, long) => (long, None),
                None if is_one_of(VALUED, long) => {
                    at += 1;
                    (long, Some(next(long)?))
                }
                None => return Err(unknown(long)),
            };
            found.push((name.to_owned(), value));
        } else if word.len() > 1 && word.starts_with('-') {
            for (place, letter) in word.char_indices().skip(1) {
                let Some(known) = SHORT.iter().position(|(short, _)| *short == letter) else {
                    let wrong = "has an unknown option, which may take the next word";
                    return Err(SettingsError::value(word, wrong));
                };
                let name = SHORT[known].1;
                if known < SWITCHES_FIRST {
                    found.push((name.to_owned(), None));
                    continue;
                }
                let value = &word[place + letter.len_utf8()..];
                let value = if value.is_empty() {
                    at += 1;
                    next(name)?
                } else {
                    value.strip_prefix('=').unwrap_or(value).to_owned()
                };
                found.push((name.to_owned(), Some(value)));
                break;
            }
        } else {
            return Ok((options, begin));
        }
        let place = begin..at;
        let option = |(name, value)| LineOption { name, value, words: place.clone() };
        options.extend(found.into_iter().map(option));
    }
    Ok((options, words.len()))
}

#[cfg(feature = "cli")]
/// An option of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineOption {
    /// The long name.
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    /// The place among the words. Several short options can share a word.
    pub(crate) words: std::ops::Range<usize>,
}

#[cfg(feature = "cli")]
/// Returns whether an option of the program itself, before its subcommand, takes the next word.
pub(crate) fn is_valued_global(option: &str) -> bool {
    is_one_of(GLOBAL, option)
}

/// Reads the words after the name of the program, or options alone.
pub(super) fn read(
    words: &[Word],
    kind: EngineKind,
    context: &Context<'_>,
) -> Result<Settings, SettingsError> {
    let mut words = words;
    if !words.first().is_some_and(|word| word.text.starts_with("--cap-")) {
        words = after_subcommand(words)?;
    }
    let kinds = match kind {
        EngineKind::Podman => &[EngineKind::Podman][..],
        _ => &[EngineKind::Docker, EngineKind::Podman],
    };
    let engine = context.engine(kinds);
    let mut line = Line { engine: engine.kind(), ..Line::default() };
    let arguments = line.read_options(words)?;
    line.settings(arguments, engine)
}

/// Reads more options of a container of Podman.
pub(super) fn extend(container: Container, options: &[Word]) -> Result<Container, SettingsError> {
    let mut line = Line { engine: EngineKind::Podman, container, ..Line::default() };
    line.read_options(options)?;
    Ok(line.container)
}

/// Returns the words after `run` or `create`.
fn after_subcommand(words: &[Word]) -> Result<&[Word], SettingsError> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match &*word.text {
            "run" | "create" => return Ok(&words[at + 1..]),
            "container" => at += 1,
            option if is_one_of(GLOBAL, option) => at += 2,
            option if option.starts_with('-') => at += 1,
            other => {
                return Err(SettingsError::value(other, "is not run or create"));
            }
        }
    }
    Err(SettingsError::value("the command line", "has neither run nor create"))
}

/// A command line while it is read.
#[derive(Debug)]
struct Line {
    engine: EngineKind,
    container: Container,
    entrypoint: Option<String>,
    is_user_unknown: bool,
    is_expanded: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            engine: EngineKind::Docker,
            container: Container::default(),
            entrypoint: None,
            is_user_unknown: false,
            is_expanded: false,
        }
    }
}

impl Line {
    /// Reads the options, and returns the words that are left: the image and the program.
    fn read_options<'a>(&mut self, words: &'a [Word]) -> Result<&'a [Word], SettingsError> {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = &*word.text;
            at += 1;
            if text == "--" {
                return Ok(&words[at..]);
            }
            if let Some(long) = text.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                self.is_expanded = word.is_expanded;
                match value {
                    Some(value) => self.assign(name, value)?,
                    None if is_one_of(SWITCHES, name) => self.assign(name, "true")?,
                    None if is_one_of(VALUED, name) => {
                        self.assign_next(name, words.get(at))?;
                        at += 1;
                    }
                    None => return Err(unknown(name)),
                }
            } else if text.len() > 1 && text.starts_with('-') {
                at += usize::from(self.read_short(word, words.get(at))?);
            } else {
                return Ok(&words[at - 1..]);
            }
        }
        Ok(&[])
    }

    /// Reads a word of short options. Returns whether the next word is the value of the last one.
    fn read_short(&mut self, word: &Word, next: Option<&Word>) -> Result<bool, SettingsError> {
        let letters = &word.text[1..];
        for (at, letter) in letters.char_indices() {
            let place = SHORT.iter().position(|(short, _)| *short == letter);
            let Some(place) = place else {
                let wrong = "has an unknown option, which may take the next word";
                return Err(SettingsError::value(&word.text, wrong));
            };
            let name = SHORT[place].1;
            if place < SWITCHES_FIRST {
                continue;
            }
            let value = &letters[at + letter.len_utf8()..];
            if value.is_empty() {
                self.assign_next(name, next)?;
                return Ok(true);
            }
            self.is_expanded = word.is_expanded;
            self.assign(name, value.strip_prefix('=').unwrap_or(value))?;
            return Ok(false);
        }
        Ok(false)
    }

    fn assign_next(&mut self, name: &str, next: Option<&Word>) -> Result<(), SettingsError> {
        let wrong = || SettingsError::value(format_args!("--{name}"), "has no value");
        let word = next.ok_or_else(wrong)?;
        self.is_expanded = word.is_expanded;
        self.assign(name, &word.text)
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        let unresolved = || {
            let wrong = "is set by the shell, whose value is not known";
            Err(SettingsError::value(format_args!("--{name} {value}"), wrong))
        };
        match name {
            "user" if self.is_expanded => self.is_user_unknown = true,
            "user" => {
                self.is_user_unknown = false;
                self.container.user = user(value)?;
            }
            "cap-add" | "cap-drop" | "privileged" | "security-opt" if self.is_expanded => {
                return unresolved();
            }
            "cap-drop" => self.container.drop = self.names(self.container.drop, name, value)?,
            "cap-add" => self.container.add = self.names(self.container.add, name, value)?,
            "group-add" if !self.is_expanded && value != "keep-groups" => {
                self.container.groups.push(value.parse()?);
            }
            "security-opt" => {
                if let Some(is_set) = container::no_new_privs(value) {
                    self.container.no_new_privs = is_set?;
                }
            }
            "privileged" => {
                let wrong = || SettingsError::value(value, "is not true or false");
                let is_on = container::parse_bool(value).ok_or_else(wrong);
                self.container.is_privileged = is_on.map_err(|err| err.within("--privileged"))?;
            }
            "entrypoint" => self.entrypoint = Some(value.to_owned()),
            "userns" if value.starts_with("keep-id") => self.is_user_unknown = true,
            _ => {}
        }
        Ok(())
    }

    fn names(&self, before: Names, option: &str, value: &str) -> Result<Names, SettingsError> {
        if value.contains(',') && self.engine != EngineKind::Podman {
            let wrong = "is refused by Docker, which takes one name for each option";
            return Err(SettingsError::value(format_args!("--{option} {value}"), wrong));
        }
        let names = names(value)?;
        Ok(Names { caps: before.caps | names.caps, has_all: before.has_all || names.has_all })
    }

    fn settings(mut self, arguments: &[Word], engine: Engine) -> Result<Settings, SettingsError> {
        let program = arguments.get(1..).unwrap_or_default();
        if let Some(entrypoint) = self.entrypoint.filter(|entrypoint| !entrypoint.is_empty()) {
            self.container.command.push(entrypoint);
            self.container.command.extend(program.iter().map(|word| word.text.clone()));
        } else {
            self.container.command.extend(program.iter().map(|word| word.text.clone()));
        }
        let is_unknown = self.is_user_unknown;
        let mut settings = self.container.settings(Kind::Command, engine)?;
        if is_unknown {
            settings.user = Who::Unknown;
            settings = settings.for_current_user();
            settings.note(Topic::Unknown, "the user is set by the shell, and not known");
        }
        for word in program {
            if is_meant_for_engine(&word.text) {
                settings.note(
                    Topic::NoEffect,
                    format!(
                        "{} is after the image: it is an argument of the program, not an option \
                         of the engine",
                        word.text
                    ),
                );
            }
        }
        Ok(settings)
    }
}

/// Returns whether an argument of a program looks like an option that decides on privileges.
fn is_meant_for_engine(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    ["--privileged", "--cap-add", "--cap-drop", "--user", "--security-opt"].contains(&name)
}
