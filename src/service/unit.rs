//! The facts about a unit, as `systemctl show` prints them.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Failed, Manager};
use crate::{
    settings::unit_words,
    trace::{Exit, minimize::End},
};

/// Properties of a unit. (org.freedesktop.systemd1(5))
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    manager: Manager,
    properties: BTreeMap<String, String>,
    dependents: Vec<String>,
}

/// Whether a unit is running. (systemctl(1), "ActiveState")
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It has not been started, or has ended.
    #[default]
    Inactive,
    /// It has failed.
    Failed,
    /// It is being started or stopped.
    Changing,
    /// It is running, or has ended and stays active.
    Active,
}

impl Activity {
    /// Returns whether stopping the unit would take something away.
    pub const fn is_up(self) -> bool {
        matches!(self, Activity::Changing | Activity::Active)
    }
}

/// The statuses with which systemd ends when it cannot set a program up, and their names.
/// (systemd.exec(5), "Process Exit Codes")
#[rustfmt::skip]
const STATUSES: [(&str, &str); 12] = [
    ("200", "CHDIR"), ("203", "EXEC"), ("208", "STDIN"), ("209", "STDOUT"), ("216", "GROUP"),
    ("217", "USER"), ("218", "CAPABILITIES"), ("225", "NETWORK"), ("226", "NAMESPACE"),
    ("227", "NO_NEW_PRIVILEGES"), ("228", "SECCOMP"), ("238", "STATE_DIRECTORY"),
];

impl Facts {
    /// The properties that are read.
    pub(super) const PROPERTIES: [&str; 36] = [
        "ActiveState",
        "AmbientCapabilities",
        "BoundBy",
        "CacheDirectory",
        "CapabilityBoundingSet",
        "ConsistsOf",
        "ControlGroup",
        "DropInPaths",
        "DynamicUser",
        "ExecMainCode",
        "ExecMainStatus",
        "ExecStartEx",
        "FragmentPath",
        "Group",
        "Id",
        "InvocationID",
        "LoadState",
        "LogsDirectory",
        "MainPID",
        "NeedDaemonReload",
        "PIDFile",
        "RefuseManualStart",
        "RefuseManualStop",
        "RequiredBy",
        "Result",
        "RootDirectory",
        "RootImage",
        "RuntimeDirectory",
        "RuntimeDirectoryPreserve",
        "StateDirectory",
        "StatusText",
        "SubState",
        "Transient",
        "TriggeredBy",
        "Type",
        "User",
    ];

    /// Returns the facts about a unit, by any of its names.
    ///
    /// # Errors
    ///
    /// systemctl(1) cannot be run, or does not reach the manager.
    pub fn of(manager: Manager, name: &str) -> Result<Facts, Failed> {
        let properties = format!("--property={}", Facts::PROPERTIES.join(","));
        let text = manager.systemctl(&["show", &properties, "--", name])?;
        Ok(Facts { manager, ..Facts::parse(&text) })
    }

    /// Returns the facts as they are now.
    pub(super) fn again(&self) -> Result<Facts, Failed> {
        Facts::of(self.manager, self.id())
    }

    /// Returns the manager of the unit.
    pub fn manager(&self) -> Manager {
        self.manager
    }

    /// Reads lines `KEY=VALUE`. Lines that are not one of the properties are ignored. One that is
    /// repeated, as for each of several commands, has a line for each value.
    pub(super) fn parse(text: &str) -> Facts {
        let mut properties: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            if !Facts::PROPERTIES.contains(&key) {
                continue;
            }
            let value = value.trim();
            properties
                .entry(key.to_owned())
                .and_modify(|values| values.extend(["\n", value]))
                .or_insert_with(|| value.to_owned());
        }
        let names = ["RequiredBy", "BoundBy", "ConsistsOf"];
        let names = names.iter().filter_map(|key| properties.get(*key));
        let mut dependents: Vec<String> = names.flat_map(|names| unit_words(names).0).collect();
        dependents.sort();
        dependents.dedup();
        Facts { properties, dependents, manager: Manager::System }
    }

    /// Returns a property, which is empty if it is not known.
    pub fn get(&self, key: &str) -> &str {
        self.properties.get(key).map_or("", String::as_str)
    }

    /// Returns the name of the unit, which is not an alias.
    pub fn id(&self) -> &str {
        self.get("Id")
    }

    /// Returns whether the unit is running.
    pub fn activity(&self) -> Activity {
        match self.get("ActiveState") {
            "active" | "reloading" | "refreshing" | "maintenance" => Activity::Active,
            "activating" | "deactivating" => Activity::Changing,
            "failed" => Activity::Failed,
            _ => Activity::Inactive,
        }
    }

    /// Returns the drop-in files of the unit.
    pub fn drop_ins(&self) -> Vec<PathBuf> {
        unit_words(self.get("DropInPaths")).0.into_iter().map(PathBuf::from).collect()
    }

    /// Returns the units that systemd stops when it stops this one.
    pub(super) fn dependents(&self) -> &[String] {
        &self.dependents
    }

    /// Returns the reason for which the unit cannot be restarted with other settings and restored.
    pub(super) fn unfit(&self) -> Option<String> {
        let id = self.id();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let words = match self.get("LoadState") {
            "loaded" => None,
            "not-found" => Some("systemd knows no such unit"),
            "masked" => Some("the unit is masked"),
            _ => Some("systemd cannot load the unit (systemctl status shows why)"),
        };
        let is_yes = |key: &str| self.get(key) == "yes";
        let words = words.or(match () {
            () if !id.ends_with(".service") || !id.bytes().all(is_plain) => Some("not a service"),
            () if id.split('.').next().is_some_and(|stem| stem.ends_with('@')) => {
                Some("a template, not an instance of it")
            }
            () if is_yes("Transient") => {
                Some("a transient unit, which cannot be started again after it was stopped")
            }
            () if is_yes("NeedDaemonReload") => Some(
                "its files have changed since systemd has read them: run `systemctl daemon-reload` \
                 first, so that the state to restore is known",
            ),
            () if is_yes("RefuseManualStart") || is_yes("RefuseManualStop") => {
                Some("it refuses to be started or stopped by hand")
            }
            () => None,
        });
        words.map(str::to_owned)
    }

    /// Returns how the unit ended, or `None` while it is active or changing.
    pub(super) fn end(&self) -> Option<End> {
        if self.activity().is_up() {
            return None;
        }
        let number = |key: &str| self.get(key).parse::<i32>().ok();
        let status = number("ExecMainStatus");
        // (waitid(2): CLD_EXITED, CLD_KILLED and CLD_DUMPED)
        let exit = match number("ExecMainCode") {
            Some(1) => Some(Exit { code: status, signal: None }),
            Some(2 | 3) => Some(Exit { code: None, signal: status }),
            _ => None,
        };
        Some(match (self.get("Result"), exit) {
            // (systemd.exec(5), "Process Exit Codes": systemd could not set the program up)
            ("exit-code", Some(Exit { code: Some(200..=243), .. })) => End::NotExecuted,
            ("success" | "exit-code" | "signal" | "core-dump", Some(exit)) => End::Exited(exit),
            _ => End::NotStarted,
        })
    }

    /// Returns the state in systemd's words, such as `failed (Result: exit-code, status=1)`.
    pub fn words(&self) -> String {
        let [active, sub, result] = ["ActiveState", "SubState", "Result"].map(|key| self.get(key));
        let status = self.get("StatusText");
        let mut words = format!("{active} ({sub})");
        if !result.is_empty() && result != "success" {
            let number = self.get("ExecMainStatus");
            words = match STATUSES.iter().find(|(status, _)| *status == number) {
                Some((_, name)) => format!("{active} (result '{result}', status {number}/{name})"),
                None => format!("{active} (result '{result}')"),
            };
        }
        if status.is_empty() { words } else { format!("{words}: {status}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        #[rustfmt::skip]
        let rows = [
            ("active",     "success",   "0", "0",   None),
            ("activating", "success",   "0", "0",   None),
            ("inactive",   "success",   "1", "0",   Some(End::Exited(Exit::with_status(0)))),
            ("failed",     "exit-code", "1", "3",   Some(End::Exited(Exit::with_status(3)))),
            ("failed",     "exit-code", "1", "226", Some(End::NotExecuted)),
            ("failed",     "signal",    "2", "9",
             Some(End::Exited(Exit { code: None, signal: Some(9) }))),
            ("failed",     "timeout",   "2", "15",  Some(End::NotStarted)),
            ("failed",     "protocol",  "1", "0",   Some(End::NotStarted)),
            ("failed",     "resources", "0", "0",   Some(End::NotStarted)),
            ("inactive",   "success",   "0", "0",   Some(End::NotStarted)),
        ];
        for (active, result, code, status, want) in rows {
            let text = format!(
                "ActiveState={active}\nResult={result}\nExecMainCode={code}\nExecMainStatus={status}\n"
            );
            assert_eq!(Facts::parse(&text).end(), want, "{text}");
        }
    }

    #[test]
    fn words() {
        #[rustfmt::skip]
        let rows = [
            ("failed", "exit-code", "226", "failed (result 'exit-code', status 226/NAMESPACE)"),
            ("failed", "exit-code", "1",   "failed (result 'exit-code')"),
            ("active", "success",   "0",   "active (sub)"),
        ];
        for (active, result, status, want) in rows {
            let text = format!(
                "ActiveState={active}\nSubState=sub\nResult={result}\nExecMainStatus={status}\n"
            );
            assert_eq!(Facts::parse(&text).words(), want);
        }
    }

    #[test]
    fn fit() {
        #[rustfmt::skip]
        let rows = [
            ("Id=a.service\nLoadState=loaded",                             ""),
            ("Id=a@b\\x2dc.service\nLoadState=loaded\nActiveState=failed", ""),
            ("Id=a@.service\nLoadState=loaded",                            "template"),
            ("Id=a.socket\nLoadState=loaded",                              "not a service"),
            ("Id=a'b.service\nLoadState=loaded",                           "not a service"),
            ("Id=a.service\nLoadState=not-found",                          "no such unit"),
            ("Id=a.service\nLoadState=masked",                             "masked"),
            ("Id=a.service\nLoadState=loaded\nTransient=yes",              "transient"),
            ("Id=a.service\nLoadState=loaded\nNeedDaemonReload=yes",       "daemon-reload"),
            ("Id=a.service\nLoadState=loaded\nRefuseManualStop=yes",       "by hand"),
                ("",                                                           "cannot load"),
        ];
        for (text, want) in rows {
            let words = Facts::parse(text).unfit().unwrap_or_default();
            assert!(words.contains(want) && words.is_empty() == want.is_empty(), "{text}: {words}");
        }
    }

    #[test]
    fn lists() {
        let facts = Facts::parse(
            "RequiredBy=b.service \"a\\\\x2d.service\"\nConsistsOf=b.service\nBoundBy=\n\
             DropInPaths=\"/run/a\\\\x2d.service.d/b.conf\" /c.conf\n",
        );
        assert_eq!(facts.dependents(), ["a\\x2d.service", "b.service"]);
        assert_eq!(
            facts.drop_ins(),
            ["/run/a\\x2d.service.d/b.conf", "/c.conf"].map(PathBuf::from)
        );
    }
}
