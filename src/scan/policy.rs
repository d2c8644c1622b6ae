//! Policies: which capabilities programs may be started with.
//!
//! ```toml
//! level = "baseline"          # of the Pod Security Standards; for everything
//!
//! [[rule]]                    # the first rule that matches applies too
//! kind = "unit"
//! name = "nginx.service"
//! allow = ["NET_BIND_SERVICE"]
//! non-root = true
//! no-new-privs = true
//!
//! [[rule]]                    # of a file in an image
//! kind = "file"
//! path = "/usr/bin/ping"
//! allow = ["NET_RAW"]
//! ```

use std::{error, ffi::CString, fmt};

use serde::Deserialize;

use super::{
    Finding, Inventory, PrivilegedFile, Rule, Severity, encode,
    inventory::{name_or_id, set_in_words},
};
use crate::{
    CapSet,
    caps::most_alike,
    knowledge::Worth,
    settings::{Engine, EngineKind, Kind, Profile, Settings},
    sys,
};

const CAPABILITY: Rule = Rule {
    id: "policy-capability",
    title: "A program gets a capability that the policy does not allow",
    explanation: "The program is permitted a capability that is not in the rule's list.",
    fix: "Take the capability out of the settings, or allow it in the policy with a reason.",
};
const BOUNDING: Rule = Rule {
    id: "policy-bounding",
    title: "The bounding set has more than the policy allows",
    explanation: "A set-user-ID program or a file with capabilities can raise what is in the \
                  bounding set.",
    fix: "Drop all capabilities, and add those that are needed.",
};
const PRIVILEGED: Rule = Rule {
    id: "policy-privileged",
    title: "A program has every capability",
    explanation: "The Pod Security levels baseline and restricted forbid privileged containers.",
    fix: "Remove privileged, and add the capabilities that are needed.",
};
const ADDED: Rule = Rule {
    id: "policy-added",
    title: "The level does not allow adding a capability",
    explanation: "The Pod Security levels list the capabilities that a container may add: \
                  restricted only NET_BIND_SERVICE.",
    fix: "Remove the capability from the list of those that are added.",
};
const DROP_ALL: Rule = Rule {
    id: "policy-drop-all",
    title: "The level demands that all capabilities are dropped",
    explanation: "The Pod Security level restricted demands that a container drops ALL.",
    fix: "Drop ALL, and add those that are needed.",
};
const NON_ROOT: Rule = Rule {
    id: "policy-non-root",
    title: "The policy demands a non-root user",
    explanation: "The user is root, or the settings do not exclude root.",
    fix: "Name a user other than root (user:, User=, runAsNonRoot: true).",
};
const NO_NEW_PRIVS: Rule = Rule {
    id: "policy-no-new-privs",
    title: "The policy demands no_new_privs",
    explanation: "Without it, a set-user-ID program or a file with capabilities adds privileges.",
    fix: "Set no-new-privileges, NoNewPrivileges=yes or allowPrivilegeEscalation: false.",
};

const FILE: Rule = Rule {
    id: "policy-file",
    title: "A file gives a capability that the policy does not allow",
    explanation: "The file has the capability, or is set-user-ID root, and the first rule of the \
                  kind file that matches its path does not allow it.",
    fix: "Take it from the file (setcap -r FILE, chmod u-s FILE), or allow it in the policy with a \
          reason.",
};

/// Every rule of a policy's violations.
pub const RULES: &[Rule] =
    &[CAPABILITY, FILE, BOUNDING, PRIVILEGED, ADDED, DROP_ALL, NON_ROOT, NO_NEW_PRIVS];

/// A policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    #[serde(default)]
    level: Level,
    #[serde(default, rename = "rule")]
    rules: Vec<Demand>,
}

/// A level of the Pod Security Standards of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Level {
    /// No demands.
    #[default]
    Privileged,
    /// No privileged containers, and a list of capabilities that may be added.
    Baseline,
    /// A non-root user without capabilities, at most `NET_BIND_SERVICE`.
    Restricted,
}

/// The demands on the programs that match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Demand {
    /// Patterns of fnmatch(3).
    name: Option<String>,
    kind: Option<String>,
    user: Option<String>,
    path: Option<String>,
    allow: Option<Vec<String>>,
    bounding: Option<Vec<String>>,
    #[serde(default)]
    non_root: bool,
    #[serde(default)]
    no_new_privs: bool,
}

/// The error for a text that is not a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError(String);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for PolicyError {}

impl Policy {
    /// Returns a built-in policy by its name: `pod-security-baseline` or `pod-security-restricted`.
    pub fn built_in(name: &str) -> Option<Policy> {
        let level = match name {
            "pod-security-privileged" => Level::Privileged,
            "pod-security-baseline" => Level::Baseline,
            "pod-security-restricted" => Level::Restricted,
            _ => return None,
        };
        Some(Policy { level, rules: Vec::new() })
    }

    /// Returns the policy in a TOML text.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or has a key, a level or a capability that is unknown.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let policy: Policy = toml::from_str(text).map_err(|err| {
            let at = err.span().map_or(0, |span| span.start);
            let line = text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1;
            PolicyError(format!("line {line}: {}", err.message().trim_end().replace('\n', ", ")))
        })?;
        for demand in &policy.rules {
            for list in [&demand.allow, &demand.bounding].into_iter().flatten() {
                set(list)?;
            }
            let patterns = [&demand.name, &demand.kind, &demand.user, &demand.path];
            if patterns.into_iter().flatten().any(|pattern| pattern.contains('\0')) {
                return Err(PolicyError("a pattern has a NUL".into()));
            }
            if let Some(kind) = &demand.kind {
                require_kind(kind)?;
            }
        }
        Ok(policy)
    }

    /// Returns the violations of a program that is started with `settings`, which were read from
    /// `source`.
    pub fn check(&self, source: &str, settings: &Settings) -> Vec<Finding> {
        let subject = match &settings.name {
            Some(name) => format!("{}:{}", encode(source), encode(name)),
            None => encode(source),
        };
        let mut found = Vec::new();
        let mut add = |rule: &'static Rule, worth: Worth, text: String| {
            // A violation is at least worth a look.
            let severity = Severity::from(worth).max(Severity::Medium);
            let key = format!("{} {subject} {text}", rule.id);
            let path = Some(source.into());
            let subject = subject.clone();
            found.push(Finding { rule, severity, subject, text, path, route: None, key });
        };
        self.check_level(settings, &mut add);
        let demand = self.rules.iter().find(|demand| demand.matches(source, settings));
        if let Some(demand) = demand {
            demand.check(settings, &mut add);
        }
        found
    }

    /// Returns the violations by the files of an image, each by the first rule of the kind `file`
    /// that matches its path.
    pub fn check_files(&self, source: &str, inventory: &Inventory) -> Vec<Finding> {
        inventory.files.iter().filter_map(|file| self.check_file(source, file)).collect()
    }

    fn check_file(&self, source: &str, file: &PrivilegedFile) -> Option<Finding> {
        let name = encode(&file.path);
        let demand = self.rules.iter().find(|demand| {
            demand.kind.as_deref() == Some("file")
                && matches(demand.path.as_deref(), &name)
                && matches(demand.user.as_deref(), &name_or_id(file.owner.as_deref(), file.uid))
        });
        let more = file.grants() - list(demand?.allow.as_deref())?;
        if more.is_empty() && file.malformed.is_none() {
            return None;
        }
        let subject = format!("{}:{name}", encode(source));
        let text = match &file.malformed {
            Some(_) => "its capabilities are malformed".to_owned(),
            None => format!("it gives {}", set_in_words(more)),
        };
        let key = format!("{} {subject} {text}", FILE.id);
        let severity = Severity::from(Worth::of(more)).max(Severity::Medium);
        let path = Some(file.path.clone());
        Some(Finding { rule: &FILE, severity, subject, text, path, route: file.route(), key })
    }

    fn check_level(&self, settings: &Settings, add: &mut impl FnMut(&'static Rule, Worth, String)) {
        let profile = match self.level {
            Level::Privileged => return,
            Level::Baseline => Profile::KubernetesBaseline,
            Level::Restricted => Profile::KubernetesRestricted,
        };
        if settings.is_privileged() {
            add(&PRIVILEGED, Worth::Root, "it has every capability".into());
        }
        // The defaults of a container are not checked by the standard.
        let has_defaults = match settings.engine.as_ref().map(Engine::kind) {
            Some(EngineKind::Systemd | EngineKind::Runc | EngineKind::Crun) => false,
            Some(_) => true,
            None => matches!(
                settings.kind,
                Kind::Container
                    | Kind::EphemeralContainer
                    | Kind::Image
                    | Kind::InitContainer
                    | Kind::Profile
                    | Kind::Service
            ),
        };
        let (verb, sets) = if has_defaults {
            ("adds", settings.named.add)
        } else {
            ("gets", settings.granted() - profile.given())
        };
        let added = sets - profile.addable();
        if !added.is_empty() && !settings.is_privileged() {
            add(&ADDED, Worth::of(added), format!("it {verb} {}", set_in_words(added)));
        }
        if self.level == Level::Restricted {
            if has_defaults && !settings.named.drop.is_superset(CapSet::NAMED) {
                add(&DROP_ALL, Worth::Partial, "it does not drop ALL".into());
            }
            demand_user(settings, add);
            demand_no_new_privs(settings, add);
        }
    }
}

fn demand_user(settings: &Settings, add: &mut impl FnMut(&'static Rule, Worth, String)) {
    if settings.user.is_root() != Some(false) {
        add(&NON_ROOT, Worth::Partial, "its user may be root".into());
    }
}

fn demand_no_new_privs(settings: &Settings, add: &mut impl FnMut(&'static Rule, Worth, String)) {
    if !settings.no_new_privs {
        add(&NO_NEW_PRIVS, Worth::Partial, "it may gain privileges".into());
    }
}

/// Returns an error if a pattern matches no kind, so that its rule would never apply.
fn require_kind(pattern: &str) -> Result<(), PolicyError> {
    const ALIKE: f64 = 0.8;
    let names = || Kind::ALL.iter().map(|kind| kind.name()).chain(["file"]);
    if names().any(|name| matches(Some(pattern), name)) {
        return Ok(());
    }
    let meant = most_alike(pattern, names().map(|name| (name, name)), ALIKE);
    let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    Err(PolicyError(format!("unknown kind {pattern:?}{meant}")))
}

/// Returns the set of a list of names.
fn set(names: &[String]) -> Result<CapSet, PolicyError> {
    let each = names.iter().map(|name| {
        CapSet::from_names(name, CapSet::NAMED).map_err(|err| PolicyError(err.to_string()))
    });
    each.collect::<Result<Vec<_>, _>>()
        .map(|sets| sets.into_iter().fold(CapSet::empty(), |all, set| all | set))
}

/// Returns the set of a list that was checked when it was read.
fn list(names: Option<&[String]>) -> Option<CapSet> {
    names.map(|names| set(names).unwrap_or_default())
}

impl Demand {
    fn matches(&self, source: &str, settings: &Settings) -> bool {
        let user = settings.user.user().map(ToString::to_string).unwrap_or_default();
        let name = settings.name.as_deref().unwrap_or_default();
        matches(self.name.as_deref(), name)
            && matches(self.kind.as_deref(), settings.kind.name())
            && matches(self.user.as_deref(), &user)
            && matches(self.path.as_deref(), source)
    }

    fn check(&self, settings: &Settings, add: &mut impl FnMut(&'static Rule, Worth, String)) {
        if let Some(allowed) = list(self.allow.as_deref()) {
            let more = settings.granted() - allowed;
            if !more.is_empty() {
                add(&CAPABILITY, Worth::of(more), format!("it gets {}", set_in_words(more)));
            }
        }
        if let Some(allowed) = list(self.bounding.as_deref()) {
            let more = settings.bounding - allowed;
            if !more.is_empty() {
                let text = format!("its bounding set has {}", set_in_words(more));
                add(&BOUNDING, Worth::of(more), text);
            }
        }
        if self.non_root {
            demand_user(settings, add);
        }
        if self.no_new_privs {
            demand_no_new_privs(settings, add);
        }
    }
}

fn matches(pattern: Option<&str>, text: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    match (CString::new(pattern), CString::new(text)) {
        (Ok(pattern), Ok(text)) => sys::fnmatch(&pattern, &text, 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, file::FileCaps, settings};

    fn ids(policy: &Policy, text: &str) -> Vec<&'static str> {
        let all = settings::read(text, None).unwrap();
        all.iter().flat_map(|one| policy.check("web.yaml", one)).map(|one| one.rule.id).collect()
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    securityContext: ";

    #[test]
    fn pod_security() {
        let pod = |context: &str| format!("{POD}{context}\n");
        let good = "{capabilities: {drop: [ALL]}, runAsNonRoot: true, runAsUser: 1000, allowPrivilegeEscalation: false}";
        let added = |cap: &str| good.replace("drop: [ALL]", &format!("drop: [ALL], add: [{cap}]"));
        #[rustfmt::skip]
        let rows: &[(&str, &str, &[&str])] = &[
            ("pod-security-baseline",   "{}",                               &[]),
            ("pod-security-baseline",   "{privileged: true}",               &["policy-privileged"]),
            ("pod-security-baseline",   "{capabilities: {add: [SYS_ADMIN]}}", &["policy-added"]),
            ("pod-security-baseline",   "{capabilities: {add: [CHOWN]}}",   &[]),
            ("pod-security-restricted", good,                               &[]),
            ("pod-security-restricted", &added("NET_BIND_SERVICE"),         &[]),
            ("pod-security-restricted", &added("CHOWN"),                    &["policy-added"]),
            ("pod-security-restricted", "{}",
             &["policy-drop-all", "policy-non-root", "policy-no-new-privs"]),
            ("pod-security-privileged", "{privileged: true}",               &[]),
        ];
        for (name, context, want) in rows {
            let policy = Policy::built_in(name).unwrap();
            assert_eq!(ids(&policy, &pod(context)), *want, "{name} {context}");
        }
    }

    /// The level judges the capabilities that a program gets, if nothing adds them by name.
    #[test]
    fn levels_of_programs() {
        let unit = |lines: &str| format!("[Service]\nExecStart=/bin/true\n{lines}");
        let process = |caps: &str| {
            format!(
                "Name:\tx\nUid:\t0 0 0 0\nGid:\t0 0 0 0\nCapInh:\t0\nCapPrm:\t{caps}\n\
                     CapEff:\t{caps}\nCapBnd:\t{caps}\nCapAmb:\t0\nNoNewPrivs:\t1\n"
            )
        };
        let bounding = |caps: &str| unit(&format!("CapabilityBoundingSet={caps}\n"));
        #[rustfmt::skip]
        let rows: &[(&str, String, &[&str])] = &[
            ("baseline",   unit(""),                                     &["policy-privileged"]),
            ("baseline",   bounding("~CAP_SYS_RESOURCE"),                &["policy-added"]),
            ("baseline",   bounding("CAP_NET_RAW CAP_CHOWN"),            &[]),
            ("baseline",   bounding("CAP_SYS_ADMIN"),                    &["policy-added"]),
            ("restricted", bounding("CAP_NET_BIND_SERVICE"),             &["policy-non-root", "policy-no-new-privs"]),
            ("restricted", bounding("CAP_CHOWN"),                        &["policy-added", "policy-non-root", "policy-no-new-privs"]),
            ("baseline",   process("1fffeffffff"),                       &["policy-added"]),
            ("baseline",   process("200000"),                            &["policy-added"]),
            ("baseline",   process("1"),                                 &[]),
            ("baseline",   "setpriv --bounding-set -all,+sys_admin id".into(), &["policy-added"]),
            ("baseline",   "docker run web".into(),                      &[]),
            ("restricted", "docker run --user 5 --security-opt no-new-privileges web".into(), &["policy-drop-all"]),
        ];
        for (level, text, want) in rows {
            let policy = Policy::built_in(&format!("pod-security-{level}")).unwrap();
            let all = settings::read(text, None);
            let found: Vec<_> = all
                .unwrap()
                .iter()
                .flat_map(|one| policy.check("x", one))
                .map(|one| one.rule.id)
                .collect();
            assert_eq!(found, *want, "{level} {text}");
        }
    }

    #[test]
    fn files() {
        let image = |files: Vec<PrivilegedFile>| Inventory { files, ..Inventory::default() };
        let with = |path: &str, caps: CapSet| PrivilegedFile {
            path: path.into(),
            caps: Some(FileCaps::effective(caps)),
            ..PrivilegedFile::default()
        };
        let ping = || with("/usr/bin/ping", Cap::NET_RAW.into());
        let su = PrivilegedFile { path: "/bin/su".into(), mode: 0o4755, ..Default::default() };
        let set_gid =
            PrivilegedFile { path: "/bin/wall".into(), mode: 0o2755, gid: 5, ..su.clone() };
        let malformed = PrivilegedFile { malformed: Some("x".into()), caps: None, ..ping() };
        let rules = "[[rule]]\nkind = 'file'\npath = '/usr/bin/ping'\nallow = ['NET_RAW']\n\
                     [[rule]]\nkind = 'file'\nallow = []\n";
        #[rustfmt::skip]
        let rows = [
            ("",    with("/x", CapSet::NAMED),               false),
            (rules, ping(),                                  false),
            (rules, with("/usr/bin/ping", Cap::KILL.into()), true),
            (rules, with("/usr/bin/pong", Cap::KILL.into()), true),
            (rules, su,                                      true),
            (rules, set_gid,                                 false),
            (rules, malformed,                               true),
        ];
        for (policy, file, is_found) in rows {
            let found = Policy::parse(policy).unwrap().check_files("i.tar", &image(vec![file]));
            assert_eq!(found.len(), usize::from(is_found), "{policy} {found:?}");
            assert!(found.iter().all(|one| one.rule.id == "policy-file"));
        }
    }

    #[test]
    fn rules() {
        let unit = "[Service]\nUser=web\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n\
                    CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_RAW\nExecStart=/bin/true\n";
        #[rustfmt::skip]
        let rows: &[(&str, &[&str])] = &[
            ("",                                                     &[]),
            ("[[rule]]\nallow = ['NET_BIND_SERVICE']",               &[]),
            ("[[rule]]\nallow = []",                                 &["policy-capability"]),
            ("[[rule]]\nbounding = ['cap_net_bind_service']",        &["policy-bounding"]),
            ("[[rule]]\nkind = 'unit'\nno-new-privs = true",         &["policy-no-new-privs"]),
            ("[[rule]]\nkind = 'container'\nno-new-privs = true",    &[]),
            ("[[rule]]\npath = '*.yaml'\nallow = []",                &["policy-capability"]),
            ("[[rule]]\nuser = 'root'\nallow = []",                  &[]),
            // The first that matches.
            ("[[rule]]\nuser = 'web'\n[[rule]]\nallow = []",         &[]),
            ("[[rule]]\nnon-root = true",                            &[]),
        ];
        for (policy, want) in rows {
            assert_eq!(ids(&Policy::parse(policy).unwrap(), unit), *want, "{policy}");
        }
        for text in [
            "x = 1",
            "level = 'low'",
            "[[rule]]\nallow = ['NOTHING']",
            "[[rule]]\nalow = []",
            "[",
            "[[rule]]\nkind = 'services'",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
        assert!(Policy::built_in("pod").is_none());
    }
}
