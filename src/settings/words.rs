//! Settings in words: a profile, a set, or a command line.

use super::{
    Context, EngineKind, Kind, Profile, Settings, SettingsError, User, Who, capsh,
    container::Names,
    line,
    read::Found,
    setcap, setpriv,
    shell::{self, Word},
};
use crate::{CapSet, CapState, UnknownCap};

/// Reads words; `None` if the text is not in this form. An error is that of a command.
pub(super) fn read(text: &str, context: &Context<'_>) -> Option<Result<Settings, SettingsError>> {
    /// The length of the longest argument that execve(2) takes.
    const LONGEST: usize = 128 << 10;
    if text.len() >= LONGEST {
        return None;
    }
    if let Some(profile) = Profile::from_name(text) {
        return Some(Ok(of_profile(profile)));
    }
    if let Some(settings) = command(text, context) {
        return Some(settings);
    }
    let set = set(text).ok().or_else(|| {
        let state = text.contains(['=', '+']).then(|| text.parse::<CapState>().ok());
        state.flatten().map(|state| state.permitted)
    });
    set.map(Settings::new).map(Ok)
}

/// Returns why a text is not in words. The error of a list of names is the one that helps, except
/// for a text with `=` or `+`.
pub(super) fn refusal(text: &str) -> SettingsError {
    match text.parse::<CapState>() {
        Err(err) if text.contains(['=', '+']) => err.into(),
        _ => set(text).map_or_else(SettingsError::from, |_| SettingsError::Unrecognized),
    }
}

/// Reads a command, or the options of one alone where they say whose they are.
fn command(text: &str, context: &Context<'_>) -> Option<Result<Settings, SettingsError>> {
    let commands = shell::commands(text);
    let [words] = &*commands else { return None };
    command_of(words, context)
}

/// Reads lines that are all commands of engines or launchers. Comments and empty lines count for
/// nothing.
pub(super) fn read_lines(text: &str, context: &Context<'_>) -> Found {
    let commands = shell::commands(text);
    if commands.len() < 2 {
        return None;
    }
    let read: Option<Vec<_>> = commands.iter().map(|words| command_of(words, context)).collect();
    let read = read?.into_iter().zip(1..).map(|(settings, number)| {
        let settings = settings.map_err(|err| err.within(&format!("command {number}")))?;
        Ok(Settings { name: Some(number.to_string()), ..settings })
    });
    Some(read.collect())
}

fn command_of(words: &[Word], context: &Context<'_>) -> Option<Result<Settings, SettingsError>> {
    let words = without_wrappers(words);
    let (first, arguments) = words.split_first()?;
    // A path alone is that of a file.
    let name = first.text.rsplit('/').next().filter(|_| words.len() > 1).unwrap_or(&first.text);
    let texts: Vec<&str> = arguments.iter().map(|word| &*word.text).collect();
    Some(match name {
        "docker" | "nerdctl" => line::read(arguments, EngineKind::Docker, context),
        "podman" => line::read(arguments, EngineKind::Podman, context),
        "setpriv" => setpriv::read(&texts),
        "capsh" => capsh::read(&texts),
        "setcap" => setcap::read(&texts),
        _ if first.text.starts_with("--cap-") => line::read(words, EngineKind::Docker, context),
        _ => return None,
    })
}

/// Returns a command without the prompt, the variables and the programs that stand before it.
fn without_wrappers(mut words: &[Word]) -> &[Word] {
    /// Options of sudo(8) and doas(1) with a value in the next word.
    const VALUED: [&str; 12] =
        ["-u", "-g", "-p", "-h", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user"];
    while let Some((first, rest)) = words.split_first() {
        match &*first.text {
            "#" | "$" | "%" | ">" | "exec" | "nohup" | "time" | "env" | "command" => words = rest,
            "sudo" | "doas" => {
                words = rest;
                while let Some(option) = words.first().filter(|word| word.text.starts_with('-')) {
                    let skipped = 1 + usize::from(VALUED.contains(&&*option.text));
                    words = words.get(skipped..).unwrap_or_default();
                }
            }
            text if is_assignment(text) => words = rest,
            _ => break,
        }
    }
    words
}

#[cfg(feature = "cli")]
/// Returns the number of words before the program: wrappers such as `sudo`, and variables.
pub(crate) fn after_wrappers(words: &[String]) -> usize {
    let word = |text: &String| Word { text: text.clone(), is_expanded: false };
    let all: Vec<Word> = words.iter().map(word).collect();
    words.len() - without_wrappers(&all).len()
}

/// Returns whether a word sets a variable, such as `A=b`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.bytes().all(in_name)
        && name.bytes().all(|byte| !byte.is_ascii_lowercase())
}

/// Splits a text into words as a shell does.
pub(super) fn split(text: &str) -> Vec<String> {
    shell::commands(text).into_iter().flatten().map(|word| word.text).collect()
}

/// Returns the options and their values, after a `=` or in the next word for options of which
/// `takes_value` is true.
pub(super) fn options<'a>(
    words: &[&'a str],
    takes_value: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut words = words.iter().copied();
    std::iter::from_fn(move || {
        let word = words.next()?;
        Some(match word.split_once('=') {
            Some((name, value)) => (name, value.trim_matches(['"', '\''])),
            None if takes_value(word) => (word, words.next().unwrap_or_default()),
            None => (word, ""),
        })
    })
}

/// Returns the options before a program, and the program with its arguments, whose options are its
/// own.
pub(super) fn before_program<'a, 'b>(
    words: &'a [&'b str],
    takes_value: impl Fn(&str) -> bool,
) -> (&'a [&'b str], &'a [&'b str]) {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-') && **word != "--") {
        at += if takes_value(word) { 2 } else { 1 };
    }
    let at = at.min(words.len());
    let (options, rest) = words.split_at(at);
    (options, rest.strip_prefix(&["--"][..]).unwrap_or(rest))
}

/// Returns the capabilities in a list of names with commas.
pub(super) fn caps(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_names(text, CapSet::supported())
}

/// Returns the capabilities in a list of names with commas, and whether `all` is one of them.
pub(super) fn names(text: &str) -> Result<Names, UnknownCap> {
    let is_all = |name: &str| {
        let name = name
            .get(..4)
            .filter(|cap| cap.eq_ignore_ascii_case("cap_"))
            .map_or(name, |_| &name[4..]);
        name.eq_ignore_ascii_case("all")
    };
    let mut names = Names::default();
    for name in text.split(',').map(str::trim) {
        if is_all(name) {
            names.has_all = true;
        } else {
            names.caps |= caps(name)?;
        }
    }
    Ok(names)
}

/// Returns a set alone: a mask or names.
fn set(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_mask(text).or_else(|_| caps(text))
}

/// Returns the settings of a container without any of its own.
fn of_profile(profile: Profile) -> Settings {
    let engine = match profile {
        Profile::Docker => EngineKind::Docker,
        Profile::Podman => EngineKind::Podman,
        Profile::CriO => EngineKind::CriO,
        Profile::KubernetesBaseline | Profile::KubernetesRestricted => EngineKind::Containerd,
    };
    let mut settings = Settings {
        kind: Kind::Profile,
        user: if profile.is_restricted() { Who::NotRoot } else { Who::OfImage },
        no_new_privs: profile.is_restricted(),
        bounding: profile.given(),
        engine: Some(super::Engine::newest(engine)),
        ..Settings::default()
    };
    settings = settings.for_current_user();
    settings
}

/// Returns a user by number or name; `None` for an empty text.
pub(super) fn user(text: &str) -> Result<Option<User>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let user = text.parse().map_err(|err| SettingsError::Parse(err).within("user"))?;
    Ok(Some(user))
}

/// Returns a user of this system; anyone for an empty text.
pub(super) fn host_user(text: &str) -> Result<Who, SettingsError> {
    Ok(user(text)?.map_or(Who::Anyone, Who::User))
}

/// Returns the user with this group, unless the text is empty.
pub(super) fn with_group(user: Option<User>, group: &str) -> Result<Option<User>, SettingsError> {
    if group.is_empty() {
        return Ok(user);
    }
    let group = group.parse().map_err(|err| SettingsError::Parse(err).within("group"))?;
    Ok(user.map(|user| user.with_group(group)))
}
