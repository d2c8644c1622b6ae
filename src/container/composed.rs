//! The service of Compose that starts the container of a command line.

use serde_json::{Map, Value, json};

use super::{Invocation, invocation::CAPS, one_off};
use crate::{
    CapSet,
    settings::{Format, LineOption, Settings, SettingsError, Target, Written, parse_bool, quoted},
};

/// The form that the value of an option has in Compose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The value itself, of which the last one counts.
    Text,
    /// A number, or the value itself, such as `64m`.
    Number,
    /// Digits in base 8.
    Octal,
    /// A number of seconds.
    Seconds,
    Switch,
    /// A member of a list.
    List,
    /// `NAME=VALUE` in a mapping, or `NAME`, which has the value of the client's environment.
    Variable,
    /// `NAME=VALUE` in a mapping, or `NAME` with an empty value.
    Pair,
    /// `NAME=SOFT[:HARD]` in a mapping.
    Limit,
    /// `PATH:VALUE`, a member of a list, with the name of the value.
    Device(&'static str),
    /// A command for the shell of the container.
    Shell,
    /// Another container, a member of a list.
    OfContainer,
    /// A program alone, or for Podman also a JSON array.
    Program,
    /// A number of GPUs.
    Gpus,
    /// A volume or a directory of the host, in the short syntax.
    Volume,
    /// A mount, in the long syntax.
    Mount,
    /// A network, or a mode of the network.
    Network,
    /// An address or a name in the first network.
    InNetwork,
}

use Shape::{
    Device, Gpus, InNetwork, Limit, List, Mount, Network, Number, Octal, OfContainer, Pair,
    Program, Seconds, Shell, Switch, Text, Variable, Volume,
};

/// An option, the key in Compose, and the form of its value.
type Row = (&'static str, &'static str, Shape);

/// The options that have a key. A dot separates a key from one in its mapping.
/// (docker-run(1); github.com/compose-spec/compose-spec, 05-services.md)
#[rustfmt::skip]
const OPTIONS: &[Row] = &[
    ("add-host",              "extra_hosts",                            List),
    ("annotation",            "annotations",                            Pair),
    ("blkio-weight",          "blkio_config.weight",                    Number),
    ("blkio-weight-device",   "blkio_config.weight_device",             Device("weight")),
    ("cgroup-parent",         "cgroup_parent",                          Text),
    ("cgroupns",              "cgroup",                                 Text),
    ("cpu-count",             "cpu_count",                              Number),
    ("cpu-percent",           "cpu_percent",                            Number),
    ("cpu-period",            "cpu_period",                             Number),
    ("cpu-quota",             "cpu_quota",                              Number),
    ("cpu-rt-period",         "cpu_rt_period",                          Number),
    ("cpu-rt-runtime",        "cpu_rt_runtime",                         Number),
    ("cpu-shares",            "cpu_shares",                             Number),
    ("cpus",                  "cpus",                                   Text),
    ("cpuset-cpus",           "cpuset",                                 Text),
    ("device",                "devices",                                List),
    ("device-cgroup-rule",    "device_cgroup_rules",                    List),
    ("device-read-bps",       "blkio_config.device_read_bps",           Device("rate")),
    ("device-read-iops",      "blkio_config.device_read_iops",          Device("rate")),
    ("device-write-bps",      "blkio_config.device_write_bps",          Device("rate")),
    ("device-write-iops",     "blkio_config.device_write_iops",         Device("rate")),
    ("dns",                   "dns",                                    List),
    ("dns-opt",               "dns_opt",                                List),
    ("dns-option",            "dns_opt",                                List),
    ("dns-search",            "dns_search",                             List),
    ("domainname",            "domainname",                             Text),
    ("entrypoint",            "entrypoint",                             Program),
    ("env",                   "environment",                            Variable),
    ("env-file",              "env_file",                               List),
    ("expose",                "expose",                                 List),
    ("gpus",                  "deploy.resources.reservations.devices",  Gpus),
    ("group-add",             "group_add",                              List),
    ("health-cmd",            "healthcheck.test",                       Shell),
    ("health-interval",       "healthcheck.interval",                   Text),
    ("health-retries",        "healthcheck.retries",                    Number),
    ("health-start-interval", "healthcheck.start_interval",             Text),
    ("health-start-period",   "healthcheck.start_period",               Text),
    ("health-timeout",        "healthcheck.timeout",                    Text),
    ("hostname",              "hostname",                               Text),
    ("init",                  "init",                                   Switch),
    ("interactive",           "stdin_open",                             Switch),
    ("ip",                    "ipv4_address",                           InNetwork),
    ("ip6",                   "ipv6_address",                           InNetwork),
    ("ipc",                   "ipc",                                    Text),
    ("isolation",             "isolation",                              Text),
    ("label",                 "labels",                                 Pair),
    ("link-local-ip",         "link_local_ips",                         InNetwork),
    ("log-driver",            "logging.driver",                         Text),
    ("log-opt",               "logging.options",                        Pair),
    ("mac-address",           "mac_address",                            Text),
    ("memory",                "mem_limit",                              Number),
    ("memory-reservation",    "mem_reservation",                        Number),
    ("memory-swap",           "memswap_limit",                          Number),
    ("memory-swappiness",     "mem_swappiness",                         Number),
    ("mount",                 "volumes",                                Mount),
    ("name",                  "container_name",                         Text),
    ("net",                   "networks",                               Network),
    ("net-alias",             "aliases",                                InNetwork),
    ("network",               "networks",                               Network),
    ("network-alias",         "aliases",                                InNetwork),
    ("no-healthcheck",        "healthcheck.disable",                    Switch),
    ("oom-kill-disable",      "oom_kill_disable",                       Switch),
    ("oom-score-adj",         "oom_score_adj",                          Number),
    ("pid",                   "pid",                                    Text),
    ("pids-limit",            "pids_limit",                             Number),
    ("platform",              "platform",                               Text),
    ("publish",               "ports",                                  List),
    ("pull",                  "pull_policy",                            Text),
    ("read-only",             "read_only",                              Switch),
    ("restart",               "restart",                                Text),
    ("runtime",               "runtime",                                Text),
    ("security-opt",          "security_opt",                           List),
    ("shm-size",              "shm_size",                               Number),
    ("stop-signal",           "stop_signal",                            Text),
    ("stop-timeout",          "stop_grace_period",                      Seconds),
    ("storage-opt",           "storage_opt",                            Pair),
    ("sysctl",                "sysctls",                                Pair),
    ("tmpfs",                 "tmpfs",                                  List),
    ("tty",                   "tty",                                    Switch),
    ("ulimit",                "ulimits",                                Limit),
    ("user",                  "user",                                   Text),
    ("userns",                "userns_mode",                            Text),
    ("uts",                   "uts",                                    Text),
    ("volume",                "volumes",                                Volume),
    ("volumes-from",          "volumes_from",                           OfContainer),
    ("workdir",               "working_dir",                            Text),
];

/// The fields of `--mount`.
#[rustfmt::skip]
const FIELDS: &[Row] = &[
    ("bind-propagation", "bind.propagation", Text),
    ("consistency",      "consistency",      Text),
    ("destination",      "target",           Text),
    ("dst",              "target",           Text),
    ("readonly",         "read_only",        Switch),
    ("ro",               "read_only",        Switch),
    ("source",           "source",           Text),
    ("src",              "source",           Text),
    ("target",           "target",           Text),
    ("tmpfs-mode",       "tmpfs.mode",       Octal),
    ("tmpfs-size",       "tmpfs.size",       Number),
    ("type",             "type",             Text),
    ("volume-nocopy",    "volume.nocopy",    Switch),
    ("volume-subpath",   "volume.subpath",   Text),
];

/// The fields of `--network`.
#[rustfmt::skip]
const IN_NETWORK: &[Row] = &[
    ("alias",         "aliases",        List),
    ("ip",            "ipv4_address",   Text),
    ("ip6",           "ipv6_address",   Text),
    ("link-local-ip", "link_local_ips", List),
    ("mac-address",   "mac_address",    Text),
];

/// Options without a key that confine the container, or say where its files are.
const CONFINING: [&str; 7] =
    ["gidmap", "pod", "rootfs", "seccomp-policy", "subgidname", "subuidname", "uidmap"];

/// A file of Compose with one service, before it is written.
#[derive(Debug, Default)]
struct Composed {
    service: Map<String, Value>,
    volumes: Map<String, Value>,
    networks: Map<String, Value>,
    /// The first network that the container joins.
    first: Option<String>,
    left_out: Vec<String>,
}

impl Invocation {
    /// Writes a Compose file whose service is the container of the command line, with exactly these
    /// capabilities. The options that Compose has no key for are named in a comment.
    ///
    /// # Errors
    ///
    /// An option without a key that confines the container: without it, the service would have
    /// more than the container.
    pub fn compose(&self, caps: CapSet) -> Result<Written, SettingsError> {
        let target = Target { is_measured: true, ..Target::default() };
        let mut written = Format::Compose.export(&Settings::new(caps), &target)?;
        let composed = self.composed()?;
        let mut lines = Vec::new();
        if !composed.left_out.is_empty() {
            let options = composed.left_out.join(", ");
            lines.push(format!("# Left out, because Compose has no key for it: {options}"));
        }
        lines.push("services:".to_owned());
        lines.push(format!("  {}:", key(&self.service_name())));
        lines.push(format!("    image: {}", flow(&escaped(self.image()))));
        lines.extend(written.text.lines().map(|line| format!("    {line}")));
        print(&composed.service, 4, &mut lines);
        for (name, all) in [("volumes", composed.volumes), ("networks", composed.networks)] {
            if !all.is_empty() {
                lines.push(format!("{name}:"));
                print(&all, 2, &mut lines);
            }
        }
        written.text = lines.join("\n");
        Ok(written)
    }

    /// Returns the name of the container, or else the last part of the image's name.
    fn service_name(&self) -> String {
        let image = self.image().split('@').next().unwrap_or_default();
        let image = image.rsplit('/').next().unwrap_or_default();
        let image = image.split(':').next().unwrap_or_default();
        let name = self.values("name").last().unwrap_or(image);
        let name: String =
            name.chars().map(|char| if is_plain(char) { char } else { '-' }).collect();
        if name.is_empty() { "app".to_owned() } else { name }
    }

    fn composed(&self) -> Result<Composed, SettingsError> {
        let mut composed = Composed::default();
        // An address is one in a network that may be named after it.
        let is_late = |option: &&LineOption| {
            OPTIONS.iter().any(|(name, _, shape)| *name == option.name && *shape == InNetwork)
        };
        let (late, early): (Vec<_>, Vec<_>) = self.options().iter().partition(is_late);
        for option in early.into_iter().chain(late) {
            self.add(option, &mut composed)?;
        }
        let driver = self.values("volume-driver").last();
        for volume in composed.volumes.values_mut() {
            if let Some(driver) = driver {
                volume["driver"] = escaped(driver);
            }
        }
        let arguments = self.arguments();
        if !arguments.is_empty() {
            let words = arguments.iter().map(|word| escaped(word)).collect();
            composed.service.insert("command".to_owned(), Value::Array(words));
        }
        Ok(composed)
    }

    fn add(&self, option: &LineOption, composed: &mut Composed) -> Result<(), SettingsError> {
        let LineOption { name, value, .. } = option;
        let text = value.as_deref().unwrap_or("true");
        let shown = match value {
            Some(value) => format!("--{name} {}", quoted(value)),
            None => format!("--{name}"),
        };
        if CAPS.contains(&&**name) || name == "volume-driver" {
            return Ok(());
        }
        if CONFINING.contains(&&**name) {
            return Err(SettingsError::value(shown, "has no equivalent in Compose"));
        }
        let row = OPTIONS.iter().find(|(known, ..)| known == name);
        let is_added = match row {
            None => false,
            Some((_, _, Network)) => {
                composed.add_network(text, self.is_podman())?;
                true
            }
            Some((_, key, InNetwork)) => composed.add_in_network(key, text),
            Some((_, key, Volume)) => {
                composed.declare(text.split_once(':').map_or("", |(source, _)| source));
                add(&mut composed.service, key, List, text)
            }
            Some((_, key, Mount)) => match mount(text) {
                Some(mount) => {
                    if mount["type"] == "volume" {
                        composed.declare(mount["source"].as_str().unwrap_or_default());
                    }
                    put(&mut composed.service, key, Entry::Push(mount));
                    true
                }
                None => false,
            },
            Some((_, key, shape)) => add(&mut composed.service, key, *shape, text),
        };
        if !is_added {
            composed.left_out.push(shown);
        }
        Ok(())
    }
}

impl Composed {
    /// Declares a volume, unless the source is a directory of the host. Its name is the one that the
    /// command line has, without that of a project.
    fn declare(&mut self, source: &str) {
        if !source.is_empty() && !source.starts_with(['/', '.', '~']) {
            self.volumes.insert(source.to_owned(), json!({ "name": escaped(source) }));
        }
    }

    /// Adds a network by its name, which exists, or sets the mode of the network.
    fn add_network(&mut self, text: &str, is_podman: bool) -> Result<(), SettingsError> {
        let wrong = || {
            let shown = format!("--network {}", quoted(text));
            Err(SettingsError::value(shown, "has no equivalent in Compose"))
        };
        let mode = text.split(':').next().unwrap_or_default();
        let is_of_podman = ["ns", "pasta", "private", "slirp4netns"].contains(&mode) && is_podman;
        if ["bridge", "host", "none"].contains(&text) || mode == "container" || is_of_podman {
            self.service.insert("network_mode".to_owned(), escaped(text));
            return Ok(());
        }
        if text == "default" {
            self.service.insert("network_mode".to_owned(), json!("bridge"));
            return Ok(());
        }
        let (mut name, mut own) = (None, Map::new());
        if text.contains('=') && !is_podman {
            for field in text.split(',') {
                let (key, value) = field.split_once('=').unwrap_or((field, ""));
                let row = IN_NETWORK.iter().find(|(known, ..)| *known == key);
                match row {
                    _ if key == "name" => name = Some(value),
                    Some((_, key, shape)) if add(&mut own, key, *shape, value) => {}
                    _ => return wrong(),
                }
            }
        } else if !text.contains([':', ',', '=']) {
            name = Some(text);
        }
        let Some(name) = name else { return wrong() };
        self.first.get_or_insert_with(|| name.to_owned());
        put(&mut self.service, "networks", Entry::Insert(name.to_owned(), own.into()));
        self.networks.insert(name.to_owned(), json!({ "name": escaped(name), "external": true }));
        Ok(())
    }

    /// Adds a setting in the first network.
    fn add_in_network(&mut self, key: &str, text: &str) -> bool {
        let Some(first) = &self.first else { return false };
        let own = self.service.get_mut("networks").and_then(|networks| networks.get_mut(first));
        let Some(own) = own.and_then(Value::as_object_mut) else { return false };
        let is_list = IN_NETWORK.iter().any(|(_, known, shape)| *known == key && *shape == List);
        add(own, key, if is_list { List } else { Text }, text)
    }
}

/// Returns a mount in the long syntax; `None` if a field has no key.
fn mount(text: &str) -> Option<Value> {
    let mut mount = Map::new();
    mount.insert("type".to_owned(), json!("volume"));
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, "true"));
        let (_, key, shape) = FIELDS.iter().find(|(known, ..)| *known == name)?;
        if !add(&mut mount, key, *shape, value) {
            return None;
        }
    }
    ["bind", "tmpfs", "volume"].iter().any(|kind| mount["type"] == *kind).then(|| mount.into())
}

/// Adds the value of an option to a mapping. Returns whether the value has the form of its option.
fn add(to: &mut Map<String, Value>, path: &str, shape: Shape, text: &str) -> bool {
    let entry = entry(shape, text);
    let is_known = entry.is_some();
    if let Some(entry) = entry {
        put(to, path, entry);
    }
    is_known
}

/// The way in which a value becomes that of a key.
enum Entry {
    Set(Value),
    Push(Value),
    Insert(String, Value),
}

/// Returns the value of an option; `None` if it does not have the form.
fn entry(shape: Shape, text: &str) -> Option<Entry> {
    let pair = text.split_once('=');
    let named = |alone: Value| {
        let (name, value) = pair.map_or((text, alone), |(name, value)| (name, escaped(value)));
        Entry::Insert(name.to_owned(), value)
    };
    Some(match shape {
        Text => Entry::Set(escaped(text)),
        Number => Entry::Set(number(text)),
        Octal => Entry::Set(u32::from_str_radix(text, 8).ok()?.into()),
        Seconds => Entry::Set(json!(format!("{}s", text.parse::<u32>().ok()?))),
        Switch => Entry::Set(parse_bool(text)?.into()),
        Shell => Entry::Set(json!(["CMD-SHELL", escaped(text)])),
        Program => Entry::Set(program(text)),
        List => Entry::Push(escaped(text)),
        OfContainer => Entry::Push(escaped(&format!("container:{text}"))),
        // Podman takes a pattern.
        Variable if pair.is_none() && text.ends_with('*') => return None,
        Variable => named(Value::Null),
        Pair => named(json!("")),
        Limit => {
            let (name, value) = pair?;
            Entry::Insert(name.to_owned(), limit(value)?)
        }
        Device(kind) => {
            let (device, value) = text.rsplit_once(':')?;
            Entry::Push(json!({ "path": escaped(device), kind: number(value) }))
        }
        Gpus => {
            let count = if text == "all" { json!("all") } else { text.parse().ok()? };
            Entry::Push(json!({ "driver": "nvidia", "count": count, "capabilities": ["gpu"] }))
        }
        Volume | Mount | Network | InNetwork => return None,
    })
}

/// Puts a value at its place. A dot separates a key from one in its mapping.
fn put(to: &mut Map<String, Value>, path: &str, entry: Entry) {
    if let Some((key, rest)) = path.split_once('.') {
        if let Value::Object(inner) = to.entry(key).or_insert_with(|| json!({})) {
            put(inner, rest, entry);
        }
        return;
    }
    match entry {
        Entry::Set(value) => {
            to.insert(path.to_owned(), value);
        }
        Entry::Push(value) => {
            // Compose refuses a list that has a member twice.
            if let Value::Array(list) = to.entry(path).or_insert_with(|| json!([]))
                && !list.contains(&value)
            {
                list.push(value);
            }
        }
        Entry::Insert(name, value) => to.entry(path).or_insert_with(|| json!({}))[name] = value,
    }
}

fn escaped(text: &str) -> Value {
    one_off::escaped(text).into()
}

fn number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| escaped(text), Value::from)
}

/// Returns the limit of a resource, or both of them.
fn limit(text: &str) -> Option<Value> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (soft, hard): (i64, i64) = (soft.parse().ok()?, hard.parse().ok()?);
    Some(json!({ "soft": soft, "hard": hard }))
}

/// Returns an entrypoint. An empty one takes the place of the image's.
fn program(text: &str) -> Value {
    let words = serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| vec![text.to_owned()]);
    words.iter().map(|word| escaped(word)).collect()
}

/// Writes the keys of a mapping as lines, with a line for each member of a list or a mapping.
fn print(all: &Map<String, Value>, indent: usize, lines: &mut Vec<String>) {
    for (name, value) in all {
        let name = format!("{:indent$}{}:", "", key(name));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                lines.push(name);
                print(inner, indent + 2, lines);
            }
            Value::Array(list) if !list.is_empty() => {
                lines.push(name);
                let entries = list.iter().map(|one| format!("{:indent$}  - {}", "", flow(one)));
                lines.extend(entries);
            }
            value => lines.push(format!("{name} {}", flow(value))),
        }
    }
}

/// Returns a value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(all) => {
            let all = all.iter().map(|(name, value)| format!("{}: {}", key(name), flow(value)));
            format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns whether a character can be in the name of a service.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "._-".contains(char)
}

/// Returns a key, in quotes if YAML would take it for something else than a text.
fn key(name: &str) -> String {
    const WORDS: [&str; 9] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes"];
    let is_text = name.starts_with(|char: char| char.is_ascii_alphabetic())
        && name.chars().all(is_plain)
        && !WORDS.contains(&&*name.to_ascii_lowercase());
    if is_text { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests;
