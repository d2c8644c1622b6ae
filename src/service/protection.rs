//! The protections of systemd.exec(5) and systemd.resource-control(5) that a unit can have, as
//! `systemd-analyze security` lists them.

use std::collections::BTreeMap;

use super::{Facts, Failed};
use crate::settings::unit_words;

/// A protection that a unit does not have yet, with its values from the strongest to the weakest.
///
/// A value that begins with `~` takes one element from a list of what the service may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protection {
    /// The name of the setting.
    pub key: &'static str,
    /// The values that are stronger than the unit's own.
    pub values: Vec<String>,
    /// Whether services often do not work with it, so that a search tries without it first.
    pub is_often_broken: bool,
}

/// A setting with one value.
struct Setting {
    key: &'static str,
    /// The values from the strongest to the weakest, which is that of a unit without the setting.
    rank: &'static [&'static str],
    /// The values that are tried. The others need more than the setting alone, or a newer systemd.
    offered: &'static [&'static str],
    is_often_broken: bool,
}

const fn setting(
    key: &'static str,
    rank: &'static [&'static str],
    offered: &'static [&'static str],
) -> Setting {
    Setting { key, rank, offered, is_often_broken: false }
}

const fn switch(key: &'static str) -> Setting {
    setting(key, &["yes", "no"], &["yes"])
}

impl Setting {
    const fn often_broken(self) -> Setting {
        Setting { is_often_broken: true, ..self }
    }
}

/// The settings with one value, in ascending order of what they are worth. (The weights of
/// systemd's src/analyze/analyze-security.c)
#[rustfmt::skip]
const SETTINGS: [Setting; 24] = [
    setting("ProcSubset", &["pid", "all"], &["pid"]),
    switch("ProtectHostname"),
    switch("RemoveIPC"),
    switch("LockPersonality"),
    switch("MemoryDenyWriteExecute").often_broken(),
    switch("RestrictRealtime"),
    setting("ProtectProc", &["ptraceable", "invisible", "noaccess", "default"], &["invisible", "noaccess"]),
    setting("DevicePolicy", &["strict", "closed", "auto"], &["closed"]),
    switch("ProtectClock"),
    switch("ProtectKernelLogs"),
    switch("ProtectKernelModules"),
    switch("ProtectKernelTunables"),
    // "private" is of systemd 257.
    setting("ProtectControlGroups", &["strict", "private", "yes", "no"], &["yes"]),
    switch("RestrictSUIDSGID"),
    switch("PrivateMounts"),
    switch("NoNewPrivileges"),
    switch("PrivateDevices"),
    // "disconnected" is of systemd 257.
    setting("PrivateTmp", &["disconnected", "yes", "no"], &["yes"]),
    setting("ProtectHome", &["yes", "tmpfs", "read-only", "no"], &["yes", "tmpfs", "read-only"]),
    setting("ProtectSystem", &["strict", "full", "yes", "no"], &["strict", "full", "yes"]).often_broken(),
    // "identity", "full" and "managed" are of systemd 257 and later.
    setting("PrivateUsers", &["yes", "self", "managed", "identity", "full", "no"], &["yes"]).often_broken(),
    switch("PrivateNetwork").often_broken(),
    setting("SystemCallArchitectures", &["native", ""], &["native"]),
    setting("IPAddressDeny", &["any", ""], &["any"]).often_broken(),
];

/// The namespaces of `RestrictNamespaces=`.
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "net", "mnt", "pid", "uts", "user"];
/// The address families of `RestrictAddressFamilies=` that have a name in
/// `systemd-analyze security`, with whether services often need them.
const FAMILIES: [(&str, bool); 5] = [
    ("AF_UNIX", true),
    ("AF_NETLINK", true),
    ("AF_PACKET", false),
    ("AF_INET6", true),
    ("AF_INET", true),
];
/// All other address families.
const OTHERS: &str = "others";
/// The groups of system calls that `systemd-analyze security` lists, in ascending order of what
/// they are worth, with whether services often need them.
const CALLS: [(&str, bool); 11] = [
    ("@resources", true),
    ("@obsolete", false),
    ("@cpu-emulation", false),
    ("@swap", false),
    ("@reboot", false),
    ("@mount", false),
    ("@clock", false),
    ("@privileged", true),
    ("@debug", false),
    ("@module", false),
    ("@raw-io", false),
];
/// The system calls that an ordinary service can need.
const SERVICE: &str = "@system-service";
/// The end of a value that lets a call fail instead of killing the program.
const FAILS: &str = ":EPERM";

/// The settings of a unit that protections replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protections {
    shown: BTreeMap<String, String>,
}

impl Protections {
    /// Reads the settings of a unit.
    ///
    /// # Errors
    ///
    /// systemctl(1) cannot be run, or does not reach the system manager.
    pub fn of(unit: &Facts) -> Result<Protections, Failed> {
        let single = SETTINGS.iter().map(|setting| setting.key);
        let keys = ["UMask", "RestrictNamespaces", "RestrictAddressFamilies", "SystemCallFilter"];
        let keys: Vec<&str> = single.chain(keys).collect();
        let properties = format!("--property={}", keys.join(","));
        let text = unit.manager().systemctl(&["show", &properties, "--", unit.id()])?;
        Ok(Protections::parse(&text))
    }

    /// Reads lines `KEY=VALUE`, as `systemctl show` prints them.
    pub(super) fn parse(text: &str) -> Protections {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let shown = lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
        Protections { shown: shown.collect() }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.shown.get(key).map(String::as_str)
    }

    /// Returns the protections that are stronger than what the unit has, in ascending order of what
    /// they are worth. Settings that this version of systemd does not have are not among them.
    pub fn offered(&self) -> Vec<Protection> {
        let mut all: Vec<Protection> = self.umask().into_iter().collect();
        all.extend(SETTINGS.iter().filter_map(|setting| self.single(setting)));
        all.extend(self.families());
        all.extend(self.calls());
        all.extend(self.namespaces());
        all
    }

    fn single(&self, setting: &Setting) -> Option<Protection> {
        // An empty list is not shown.
        let is_list = setting.rank.contains(&"");
        let now = self.get(setting.key).or(is_list.then_some(""))?;
        // A value that is not known is not replaced.
        let now = setting.rank.iter().position(|value| *value == now)?;
        let is_stronger = |value: &&&str| setting.rank[..now].contains(value);
        let values: Vec<String> =
            setting.offered.iter().filter(is_stronger).map(|value| (*value).to_owned()).collect();
        let is_often_broken = setting.is_often_broken;
        (!values.is_empty()).then_some(Protection { key: setting.key, values, is_often_broken })
    }

    fn umask(&self) -> Option<Protection> {
        let now = u32::from_str_radix(self.get("UMask")?, 8).ok()?;
        let is_stronger = |mask: &u32| mask & now == now && *mask != now;
        let masks = [0o077, 0o027].into_iter().filter(is_stronger);
        let values: Vec<String> = masks.map(|mask| format!("{mask:04o}")).collect();
        (!values.is_empty()).then_some(Protection { key: "UMask", values, is_often_broken: false })
    }

    fn namespaces(&self) -> Vec<Protection> {
        let allowed: Vec<&str> = match self.get("RestrictNamespaces") {
            None | Some("yes") => Vec::new(),
            Some("no") => NAMESPACES.to_vec(),
            Some(list) => NAMESPACES.into_iter().filter(|name| has_word(list, name)).collect(),
        };
        let one = |name: &str| element("RestrictNamespaces", name, false);
        allowed.into_iter().map(one).collect()
    }

    fn families(&self) -> Vec<Protection> {
        let one = |name: &str, is_often| element("RestrictAddressFamilies", name, is_often);
        if let Some(list) = self.allowed_families() {
            return list.iter().map(|name| one(name, true)).collect();
        }
        let denied = self.denied_families();
        let is_left = |name: &str| !denied.iter().any(|own| own == name);
        let left = FAMILIES.iter().filter(|(name, _)| is_left(name));
        let left = left.map(|(name, is_often)| one(name, *is_often));
        [one(OTHERS, false)].into_iter().chain(left).collect()
    }

    /// Returns the families of a list of what is allowed, or `None` if all others than the denied
    /// ones are allowed.
    fn allowed_families(&self) -> Option<Vec<String>> {
        let list = self.get("RestrictAddressFamilies")?;
        (!list.starts_with('~')).then(|| unit_words(list).0)
    }

    fn denied_families(&self) -> Vec<String> {
        let list = self.get("RestrictAddressFamilies").and_then(|list| list.strip_prefix('~'));
        list.map_or_else(Vec::new, |list| unit_words(list).0)
    }

    fn calls(&self) -> Vec<Protection> {
        // A list of what is allowed would add to one that the unit has, and take from one of what
        // is denied; another error number would apply to all of it.
        let has_filter = self.has_filter();
        let one = |name: String, is_often_broken| {
            let mut values = vec![name];
            if !has_filter {
                values.push(format!("{}{FAILS}", values[0]));
            }
            Protection { key: "SystemCallFilter", values, is_often_broken }
        };
        let mut all = Vec::new();
        all.extend(CALLS.iter().map(|(group, is_often)| one(format!("~{group}"), *is_often)));
        if !has_filter {
            all.push(one(SERVICE.to_owned(), true));
        }
        all
    }

    fn has_filter(&self) -> bool {
        !matches!(self.get("SystemCallFilter"), None | Some("" | "~"))
    }

    /// Returns the lines of the section `[Service]` for values of offered protections.
    pub fn lines(&self, chosen: &[(&str, &str)]) -> Vec<String> {
        let mut lines = Vec::new();
        let of = |key: &str| -> Vec<&str> {
            chosen.iter().filter(|(own, _)| *own == key).map(|(_, value)| *value).collect()
        };
        for (key, value) in chosen {
            if !LISTS.contains(key) {
                lines.push(format!("{key}={value}"));
            }
        }
        lines.sort();
        lines.extend(self.family_lines(&denied(&of("RestrictAddressFamilies"))));
        let namespaces = denied(&of("RestrictNamespaces"));
        match namespaces.len() {
            0 => {}
            count if count == self.namespaces().len() => {
                lines.push("RestrictNamespaces=yes".to_owned());
            }
            _ => lines.push(format!("RestrictNamespaces=~{}", namespaces.join(" "))),
        }
        lines.extend(call_lines(&of("SystemCallFilter")));
        lines
    }

    fn family_lines(&self, denied: &[&str]) -> Vec<String> {
        const KEY: &str = "RestrictAddressFamilies";
        if denied.is_empty() {
            return Vec::new();
        }
        let allowed = match self.allowed_families() {
            Some(list) => Some(list),
            None if denied.contains(&OTHERS) => {
                let former = self.denied_families();
                let all = FAMILIES.iter().map(|(name, _)| (*name).to_owned());
                Some(all.filter(|name| !former.contains(name)).collect())
            }
            None => None,
        };
        let Some(allowed) = allowed else {
            // More of a list of what is denied.
            return vec![format!("{KEY}=~{}", denied.join(" "))];
        };
        let left: Vec<&str> =
            allowed.iter().map(String::as_str).filter(|name| !denied.contains(name)).collect();
        let left = if left.is_empty() { "none".to_owned() } else { left.join(" ") };
        // An empty value ends the unit's own list, to which this one would add.
        vec![format!("{KEY}="), format!("{KEY}={left}")]
    }
}

/// The settings whose lines add up.
pub(super) const LISTS: [&str; 3] =
    ["RestrictAddressFamilies", "RestrictNamespaces", "SystemCallFilter"];

fn element(key: &'static str, name: &str, is_often_broken: bool) -> Protection {
    Protection { key, values: vec![format!("~{name}")], is_often_broken }
}

fn has_word(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|own| own == word)
}

fn denied<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().filter_map(|value| value.strip_prefix('~')).collect()
}

/// Returns the lines of a filter. The first one decides whether calls that no line names are
/// allowed. (systemd.exec(5), `SystemCallFilter=`)
fn call_lines(values: &[&str]) -> Vec<String> {
    const KEY: &str = "SystemCallFilter";
    let bare: Vec<&str> =
        values.iter().map(|value| value.strip_suffix(FAILS).unwrap_or(value)).collect();
    let mut lines = Vec::new();
    if bare.contains(&SERVICE) {
        lines.push(format!("{KEY}={SERVICE}"));
    }
    let denied = denied(&bare);
    if !denied.is_empty() {
        lines.push(format!("{KEY}=~{}", denied.join(" ")));
    }
    if values.iter().any(|value| value.ends_with(FAILS)) {
        lines.push("SystemCallErrorNumber=EPERM".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, key: &str) -> String {
        let all = Protections::parse(text).offered();
        let own = all.iter().filter(|one| one.key == key);
        own.map(|one| one.values.join(",")).collect::<Vec<_>>().join(" ")
    }

    /// A protection is never weaker than what the unit has.
    #[test]
    fn stronger_than_now() {
        #[rustfmt::skip]
        let rows = [
            ("ProtectSystem=no",               "ProtectSystem",      "strict,full,yes"),
            ("ProtectSystem=full",             "ProtectSystem",      "strict"),
            ("ProtectSystem=strict",           "ProtectSystem",      ""),
            ("ProtectSystem=new",              "ProtectSystem",      ""),
            ("",                               "ProtectSystem",      ""),
            ("ProtectHome=read-only",          "ProtectHome",        "yes,tmpfs"),
            ("PrivateTmp=disconnected",        "PrivateTmp",         ""),
            ("ProtectProc=ptraceable",         "ProtectProc",        ""),
            ("DevicePolicy=strict",            "DevicePolicy",       ""),
            ("UMask=0022",                     "UMask",              "0077,0027"),
            ("UMask=0027",                     "UMask",              "0077"),
            ("UMask=0002",                     "UMask",              "0077,0027"),
            ("UMask=0177",                     "UMask",              ""),
            ("",                               "SystemCallArchitectures", "native"),
            ("SystemCallArchitectures=x86",    "SystemCallArchitectures", ""),
            ("IPAddressDeny=::/0 0.0.0.0/0",   "IPAddressDeny",      ""),
            ("RestrictNamespaces=yes",         "RestrictNamespaces", ""),
            ("RestrictNamespaces=net user",    "RestrictNamespaces", "~net ~user"),
            ("RestrictAddressFamilies=AF_UNIX AF_X25", "RestrictAddressFamilies", "~AF_UNIX ~AF_X25"),
            ("RestrictAddressFamilies=",       "RestrictAddressFamilies", ""),
            ("RestrictAddressFamilies=~AF_INET AF_UNIX", "RestrictAddressFamilies",
             "~others ~AF_NETLINK ~AF_PACKET ~AF_INET6"),
        ];
        for (text, key, want) in rows {
            assert_eq!(values(text, key), want, "{text}");
        }
        let all = values("", "SystemCallFilter");
        assert!(all.ends_with("@system-service,@system-service:EPERM"), "{all}");
        for filter in ["SystemCallFilter=~mount", "SystemCallFilter=read write"] {
            let more = values(filter, "SystemCallFilter");
            assert!(more.contains("~@debug") && !more.contains("EPERM"), "{more}");
            assert!(!more.contains("@system-service"), "{more}");
        }
    }

    /// The settings of the unit, the chosen values, and the lines.
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

    #[test]
    fn lines() {
        #[rustfmt::skip]
        let rows: [Row; 8] = [
            ("", &[], &[]),
            ("", &[("ProtectSystem", "full"), ("LockPersonality", "yes")],
             &["LockPersonality=yes", "ProtectSystem=full"]),
            ("", &[("RestrictAddressFamilies", "~AF_PACKET"), ("RestrictAddressFamilies", "~AF_UNIX")],
             &["RestrictAddressFamilies=~AF_PACKET AF_UNIX"]),
            ("RestrictAddressFamilies=~AF_INET6",
             &[("RestrictAddressFamilies", "~others"), ("RestrictAddressFamilies", "~AF_PACKET")],
             &["RestrictAddressFamilies=", "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET"]),
            ("RestrictAddressFamilies=AF_X25", &[("RestrictAddressFamilies", "~AF_X25")],
             &["RestrictAddressFamilies=", "RestrictAddressFamilies=none"]),
            ("RestrictNamespaces=net user",
             &[("RestrictNamespaces", "~net"), ("RestrictNamespaces", "~user")],
             &["RestrictNamespaces=yes"]),
            ("RestrictNamespaces=no", &[("RestrictNamespaces", "~net"), ("RestrictNamespaces", "~user")],
             &["RestrictNamespaces=~net user"]),
            ("", &[("SystemCallFilter", "~@clock:EPERM"), ("SystemCallFilter", "@system-service"),
                   ("SystemCallFilter", "~@debug")],
             &["SystemCallFilter=@system-service", "SystemCallFilter=~@clock @debug",
               "SystemCallErrorNumber=EPERM"]),
        ];
        for (text, chosen, want) in rows {
            assert_eq!(Protections::parse(text).lines(chosen), want, "{text} {chosen:?}");
        }
    }
}
