//! Fixes for a program that lacks capabilities, in the notation of its settings.
//!
//! Only requested capabilities count: those that the source names, and those of the program's file
//! or of the table of known programs. A change that a reader can apply is in backquotes.

use std::{os::unix::ffi::OsStrExt, path::Path};

use rcap::{
    Cap, CapSet,
    exec::{Effect, ProgramFile, Rule},
    file::{self, FileCaps},
    knowledge::{self, Worth},
    settings::{EngineKind, Kind, Settings, shell_word},
    trace::Target,
};

use super::{Starter, Verdict};
use crate::Escaped;

/// Interpreters, which run any program.
const INTERPRETERS: [&str; 14] = [
    "python", "perl", "ruby", "node", "bash", "sh", "dash", "zsh", "php", "lua", "java", "tclsh",
    "awk", "gawk",
];

/// Returns whether a file is an interpreter, by its name: python3.11 is python.
pub(super) fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.');
    INTERPRETERS.contains(&name)
}

/// Returns whether the file belongs to a system package, which replaces it, and whose other
/// programs rely on it.
fn is_of_system(path: &Path) -> bool {
    const LOCAL: [&str; 2] = ["/usr/local", "/opt/local"];
    const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/snap", "/nix"];
    let is_below = |directories: &[&str]| directories.iter().any(|dir| path.starts_with(dir));
    is_below(&SYSTEM) && !is_below(&LOCAL)
}

/// Returns a word for the shell that is safe to show.
fn shown(path: &Path) -> String {
    shell_word(&Escaped(path.as_os_str().as_bytes()).to_string())
}

/// The place where settings are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Unit,
    Docker,
    Compose,
    Podman,
    Quadlet,
    Kubernetes,
    Bundle,
    Setpriv,
    Capsh,
    /// A running process, which keeps its sets.
    Process,
    /// The command line of the user.
    Here,
}

impl Place {
    fn of(starter: &Starter) -> Place {
        let Some(settings) = &starter.settings else { return starter.place };
        let engine = settings.engine.as_ref().map(rcap::settings::Engine::kind);
        match (settings.kind, engine) {
            (Kind::Unit, Some(EngineKind::Podman)) => Place::Quadlet,
            (Kind::Unit, _) => Place::Unit,
            (Kind::Service, _) => Place::Compose,
            (Kind::Bundle, _) => Place::Bundle,
            (Kind::Process, _) => Place::Process,
            (_, Some(EngineKind::Containerd | EngineKind::CriO)) => Place::Kubernetes,
            (_, Some(EngineKind::Podman)) => Place::Podman,
            (_, Some(EngineKind::Docker)) => Place::Docker,
            (Kind::Command, None) if starter.argument.trim_start().starts_with("capsh") => {
                Place::Capsh
            }
            (Kind::Command, None) => Place::Setpriv,
            _ => Place::Here,
        }
    }

    /// Returns the place of the settings of a running container, by its control group.
    pub(super) fn of_container(target: &Target) -> Place {
        let Target::Cgroup(path) = target else { return Place::Docker };
        let path = path.to_string_lossy();
        let has = |words: &[&str]| words.iter().any(|word| path.contains(word));
        if has(&["kubepods", "cri-containerd", "crio-"]) {
            Place::Kubernetes
        } else if has(&["libpod"]) {
            Place::Podman
        } else {
            Place::Docker
        }
    }

    fn has_image(self) -> bool {
        matches!(
            self,
            Place::Docker | Place::Compose | Place::Podman | Place::Quadlet | Place::Kubernetes
        )
    }

    /// Returns how the source lets a capability into the bounding set.
    fn allow(self, caps: CapSet) -> String {
        let constants = constants(caps);
        match self {
            Place::Unit => {
                format!("Add to the unit: `CapabilityBoundingSet={}`", constants.join(" "))
            }
            Place::Docker | Place::Podman => format!("Add `{}`", options("--cap-add=", caps)),
            Place::Compose => format!("Add to the service: `cap_add: [{}]`", bare(caps).join(", ")),
            Place::Quadlet => {
                format!("Add to [Container]: `AddCapability={}`", constants.join(" "))
            }
            Place::Kubernetes => format!(
                "Add to the container: `securityContext: {{capabilities: {{add: [{}]}}}}`",
                quoted(&bare(caps))
            ),
            Place::Bundle => format!(
                "Add to bounding, permitted and effective in config.json: `{}`",
                quoted(&constants)
            ),
            Place::Setpriv => {
                format!("Add {} to --bounding-set", plus(caps))
            }
            Place::Capsh => format!("Leave out --drop={caps}"),
            Place::Process | Place::Here => format!(
                "The bounding set of this process cannot get {caps} back: start the program from \
                 a process that has {}",
                if caps.len() == 1 { "it" } else { "them" }
            ),
        }
    }

    /// Returns how the source makes a capability ambient, if it can.
    fn ambient(self, caps: CapSet) -> Option<String> {
        Some(match self {
            Place::Unit => {
                format!("Add to the unit: `AmbientCapabilities={}`", constants(caps).join(" "))
            }
            Place::Podman => format!("Add `{}`", options("--cap-add=", caps)),
            Place::Quadlet => {
                format!("Add to [Container]: `AddCapability={}`", constants(caps).join(" "))
            }
            Place::Bundle => format!(
                "Add to bounding, permitted, effective, inheritable and ambient in config.json: \
                 `{}`",
                quoted(&constants(caps))
            ),
            Place::Setpriv => {
                let list = plus(caps);
                format!("Add `--inh-caps={list} --ambient-caps={list}`")
            }
            Place::Capsh => {
                let names = caps.iter().map(|cap| format!("^{cap}"));
                format!("Add `--iab={}`", names.collect::<Vec<_>>().join(","))
            }
            _ => return None,
        })
    }
}

fn constants(caps: CapSet) -> Vec<String> {
    caps.iter().map(|cap| cap.to_string().to_uppercase()).collect()
}

/// Returns the names without the prefix, as containers use them.
fn bare(caps: CapSet) -> Vec<String> {
    let bare = |name: String| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name);
    constants(caps).into_iter().map(bare).collect()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn options(option: &str, caps: CapSet) -> String {
    bare(caps).iter().map(|name| format!("{option}{name}")).collect::<Vec<_>>().join(" ")
}

fn plus(caps: CapSet) -> String {
    let names = bare(caps);
    names.iter().map(|name| format!("+{}", name.to_lowercase())).collect::<Vec<_>>().join(",")
}

/// Returns the requested capabilities.
pub(super) fn wanted(starter: &Starter, verdict: &Verdict) -> CapSet {
    let executed = verdict.program.executed();
    let named = starter.settings.as_ref().map_or_else(
        // Inheritable and ambient capabilities were granted to be passed on.
        || starter.process.ambient | starter.process.caps.inheritable,
        named,
    );
    let of_file = executed.file.caps.map(|caps| caps.permitted).unwrap_or_default();
    named | of_file | known(starter, verdict)
}

/// Returns the capabilities that settings name, within their limits. A privileged source names
/// none.
fn named(settings: &Settings) -> CapSet {
    let all = CapSet::supported();
    let add = if has_own_limit(settings) {
        // A list of fewer than half of all capabilities names needed ones. A longer list comes from
        // dropped ones.
        let is_list = 2 * settings.bounding.len() < all.len();
        let bounding = if is_list { settings.bounding } else { CapSet::empty() };
        bounding | settings.ambient | (settings.named.add - settings.bounding)
    } else {
        settings.named.add | settings.ambient
    };
    if add.is_superset(all) { CapSet::empty() } else { add }
}

/// Returns the capabilities of this program in the table of programs. For a set-user-ID program, or
/// with settings that name capabilities, the program was started for them; otherwise it may not
/// need them.
fn known(starter: &Starter, verdict: &Verdict) -> CapSet {
    // A link such as nc may lead to nc.openbsd.
    let names = verdict.program.chain.first().and_then(|link| link.path.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names = [&*names, names.split('.').next().unwrap_or_default()];
    let known = names.map(knowledge::needed_by);
    let known = known[0] | known[1];
    let is_setuid = verdict.program.executed().file.set_uid == Some(0);
    let Some(settings) = &starter.settings else { return known };
    // A unit without a list is as the user's program is without settings.
    let is_open = settings.kind == Kind::Unit
        && has_own_limit(settings)
        && settings.bounding.is_superset(CapSet::supported());
    let is_wanted = is_setuid || is_open;
    let allowed = if is_wanted { known } else { known & (named(settings) | limit(settings)) };
    // In an engine's private network namespace, every user may ping and bind any port.
    if Place::of(starter).has_image() { allowed & named(settings) } else { allowed }
}

/// Returns a bounding set that an author wrote as the list of needed capabilities.
fn limit(settings: &Settings) -> CapSet {
    let is_limited = !settings.bounding.is_superset(CapSet::supported());
    if has_own_limit(settings) && is_limited { settings.bounding } else { CapSet::empty() }
}

/// Returns whether the bounding set of a source is a list by its author, and not a change of an
/// engine's default.
fn has_own_limit(settings: &Settings) -> bool {
    settings.kind == Kind::Bundle
        || settings.kind == Kind::Unit && !is_of(settings, EngineKind::Podman)
        || settings.kind == Kind::Command && settings.engine.is_none()
}

fn is_of(settings: &Settings, kind: EngineKind) -> bool {
    settings.engine.as_ref().is_some_and(|engine| engine.kind() == kind)
}

/// Returns the fixes, most useful first.
pub(super) fn advice(starter: &Starter, verdict: &Verdict) -> Vec<String> {
    let place = Place::of(starter);
    let link = verdict.program.executed();
    let wanted = wanted(starter, verdict);
    let Some(outcome) = &verdict.outcome else {
        let missing = link.file.caps.map(|caps| caps.permitted - starter.process.bounding);
        let missing = missing.filter(|missing| !missing.is_empty());
        return missing.map(|missing| not_executed(place, missing, link)).unwrap_or_default();
    };
    let mut advice = Vec::new();
    let missing = wanted - outcome.after.caps.permitted;
    let not_effective = (wanted & outcome.after.caps.permitted) - outcome.after.caps.effective;
    if missing.is_empty() && not_effective.is_empty() {
        return advice;
    }
    let case = Case { starter, verdict, place, link, is_root: starter.process.uid.effective == 0 };
    let outside = missing - starter.process.bounding;
    if !outside.is_empty() {
        advice.extend(case.outside(outside));
    }
    let inside = if case.gets_with(Rule::Bounding) { missing } else { missing - outside };
    if !inside.is_empty() && !case.is_root {
        advice.extend(case.inside(inside));
    } else if !inside.is_empty() {
        advice.extend(case.as_root(inside));
    }
    if !not_effective.is_empty() && !case.is_interpreted() {
        let path = shown(&link.path);
        advice.push(format!(
            "If the program does not raise it itself: `rcap setcap {not_effective}=ep {path}`"
        ));
    }
    let mut seen = Vec::new();
    advice.retain(|words: &String| {
        let is_new = !seen.contains(words);
        seen.push(words.clone());
        is_new
    });
    advice
}

/// Returns the fixes for a file whose capabilities exceed the bounding set, so that it cannot be
/// executed.
fn not_executed(place: Place, missing: CapSet, link: &ProgramFile) -> Vec<String> {
    let path = shown(&link.path);
    let copy = format!(
        "Or execute a copy of {path}, if the program works without: cp(1) copies no capabilities"
    );
    vec![place.allow(missing) + ".", copy]
}

/// A program that gets fewer capabilities than requested.
struct Case<'a> {
    starter: &'a Starter,
    verdict: &'a Verdict,
    place: Place,
    link: &'a ProgramFile,
    is_root: bool,
}

impl Case<'_> {
    fn is_interpreted(&self) -> bool {
        !self.verdict.program.scripts().is_empty() || is_interpreter(&self.link.path)
    }

    /// Returns whether the engine makes added capabilities ambient, so that one change does both.
    fn gets_with(&self, rule: Rule) -> bool {
        rule == Rule::Bounding && matches!(self.place, Place::Podman | Place::Quadlet)
    }

    /// Returns the rule that keeps a capability from the program.
    fn rule(&self, caps: CapSet) -> Option<Rule> {
        let changes = self.verdict.outcome.as_ref().map(|outcome| &outcome.changes)?;
        let is_it = |effect| effect != Effect::Gained;
        changes
            .iter()
            .find(|change| is_it(change.effect) && !(change.caps & caps).is_empty())
            .map(|change| change.rule)
    }

    /// Returns the fixes for capabilities that the bounding set lacks.
    fn outside(&self, caps: CapSet) -> Vec<String> {
        let path = shown(&self.link.path);
        let is_setuid = self.link.file.set_uid == Some(0);
        match self.place {
            Place::Unit if is_setuid => vec![format!(
                "The bounding set keeps {caps} from set-user-ID root as well: {}, or leave \
                 CapabilityBoundingSet= out, or let the unit start as root instead of executing \
                 {path}.",
                lower(&self.place.allow(caps))
            )],
            Place::Podman | Place::Quadlet if !self.is_root => Vec::new(),
            place => vec![place.allow(caps) + "."],
        }
    }

    /// Returns the fixes for a non-root user.
    fn inside(&self, caps: CapSet) -> Vec<String> {
        let mut advice = Vec::new();
        let rule = self.rule(caps);
        advice.extend(self.sysctl(caps));
        match rule {
            Some(Rule::FileCapsClearAmbient | Rule::IdsClearAmbient) => {
                advice.push(self.without_attributes());
                return advice;
            }
            Some(Rule::ForeignRootid) => {
                let path = shown(&self.link.path);
                advice.push(format!(
                    "Set the file's capabilities again, in this user namespace: \
                     `rcap setcap {caps}=ep {path}`"
                ));
                return advice;
            }
            _ => {}
        }
        if let Some(words) = self.place.ambient(caps) {
            advice.push(words + ".");
            return advice;
        }
        let user = self.starter.process.uid.real;
        let launcher = format!(
            "rcap run --user {user} --cap-add {caps} -- {}",
            shown(&self.verdict.program.chain[0].path)
        );
        let by_file = (!self.is_interpreted() && !self.link.uses_origin)
            .then(|| self.by_file(caps, rule))
            .flatten();
        if self.place.has_image() {
            advice.extend(by_file);
            advice.push(format!(
                "Or start the container as root, and let its entrypoint drop everything else: \
                 `{launcher}`"
            ));
        } else {
            advice.push(format!(
                "Make {caps} ambient, which no-new-privs, scripts and $ORIGIN do not affect: \
                 `{launcher}`"
            ));
            advice.extend(by_file);
        }
        advice
    }

    /// Returns the fix with a file capability, if the file can have it.
    fn by_file(&self, caps: CapSet, rule: Option<Rule>) -> Option<String> {
        let path = shown(&self.link.path);
        let own = self.link.file.caps.unwrap_or(FileCaps::EMPTY);
        let permitted = own.permitted | caps;
        if self.place.has_image() {
            let mut words = format!(
                "Give the program's file in the image {caps}: `setcap {permitted}=ep {path}`"
            );
            let process = &self.starter.process;
            if process.no_new_privs && (caps & process.caps.permitted).is_empty() {
                words += ", and take no-new-privileges out (Docker before 25 needs that)";
            }
            return (rule != Some(Rule::NoSuid)).then_some(words + ".");
        }
        let wanted = FileCaps { permitted, effective: true, rootid: None, ..own };
        let refused = match file::check_write(&self.link.path, Some(&wanted)) {
            Err(rcap::Error::Refused {
                refusal: refusal @ file::Refusal::NoAttributes(_), ..
            }) => Some(refusal),
            _ => None,
        };
        // Every user who may execute the file would get the capability.
        let is_worth_much = Worth::of(permitted) > Worth::Partial;
        let is_ignored = self.link.file.is_nosuid || rule == Some(Rule::NoNewPrivs);
        if refused.is_some() || is_ignored || is_worth_much {
            return None;
        }
        Some(format!(
            "Or set it on {path}, for all users of the file: \
             `rcap setcap {permitted}=ep {path}`"
        ))
    }

    /// Returns the fix for a file whose attributes clear the ambient set.
    fn without_attributes(&self) -> String {
        let path = shown(&self.link.path);
        if is_of_system(&self.link.path) {
            return format!(
                "Execute a copy of {path}: cp(1) copies neither capabilities nor set-ID bits, and \
                 the ambient set stays."
            );
        }
        let set_id = self.link.file.set_uid.is_some() || self.link.file.set_gid.is_some();
        if set_id {
            format!(
                "Take the set-ID bits away, so that the ambient set stays: chmod u-s,g-s {path}"
            )
        } else {
            format!(
                "Take the file's own capabilities away, so that the ambient set stays: \
                 rcap setcap -r {path}"
            )
        }
    }

    /// Returns the fix with a kernel setting, which is preferable to a capability.
    fn sysctl(&self, caps: CapSet) -> Option<String> {
        if self.place != Place::Kubernetes {
            return None;
        }
        let sysctl = if caps == Cap::NET_BIND_SERVICE.into() {
            "net.ipv4.ip_unprivileged_port_start, value: \"0\""
        } else if caps == Cap::NET_RAW.into() {
            "net.ipv4.ping_group_range, value: \"0 2147483647\""
        } else {
            return None;
        };
        Some(format!(
            "A safe sysctl of the pod makes it unnecessary: \
             `securityContext: {{sysctls: [{{name: {sysctl}}}]}}`"
        ))
    }

    /// Returns the fixes for root.
    fn as_root(&self, caps: CapSet) -> Vec<String> {
        match self.rule(caps) {
            Some(Rule::NoRoot) => {
                let words = self.place.ambient(caps);
                vec![words.unwrap_or_else(|| {
                    format!("Make {caps} ambient: `rcap run --user 0 --cap-add {caps} -- …`")
                })]
            }
            Some(Rule::CapsBeforeSetUid) => vec![format!(
                "Execute {} without its set-user-ID bit or without its capabilities: a copy has \
                 neither.",
                shown(&self.link.path)
            )],
            Some(Rule::NoNewPrivs) => self.inside(caps),
            _ => Vec::new(),
        }
    }
}

/// Returns a sentence with a lower-case first letter.
fn lower(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        for name in ["/usr/bin/python3.11", "python", "/bin/bash", "perl5.36.0", "node"] {
            assert!(is_interpreter(Path::new(name)), "{name}");
        }
        for name in ["ping", "pythonic", "/bin/ssh", "", "7"] {
            assert!(!is_interpreter(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn programs_of_the_system() {
        for path in ["/usr/bin/sudo", "/bin/su", "/opt/x/y", "/usr/sbin/nginx"] {
            assert!(is_of_system(Path::new(path)), "{path}");
        }
        for path in ["/usr/local/bin/x", "/home/u/x", "/srv/app", "x", "/usrx/y"] {
            assert!(!is_of_system(Path::new(path)), "{path}");
        }
    }
}
