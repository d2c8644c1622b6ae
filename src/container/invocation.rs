//! The command line that starts a container, and the same with other capabilities.

use std::{collections::BTreeMap, fmt};

use super::{Client, Delegation, Edits};
use crate::{
    Cap, CapSet,
    settings::{LineOption, Profile, SettingsError, after_wrappers, shell_word, split_options},
};

/// A `run` or `create` command line, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    client: Client,
    pub(super) before: Vec<String>,
    verb: String,
    options: Vec<LineOption>,
    /// The words after the subcommand.
    words: Vec<String>,
    /// The place of the image among them.
    image: usize,
}

/// Options of `run` that a measurement leaves out, most of which would hide the container's end.
const REPLACED: [&str; 10] = [
    "attach",
    "cidfile",
    "detach",
    "detach-keys",
    "disable-content-trust",
    "interactive",
    "restart",
    "rm",
    "sig-proxy",
    // A terminal would join both streams.
    "tty",
];

/// Options that grant capabilities.
pub(super) const CAPS: [&str; 3] = ["cap-add", "cap-drop", "privileged"];

impl Invocation {
    /// Takes a command line apart.
    ///
    /// # Errors
    ///
    /// An unknown option, which may take the next word, or no image.
    pub fn new(delegation: &Delegation) -> Result<Invocation, SettingsError> {
        let (options, image) = split_options(&delegation.after)?;
        if image >= delegation.after.len() {
            return Err(SettingsError::value(&delegation.name, "names no image"));
        }
        Ok(Invocation {
            client: delegation.client,
            before: delegation.before.clone(),
            verb: delegation.verb.clone(),
            options,
            words: delegation.after.clone(),
            image,
        })
    }

    /// Returns the name of the client, such as `podman`.
    pub fn client(&self) -> &str {
        let program = self.before.get(after_wrappers(&self.before));
        program.map_or("", |word| word.rsplit('/').next().unwrap_or(word))
    }

    /// Returns the image.
    pub fn image(&self) -> &str {
        &self.words[self.image]
    }

    pub(super) fn is_podman(&self) -> bool {
        self.client == Client::Podman
    }

    pub(super) fn options(&self) -> &[LineOption] {
        &self.options
    }

    /// Returns the words after the image.
    pub(super) fn arguments(&self) -> &[String] {
        &self.words[self.image + 1..]
    }

    /// Returns the values of an option.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.options.iter().filter(move |option| option.name == name);
        named.map(|option| option.value.as_deref().unwrap_or("true"))
    }

    /// Returns whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        self.values(name).last().is_some_and(|value| !["false", "0", "f", "F"].contains(&value))
    }

    /// Returns the largest set that the runs try: the engine's default set and all capabilities
    /// that the command line adds, whichever it drops.
    ///
    /// # Errors
    ///
    /// A name that is not that of a capability.
    pub fn most(&self) -> Result<CapSet, SettingsError> {
        let all = CapSet::supported();
        if self.has("privileged") {
            return Ok(all);
        }
        let profile = if self.is_podman() { Profile::Podman } else { Profile::Docker };
        let mut most = profile.given();
        for value in self.values("cap-add") {
            most |= CapSet::from_names(value, all)?;
        }
        Ok(most & all)
    }

    /// Returns the arguments of `create` for a container with exactly these capabilities, or with
    /// those of its own options. `edits` take the place of others.
    pub(super) fn create(
        &self,
        set: Option<CapSet>,
        label: &str,
        volumes: &BTreeMap<String, String>,
        has_health_check: bool,
        edits: Option<&Edits>,
    ) -> Vec<String> {
        let mut words = vec!["create".to_owned(), format!("--label={label}")];
        let is_quick = |name: &str| {
            has_health_check && ["health-interval", "health-start-period"].contains(&name)
        };
        for option in &self.options {
            let LineOption { name, value, .. } = option;
            let is_replaced = set.is_some() && CAPS.contains(&&**name)
                || edits.is_some_and(|edits| edits.replaces(option));
            if REPLACED.contains(&&**name) || is_replaced || is_quick(name) {
                continue;
            }
            words.push(match value {
                None => format!("--{name}"),
                Some(value) => format!("--{name}={}", replaced(name, value, volumes)),
            });
        }
        if has_health_check {
            // Podman leaves the repetition to systemd, and may not find it.
            let interval = if self.is_podman() { "disable" } else { "1s" };
            words.push(format!("--health-interval={interval}"));
        }
        words.extend(set.into_iter().flat_map(cap_options));
        let arguments = &self.words[self.image..];
        match edits {
            Some(edits) => {
                words.extend(edits.options(volumes));
                words.extend(edits.arguments(arguments));
            }
            None => words.extend(arguments.iter().cloned()),
        }
        words
    }

    /// Returns the same with a sysctl(8) of the container, in the place of its own value.
    pub(super) fn with_sysctl(&self, name: &str, value: &str) -> Option<Invocation> {
        let is_replaced = |option: &LineOption| {
            let key = option.value.as_deref().and_then(|value| value.split('=').next());
            option.name == "sysctl" && key == Some(name)
        };
        let mut after = self.words_without(is_replaced);
        let dashes = after.pop_if(|last| last == "--");
        after.extend(["--sysctl".to_owned(), format!("{name}={value}")]);
        after.extend(dashes);
        after.extend(self.words[self.image..].iter().cloned());
        let (options, image) = split_options(&after).ok()?;
        Some(Invocation { options, image, words: after, ..self.clone() })
    }

    /// Returns the words before the image, without those of some options.
    fn words_without(&self, is_left_out: impl Fn(&LineOption) -> bool) -> Vec<String> {
        let words = self.words[..self.image].iter().enumerate().filter(|(at, _)| {
            let mut here = self.options.iter().filter(|option| option.words.contains(at));
            !here.any(&is_left_out)
        });
        words.map(|(_, word)| word.clone()).collect()
    }

    /// Returns the command line with exactly these capabilities, ready to paste.
    pub fn with_caps(&self, set: CapSet) -> String {
        self.line(set, None)
    }

    /// Returns the command line with other settings, ready to paste.
    pub(super) fn with_edits(&self, edits: &Edits) -> String {
        self.line(edits.caps(), Some(edits))
    }

    fn line(&self, set: CapSet, edits: Option<&Edits>) -> String {
        let is_replaced = |option: &LineOption| {
            CAPS.contains(&&*option.name) || edits.is_some_and(|edits| edits.replaces(option))
        };
        let mut words = self.before.clone();
        words.push(self.verb.clone());
        words.extend(self.words_without(is_replaced));
        let is_in = |at: usize| {
            let mut replaced = self.options.iter().filter(|option| is_replaced(option));
            replaced.any(|option| option.words.contains(&at))
        };
        let kept = self.options.iter().filter(|option| !is_replaced(option));
        // A lone `--` stays before the image.
        let dashes = words.pop_if(|last| last == "--");
        // Short options that shared a word with a replaced one.
        for option in kept.filter(|option| option.words.clone().any(is_in)) {
            let value = option.value.iter().map(|value| format!("={value}"));
            words.push(format!("--{}{}", option.name, value.collect::<String>()));
        }
        words.extend(cap_options(set));
        let arguments = &self.words[self.image..];
        let options = edits.map(|edits| edits.options(&BTreeMap::new()));
        words.extend(options.into_iter().flatten());
        words.extend(dashes);
        match edits {
            Some(edits) => words.extend(edits.arguments(arguments)),
            None => words.extend(arguments.iter().cloned()),
        }
        words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
    }
}

/// The subcommand and the image, such as `docker run … web:1`.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.image > 0 { " \u{2026} " } else { " " };
        let program = self.client();
        write!(f, "{program} {}{gap}{}", self.verb, self.image())
    }
}

fn cap_options(set: CapSet) -> impl Iterator<Item = String> {
    let add = set.iter().flat_map(|cap| ["--cap-add".to_owned(), bare(cap)]);
    ["--cap-drop".to_owned(), "ALL".to_owned()].into_iter().chain(add)
}

/// Returns the name of a capability as engines write it, such as `NET_RAW`.
pub(super) fn bare(cap: Cap) -> String {
    let name = cap.to_string().to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// Returns the value of an option that mounts a volume, with the copy in the place of the volume.
fn replaced(name: &str, value: &str, volumes: &BTreeMap<String, String>) -> String {
    match name {
        "volume" => match value.split_once(':') {
            Some((volume, rest)) if volumes.contains_key(volume) => {
                format!("{}:{rest}", volumes[volume])
            }
            _ => value.to_owned(),
        },
        "mount" => {
            let fields = value.split(',').map(|field| match field.split_once('=') {
                Some((key @ ("source" | "src"), volume)) if volumes.contains_key(volume) => {
                    format!("{key}={}", volumes[volume])
                }
                _ => field.to_owned(),
            });
            fields.collect::<Vec<_>>().join(",")
        }
        _ => value.to_owned(),
    }
}
