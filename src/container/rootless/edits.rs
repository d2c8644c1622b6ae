//! The settings of a container's run with some changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    CapSet,
    container::one_off::escaped,
    rootless::{Account, Change},
    settings::LineOption,
};

/// Settings that take the place of those of a command line or a Compose file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::container) struct Edits {
    pub(super) user: String,
    pub(super) caps: CapSet,
    /// Whether privileges of a program's file are allowed.
    pub(super) allows_new_privileges: bool,
    /// The image in the place of the one that is named.
    pub(in crate::container) image: Option<String>,
    /// Directories, with the options of the tmpfs.
    pub(super) tmpfs: BTreeMap<String, String>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) variables: BTreeMap<String, String>,
    /// Directories, with the names of volumes.
    pub(in crate::container) volumes: BTreeMap<String, String>,
    /// The command that is run without the entrypoint.
    pub(super) command: Option<Vec<String>>,
}

impl Edits {
    /// Returns the settings with these changes. `volume` names the volume of a directory.
    pub(in crate::container) fn new(
        account: &Account,
        user: &str,
        changes: &[&Change],
        command: &[String],
        is_podman: bool,
        volume: impl Fn(&str, Option<&str>) -> String,
    ) -> Edits {
        let mut edits = Edits { user: user.to_owned(), ..Edits::default() };
        for change in changes {
            match change {
                Change::Tmpfs { path } => {
                    let Account { uid, gid, .. } = account;
                    // Podman only knows the user of the container.
                    let owner =
                        if is_podman { "U".to_owned() } else { format!("uid={uid},gid={gid}") };
                    edits.tmpfs.insert(path.clone(), format!("{owner},mode=0755"));
                }
                Change::Sysctl { name, value } => {
                    edits.sysctls.insert((*name).to_owned(), (*value).to_owned());
                }
                Change::Volume { path, name } => {
                    let mut own = volume(path, name.as_deref());
                    // Each new volume has its own name.
                    while name.is_none() && edits.volumes.values().any(|other| *other == own) {
                        own.push_str("-2");
                    }
                    edits.volumes.insert(path.clone(), own);
                }
                Change::Variable { name } => {
                    edits.variables.insert(name.clone(), "1".to_owned());
                }
                Change::NoEntrypoint => edits.command = Some(command.to_vec()),
                Change::Capability { cap, .. } => {
                    edits.caps |= CapSet::from(*cap);
                    // Podman makes it ambient, and Docker leaves it to the program's file.
                    edits.allows_new_privileges |= !is_podman;
                }
                Change::Group { .. } | Change::Own { .. } | Change::Create { .. } => {}
            }
        }
        edits
    }

    /// Returns whether an option of a command line is replaced.
    pub(in crate::container) fn replaces(&self, option: &LineOption) -> bool {
        let value = option.value.as_deref().unwrap_or_default();
        let first = |separator: char| value.split(separator).next().unwrap_or_default();
        match &*option.name {
            "user" => true,
            "security-opt" => value.starts_with("no-new-privileges"),
            "tmpfs" => self.tmpfs.contains_key(first(':')),
            "sysctl" => self.sysctls.contains_key(first('=')),
            "env" => self.variables.contains_key(first('=')),
            "entrypoint" => self.command.is_some(),
            "volume" => self.volumes.contains_key(destination(value)),
            "mount" => {
                let fields = value.split(',').filter_map(|field| field.split_once('='));
                let is_place = |key: &str| ["target", "dst", "destination"].contains(&key);
                fields.into_iter().any(|(key, at)| is_place(key) && self.volumes.contains_key(at))
            }
            _ => false,
        }
    }

    /// Returns the capabilities.
    pub(in crate::container) fn caps(&self) -> CapSet {
        self.caps
    }

    /// Returns the options of a command line, with other volumes in the place of some.
    pub(in crate::container) fn options(&self, volumes: &BTreeMap<String, String>) -> Vec<String> {
        let mut words = vec!["--user".to_owned(), self.user.clone()];
        if !self.allows_new_privileges {
            words.extend(["--security-opt".to_owned(), "no-new-privileges".to_owned()]);
        }
        let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
        for (path, options) in &self.tmpfs {
            add("--tmpfs", format!("{path}:{options}"));
        }
        for (name, value) in &self.sysctls {
            add("--sysctl", format!("{name}={value}"));
        }
        for (name, value) in &self.variables {
            add("--env", format!("{name}={value}"));
        }
        for (path, name) in &self.volumes {
            // An engine that copied the image's directory again would restore its owner.
            add("--volume", format!("{}:{path}:nocopy", volumes.get(name).unwrap_or(name)));
        }
        if let Some(first) = self.command.as_ref().and_then(|words| words.first()) {
            add("--entrypoint", first.clone());
        }
        words
    }

    /// Returns the image and the arguments of a command line.
    pub(in crate::container) fn arguments(&self, words: &[String]) -> Vec<String> {
        let image = self.image.clone().or_else(|| words.first().cloned()).unwrap_or_default();
        let rest = match &self.command {
            Some(command) => command.iter().skip(1),
            None => words.iter().skip(1),
        };
        [image].into_iter().chain(rest.cloned()).collect()
    }

    /// Returns the keys of a service of Compose, except for its capabilities.
    pub(in crate::container) fn service(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        if let Some(image) = &self.image {
            keys.insert("image".to_owned(), json!(image));
        }
        keys.insert("user".to_owned(), json!(self.user));
        if !self.allows_new_privileges {
            keys.insert("security_opt".to_owned(), json!(["no-new-privileges:true"]));
        }
        let pairs = |map: &BTreeMap<String, String>, separator: char| -> Value {
            map.iter().map(|(key, value)| json!(format!("{key}{separator}{value}"))).collect()
        };
        let volumes =
            self.volumes.iter().map(|(path, name)| json!(format!("{name}:{path}:nocopy")));
        let lists = [
            ("tmpfs", pairs(&self.tmpfs, ':')),
            ("sysctls", pairs(&self.sysctls, '=')),
            ("environment", pairs(&self.variables, '=')),
            ("volumes", volumes.collect()),
        ];
        let filled = lists.into_iter().filter(|(_, list)| list != &json!([]));
        keys.extend(filled.map(|(key, list)| (key.to_owned(), list)));
        if let Some((first, rest)) = self.command.as_ref().and_then(|words| words.split_first()) {
            keys.insert("entrypoint".to_owned(), json!([escaped(first)]));
            let rest: Vec<String> = rest.iter().map(|word| escaped(word)).collect();
            keys.insert("command".to_owned(), json!(rest));
        }
        keys
    }
}

/// Returns the directory in the container of `--volume [SOURCE:]PATH[:OPTIONS]`.
fn destination(value: &str) -> &str {
    let mut parts = value.split(':');
    let first = parts.next().unwrap_or_default();
    parts.next().unwrap_or(first)
}
