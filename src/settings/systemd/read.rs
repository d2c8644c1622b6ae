//! Units, as systemd starts them. (systemd.exec(5), "Capabilities", "Credentials" and "Security")

use super::super::{
    Context, Engine, EngineKind, Id, Kind, Named, Settings, SettingsError, Topic, User, Who,
    engine::Grant, read::Found, words,
};
use super::syntax::{self, Assignment};
use crate::{Cap, CapSet, Securebits, caps::most_alike};

/// The first version that behaves as 257, with which it was measured; earlier ones behave as 252.
const NEW: [u32; 3] = [255, 0, 0];

/// Settings that install a seccomp filter. With a non-root user, they imply no_new_privs before
/// systemd 255.
const FILTERS: [&str; 13] = [
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "ProtectClock",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RestrictNamespaces",
    "RestrictAddressFamilies",
    "SystemCallArchitectures",
];

/// Settings that take capabilities from the bounding set.
const PROTECTIONS: [(&str, CapSet); 4] = [
    ("PrivateDevices", CapSet::of(&[Cap::MKNOD, Cap::SYS_RAWIO])),
    ("ProtectClock", CapSet::of(&[Cap::SYS_TIME, Cap::WAKE_ALARM])),
    ("ProtectKernelLogs", CapSet::of(&[Cap::SYSLOG])),
    ("ProtectKernelModules", CapSet::of(&[Cap::SYS_MODULE])),
];

/// The likeness of a misspelled key, which no other key of systemd has.
const ALIKE: f64 = 0.95;
/// The keys that give and limit privileges.
const KEYS: [&str; 8] = [
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "DynamicUser",
    "Group",
    "NoNewPrivileges",
    "SecureBits",
    "SupplementaryGroups",
    "User",
];

/// Reads a unit, or several that `systemctl cat` prints. The first line is the header of a section.
pub(in super::super) fn read(text: &str, context: &Context<'_>) -> Found {
    let is_empty = |line: &&str| line.is_empty() || syntax::is_comment(line);
    let first = text.lines().map(str::trim).find(|line| !is_empty(line))?;
    syntax::section(first)?;
    let lines = syntax::lines(text);
    let assignments = syntax::assignments(&lines);
    // A container of Podman is another format.
    let has = |name: &str| lines.iter().any(|line| syntax::section(line) == Some(name));
    if has("Container") {
        return None;
    }
    let name = context.unit.map(str::to_owned).or_else(|| printed_name(text));
    Some(if has("Service") {
        read_service(&assignments, name, context).map(|settings| vec![settings])
    } else {
        Err(SettingsError::NoServiceSection)
    })
}

/// Returns the name of the unit whose path `systemctl cat` prints in its first line.
fn printed_name(text: &str) -> Option<String> {
    let path = text.lines().next()?.strip_prefix("# ")?;
    let name = path.rsplit('/').next().filter(|_| path.starts_with('/'))?;
    name.ends_with(".service").then(|| name.to_owned())
}

/// The state of a service while its settings are read.
#[derive(Debug)]
struct Service {
    engine: Engine,
    bounding: Option<CapSet>,
    ambient: CapSet,
    named: Named,
    user: String,
    group: String,
    groups: Vec<String>,
    securebits: Securebits,
    is_dynamic: bool,
    no_new_privs: bool,
    has_user_namespace: bool,
    switches: Vec<(&'static str, bool)>,
    exec: Vec<String>,
    notes: Vec<String>,
}

fn read_service(
    assignments: &[Assignment<'_>],
    name: Option<String>,
    context: &Context<'_>,
) -> Result<Settings, SettingsError> {
    let mut service = Service::new(context);
    for Assignment { section, key, value } in assignments {
        match *section {
            "Service" => service.assign(key, value),
            "Unit" | "Install" if KEYS.contains(key) => {
                let words =
                    format!("{key}= is in [{section}]: systemd ignores it outside [Service]");
                service.notes.push(words);
            }
            _ => {}
        }
    }
    let mut settings = service.settings(name.as_deref())?;
    settings.name = name;
    Ok(settings)
}

impl Service {
    fn new(context: &Context<'_>) -> Service {
        Service {
            engine: context.engine(&[EngineKind::Systemd]),
            bounding: None,
            ambient: CapSet::empty(),
            named: Named::default(),
            user: String::new(),
            group: String::new(),
            groups: Vec::new(),
            securebits: Securebits::empty(),
            is_dynamic: false,
            no_new_privs: false,
            has_user_namespace: false,
            switches: Vec::new(),
            exec: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn assign(&mut self, key: &str, value: &str) {
        match key {
            "CapabilityBoundingSet" => {
                // It begins as the set of everything. (config_parse_capability_set)
                let before = self.bounding.unwrap_or(CapSet::all());
                let (set, names) = self.merge(before, CapSet::all(), key, value);
                self.bounding = Some(set);
                self.name(names, value);
            }
            "AmbientCapabilities" => {
                let (set, names) = self.merge(self.ambient, CapSet::empty(), key, value);
                self.ambient = set;
                self.name(names, value);
            }
            "User" => value.clone_into(&mut self.user),
            "Group" => value.clone_into(&mut self.group),
            "SupplementaryGroups" if value.is_empty() => self.groups.clear(),
            "SupplementaryGroups" => self.groups.extend(syntax::words(value).0),
            "SecureBits" => self.assign_securebits(value),
            "ExecStart" if value.is_empty() => self.exec.clear(),
            "ExecStart" => self.exec.push(value.to_owned()),
            "NoNewPrivileges" | "DynamicUser" | "PrivateUsers" => self.switch(key, value),
            "SystemCallFilter" | "SystemCallLog" => {
                self.turn("SystemCallFilter", !value.is_empty());
            }
            _ => {
                let filter = FILTERS.iter().find(|filter| **filter == key);
                if let Some(filter) = filter {
                    let is_list = key.starts_with("Restrict") || key.ends_with("Architectures");
                    let is_on = syntax::boolean(value).or(is_list.then_some(!value.is_empty()));
                    match is_on {
                        Some(is_on) => self.turn(filter, is_on),
                        None => self.ignore(key, value),
                    }
                } else if let Some(meant) = most_alike(key, KEYS.map(|key| (key, key)), ALIKE) {
                    self.notes.push(format!(
                        "{key}=: systemd has no such setting; did you mean {meant}=?"
                    ));
                }
            }
        }
    }

    fn switch(&mut self, key: &str, value: &str) {
        match (syntax::boolean(value), key) {
            (Some(is_on), "NoNewPrivileges") => self.no_new_privs = is_on,
            (Some(is_on), "DynamicUser") => self.is_dynamic = is_on,
            (Some(is_on), _) => self.has_user_namespace = is_on,
            // PrivateUsers= takes words besides.
            (None, "PrivateUsers") => self.has_user_namespace = true,
            (None, key) => self.ignore(key, value),
        }
    }

    fn turn(&mut self, key: &'static str, is_on: bool) {
        self.switches.retain(|(one, _)| *one != key);
        self.switches.push((key, is_on));
    }

    fn is_on(&self, key: &str) -> bool {
        self.switches.iter().any(|(one, is_on)| *one == key && *is_on)
    }

    fn name(&mut self, names: CapSet, value: &str) {
        if value.starts_with('~') {
            self.named.drop |= names;
        } else {
            self.named.add |= names;
        }
    }

    fn ignore(&mut self, key: &str, value: &str) {
        self.notes.push(format!("{key}={value}: systemd ignores this value"));
    }

    /// Returns a set after one more assignment, and the names in it.
    fn merge(
        &mut self,
        before: CapSet,
        initial: CapSet,
        key: &str,
        value: &str,
    ) -> (CapSet, CapSet) {
        if value.is_empty() {
            return (CapSet::empty(), CapSet::empty());
        }
        let (is_inverted, list) = match value.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, value),
        };
        let (mut words, open) = syntax::words(list);
        if let Some(last) = open {
            let effect = if self.engine.is_at_least(NEW) {
                words.push(last);
                "systemd before 255 ignores the rest"
            } else {
                "the rest is ignored, and not since systemd 255"
            };
            self.notes.push(format!("{key}={value}: a quote is not closed; {effect}"));
        }
        let mut sum = CapSet::empty();
        for word in &words {
            let cap = syntax::capability(word);
            if cap.is_empty() {
                self.notes.push(unknown_word(key, word));
            }
            sum |= cap;
        }
        let is_replaced = sum.is_empty() || before == initial;
        let set = match (is_replaced, is_inverted) {
            (true, false) => sum,
            (true, true) => CapSet::all() - sum,
            (false, false) => before | sum,
            (false, true) => before - sum,
        };
        (set, sum)
    }

    fn assign_securebits(&mut self, value: &str) {
        if value.is_empty() {
            self.securebits = Securebits::empty();
        }
        for word in syntax::words(value).0 {
            // The names in lower case alone.
            let is_lower = !word.contains(|char: char| char.is_ascii_uppercase() || char == ',');
            let is_name = word.starts_with(|char: char| char.is_ascii_lowercase());
            match word.parse::<Securebits>() {
                Ok(bits) if is_lower && is_name => self.securebits |= bits,
                _ => self.ignore("SecureBits", &word),
            }
        }
    }

    fn settings(mut self, unit: Option<&str>) -> Result<Settings, SettingsError> {
        let engine = self.engine.clone();
        let all = CapSet::supported();
        let protected = PROTECTIONS.iter().filter(|(key, _)| self.is_on(key));
        let protected = protected.fold(CapSet::empty(), |all, (_, caps)| all | *caps);
        let (prefixes, command) = exec(self.exec.first().map_or("", |exec| exec));
        let is_full = prefixes.contains('+');
        let mut settings = Settings {
            kind: Kind::Unit,
            user: self.who(unit, prefixes)?,
            securebits: if is_full { Securebits::empty() } else { self.securebits },
            command,
            ..Settings::default()
        };
        for note in std::mem::take(&mut self.notes) {
            settings.note(Topic::NoEffect, note);
        }
        self.note(&mut settings, prefixes, unit);
        if is_full {
            let grant = Grant { bounding: all, ambient: CapSet::empty(), named: self.named };
            return Ok(engine.grant(settings, grant));
        }
        let names = self.groups.iter().filter_map(|name| syntax::specifiers(name, unit));
        settings.groups = names.map(|name| name.parse()).collect::<Result<_, _>>()?;
        settings.no_new_privs = self.has_no_new_privs(&mut settings, &engine);
        let bounding = (self.bounding.unwrap_or(all) & all) - protected;
        let ambient = self.ambient & all;
        let lost = ambient - bounding;
        if !lost.is_empty() {
            let note = format!("{lost} is lost: an ambient capability needs the bounding set");
            settings.note(Topic::NoEffect, note);
        }
        let keeps = self.has_filter() && self.sets_user(prefixes) && engine.is_at_least(NEW);
        let settings = engine.grant(settings, Grant { bounding, ambient, named: self.named });
        Ok(if keeps { after_filter(settings) } else { settings })
    }

    fn sets_user(&self, prefixes: &str) -> bool {
        let is_passed_over = prefixes.contains('!') && !prefixes.contains("!!");
        (!self.user.is_empty() || self.is_dynamic) && !is_passed_over
    }

    fn has_filter(&self) -> bool {
        FILTERS.iter().any(|key| self.is_on(key)) || self.is_on("SystemCallFilter")
    }

    /// Returns whether no_new_privs is set, by itself or by another setting.
    fn has_no_new_privs(&self, settings: &mut Settings, engine: &Engine) -> bool {
        if self.no_new_privs || self.is_dynamic {
            return true;
        }
        if settings.user.may_be_root() || !self.has_filter() {
            return false;
        }
        settings.note(
            Topic::Engine,
            "before systemd 255, a non-root user with a setting that needs seccomp has \
             no-new-privs; later versions do not imply it, and leave cap_setpcap and \
             cap_sys_admin inheritable",
        );
        !engine.is_at_least(NEW)
    }

    /// Returns the user of the main process.
    fn who(&self, unit: Option<&str>, prefixes: &str) -> Result<Who, SettingsError> {
        let root = || Who::User(Id::Number(0).into());
        let resolve = |value: &str| match syntax::specifiers(value, unit) {
            Some(name) => words::user(&name).map(|user| Some(user.unwrap_or_else(root_user))),
            None => Ok(None),
        };
        if prefixes.contains(['+', '!']) && !prefixes.contains("!!") {
            return Ok(root());
        }
        let Some(user) = resolve(&self.user)? else { return Ok(Who::Unknown) };
        // The name of a dynamic user that is not named is that of the unit.
        let stem = unit.and_then(|unit| unit.rsplit_once('.')).map_or("", |(stem, _)| stem);
        if self.is_dynamic && (self.user.is_empty() || self.user == stem) {
            return Ok(Who::NotRoot);
        }
        if self.group.is_empty() {
            return Ok(Who::User(user));
        }
        Ok(match syntax::specifiers(&self.group, unit) {
            Some(group) => Who::User(user).with_group(&group)?,
            None => Who::Unknown,
        })
    }

    /// Adds remarks about the user and the commands.
    fn note(&self, settings: &mut Settings, prefixes: &str, unit: Option<&str>) {
        if prefixes.contains('+') {
            settings.note(
                Topic::NoEffect,
                "ExecStart=+ runs the program as root with every capability: the user, the sets \
                 and no-new-privs of the unit do not apply to it",
            );
        } else if prefixes.contains('!') && !prefixes.contains("!!") && !self.user.is_empty() {
            let note = "ExecStart=! runs the program as root: the user of the unit does not apply";
            settings.note(Topic::NoEffect, note);
        }
        let is_unresolved = |value: &str| syntax::specifiers(value, unit).is_none();
        if is_unresolved(&self.user) || is_unresolved(&self.group) {
            let note = format!("User={} depends on the instance or the machine", self.user);
            settings.note(Topic::Unknown, note);
        } else if self.is_dynamic && self.user.is_empty() {
            settings.note(Topic::Unknown, "DynamicUser= takes a free user id, which is not root");
        }
        if self.has_user_namespace {
            settings.note(
                Topic::Unknown,
                "PrivateUsers= puts the program into a user namespace of its own, where its \
                 capabilities reach nothing outside",
            );
        }
        let differs = |exec_line: &String| exec(exec_line).0 != prefixes;
        if self.exec.iter().any(differs) {
            let note = "several ExecStart= differ in their prefixes: this is the first of them";
            settings.note(Topic::Unknown, note);
        }
    }
}

/// Returns the settings of a process that has installed its seccomp filter after it changed its
/// user: it kept its permitted set for that, and has what that needs in its inheritable set.
/// (src/core/exec-invoke.c, `keep_seccomp_privileges`; measured with 257)
fn after_filter(settings: Settings) -> Settings {
    const NEEDED: CapSet = CapSet::of(&[Cap::SETPCAP, Cap::SYS_ADMIN]);
    let mut settings = settings.keeping_permitted();
    let dropped = CapSet::from(Cap::SETUID) - settings.ambient;
    settings.caps.permitted -= dropped;
    settings.caps.effective -= dropped;
    settings.caps.inheritable |= NEEDED & settings.bounding;
    settings
}

fn root_user() -> User {
    Id::Number(0).into()
}

/// Returns the remark about a word that is not a capability for systemd.
fn unknown_word(key: &str, word: &str) -> String {
    let hint = if word.contains(',') {
        ": names are separated by blanks, not commas".to_owned()
    } else if word.eq_ignore_ascii_case("all") {
        ": to name every capability, write ~ without names".to_owned()
    } else {
        let known = CapSet::from_names(word, CapSet::supported());
        match known {
            Ok(caps) => format!(
                ": names begin with CAP_, as in {}",
                caps.iter().filter_map(Cap::constant_name).collect::<Vec<_>>().join(" ")
            ),
            Err(err) => format!(": {err}"),
        }
    };
    format!("{key}=: systemd skips {word:?}{hint}")
}

/// Splits the value of ExecStart= into the prefixes of its program and the words of the command.
fn exec(value: &str) -> (&str, Vec<String>) {
    let rest = value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefixes = &value[..value.len() - rest.len()];
    let mut command = syntax::words(rest).0;
    if prefixes.contains('@') && command.len() > 1 {
        // The second word is the program's own name for itself.
        command.remove(1);
    }
    (prefixes, command)
}

/// Reads lines `KEY=VALUE` of `systemctl show`, which has resolved everything. Empty lines are
/// between units.
pub(in super::super) fn read_show(text: &str, context: &Context<'_>) -> Found {
    let lines: Vec<&str> = text.lines().filter(|line| !syntax::is_comment(line)).collect();
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fields: Option<Vec<Vec<(&str, &str)>>> = lines
        .split(|line| line.trim().is_empty())
        .filter(|lines| !lines.is_empty())
        .map(|lines| {
            lines.iter().map(|line| line.split_once('=').filter(|(key, _)| is_key(key))).collect()
        })
        .collect();
    let units = fields.filter(|units| !units.is_empty())?;
    let has = |fields: &[(&str, &str)], name: &str| fields.iter().any(|(key, _)| *key == name);
    let is_unit = |fields: &Vec<(&str, &str)>| {
        let names = ["CapabilityBoundingSet", "AmbientCapabilities", "NoNewPrivileges"];
        names.iter().any(|name| has(fields, name))
    };
    if !units.iter().all(is_unit) {
        return None;
    }
    Some(units.iter().map(|fields| shown(fields, context)).collect())
}

fn shown(fields: &[(&str, &str)], context: &Context<'_>) -> Result<Settings, SettingsError> {
    let mut service = Service::new(context);
    // All properties are shown but those without a value, and an empty set is one of them.
    if fields.iter().any(|(key, _)| *key == "NoNewPrivileges") {
        service.bounding = Some(CapSet::empty());
    }
    let mut name = None;
    let mut is_extended = false;
    for &(key, value) in fields {
        match key {
            "Id" => name = Some(value.to_owned()),
            "CapabilityBoundingSet" => {
                let words = syntax::words(value).0;
                let caps = words.iter().map(|word| syntax::capability(word)).collect();
                service.bounding = Some(caps);
            }
            // A number, and not the names of a unit.
            "SecureBits" => {
                service.securebits =
                    value.parse::<u32>().map_or(Securebits::empty(), Securebits::from_bits_retain);
            }
            "ExecStart" | "ExecStartEx" => {
                // The second has the flags of the same commands.
                if key == "ExecStartEx" && !std::mem::replace(&mut is_extended, true) {
                    service.exec.clear();
                }
                // The arguments, which come before the flags, can contain anything.
                let flags = value.rsplit_once(" ; flags=").map_or("", |(_, rest)| rest);
                let flags = flags.split(" ;").next().unwrap_or(flags);
                let part = |key: &str| {
                    let rest = value.split_once(key)?.1;
                    Some(rest.split(" ;").next().unwrap_or(rest).trim())
                };
                let prefix = match flags {
                    _ if flags.contains("privileged") => "+",
                    _ if flags.contains("no-setuid") => "!",
                    _ => "",
                };
                // The first word of argv[] is the program's own name for itself.
                let argv = part("argv[]=").unwrap_or_default();
                let arguments = argv.split_once(' ').map_or("", |(_, arguments)| arguments);
                if let Some(path) = part("path=") {
                    service.exec.push(format!("{prefix}{path} {arguments}"));
                }
            }
            // Defaults of lists, which are shown as well.
            "SystemCallFilter"
            | "SystemCallLog"
            | "RestrictNamespaces"
            | "RestrictAddressFamilies"
            | "SystemCallArchitectures"
                if value.is_empty() || value == "no" => {}
            _ => service.assign(key, value),
        }
    }
    let mut settings = service.settings(name.as_deref())?;
    settings.name = name;
    Ok(settings)
}
