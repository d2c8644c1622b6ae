//! What the checks mean. A pure function from a recording to what a program may need.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
};

use super::{Check, Event, EventKind, Recording};
use crate::{Cap, CapSet};

mod reasons;

/// Why a check counts, or does not. They are tried in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Rule {
    /// It was made before the program was executed.
    BeforeTheProgram,
    /// Whether memory may be overcommitted: the answer changes how much is kept back for root,
    /// and nothing else. (`cap_vm_enough_memory` in security/commoncap.c)
    Overcommit,
    /// The kernel asked without logging it, to choose between two ways that both work.
    Speculative,
    /// A file system asked on behalf of who mounted it.
    Borrowed,
    /// It was about another user namespace than the program's own.
    OtherNamespace,
    /// To read, one of two would do: the kernel asked for `CAP_DAC_READ_SEARCH`, was refused, and
    /// was granted `CAP_DAC_OVERRIDE` in the same system call.
    OneNeed,
    /// It was refused, and the system call succeeded.
    NotNeeded,
    /// It was refused, and the system call ended in `EPERM` or `EACCES`.
    Missing,
    /// It was refused, and how the system call ended says nothing of it.
    Unclear,
    /// It was granted, and the system call failed all the same.
    Weak,
    /// It was granted to the program, and the system call succeeded.
    Candidate,
}

impl Rule {
    /// The rule in words.
    pub const fn about(self) -> &'static str {
        match self {
            Rule::BeforeTheProgram => "before the program was executed",
            Rule::Overcommit => "whether memory may be overcommitted: never needed",
            Rule::Speculative => "asked only to choose between two ways",
            Rule::Borrowed => "asked of who mounted a file system",
            Rule::OtherNamespace => "about another user namespace",
            Rule::OneNeed => "another capability did instead",
            Rule::NotNeeded => "refused, and it worked",
            Rule::Missing => "refused, and it failed for lack of permission",
            Rule::Unclear => "refused, and it is unclear whether it mattered",
            Rule::Weak => "granted, and it failed all the same",
            Rule::Candidate => "granted, and it worked",
        }
    }
}

/// Checks of one capability for one reason, under one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Need {
    /// The capability.
    pub cap: Cap,
    /// The rule.
    pub rule: Rule,
    /// The function of the kernel that asked; empty if it is not known.
    pub function: String,
    /// What it asked for, in words.
    pub reason: Option<String>,
    /// How many checks.
    pub count: usize,
    /// The system call of the first, if it is known.
    pub system_call: Option<String>,
    /// What that returned.
    pub returned: Option<i64>,
    /// The program of the first.
    pub program: OsString,
}

/// What a recording comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// What the program may need: it was granted, and used. Only a run without one of them tells
    /// whether the program needs it.
    pub candidates: CapSet,
    /// What it lacked.
    pub missing: CapSet,
    /// Every check, by capability, rule and function.
    pub needs: Vec<Need>,
}

/// A check and what is known of it.
struct Seen<'a> {
    check: &'a Check,
    cap: Cap,
    functions: Vec<&'a str>,
    program: OsString,
    before: bool,
    returned: Option<i64>,
    /// Which system call of all: those of one have the same.
    call: usize,
}

impl Recording {
    /// What the checks mean, for a program that could hold `held` at most: nothing outside of it
    /// is ever a candidate.
    pub fn analyse(&self, held: CapSet) -> Analysis {
        let mut seen = self.seen();
        let own = self.own_namespace();
        let refused_read = Cap::DAC_READ_SEARCH;
        let overrides: Vec<usize> = seen
            .iter()
            .filter(|one| one.check.granted && one.cap == Cap::DAC_OVERRIDE)
            .map(|one| one.call)
            .collect();
        let mut needs: BTreeMap<(Cap, Rule, String), Need> = BTreeMap::new();
        for one in &mut seen {
            let instead = one.cap == refused_read && overrides.contains(&one.call);
            let rule = rule(one, own, held, instead);
            let (function, reason) = reasons::reason(&one.functions);
            let need = needs.entry((one.cap, rule, function.to_owned())).or_insert_with(|| Need {
                cap: one.cap,
                rule,
                function: function.to_owned(),
                reason: reason.map(str::to_owned),
                count: 0,
                system_call: reasons::system_call(&one.functions).map(str::to_owned),
                returned: one.returned,
                program: std::mem::take(&mut one.program),
            });
            need.count += 1;
        }
        let of =
            |rule| needs.values().filter(|need| need.rule == rule).map(|need| need.cap).collect();
        let (candidates, missing) = (of(Rule::Candidate), of(Rule::Missing));
        Analysis { candidates, missing, needs: needs.into_values().collect() }
    }

    /// The user namespace of the process, by the check that it has made itself.
    fn own_namespace(&self) -> Option<u64> {
        self.checks(self.process).find(|check| check.number == super::MARK).map(|one| one.namespace)
    }

    fn checks(&self, tid: u32) -> impl Iterator<Item = &Check> {
        self.events.iter().filter(move |event| event.tid == tid).filter_map(|event| {
            match &event.kind {
                EventKind::Check(check) => Some(check),
                _ => None,
            }
        })
    }

    /// The checks, with the outcome of the system call in which each was made.
    fn seen(&self) -> Vec<Seen<'_>> {
        let mut seen: Vec<Seen<'_>> = Vec::new();
        let mut programs: HashMap<u32, &OsString> = HashMap::new();
        // By thread: the checks of the system call that has not ended.
        let mut open: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut calls = 0;
        let mut begun = false;
        for Event { tid, kind, .. } in &self.events {
            match kind {
                EventKind::Check(check) => {
                    let Some(cap) = check.cap() else { continue };
                    let name = |address: &u64| self.symbols.name(*address);
                    open.entry(*tid).or_default().push(seen.len());
                    seen.push(Seen {
                        check,
                        cap,
                        functions: check.stack.iter().filter_map(name).collect(),
                        program: programs.get(tid).map_or_else(OsString::new, |&path| path.clone()),
                        before: !begun,
                        returned: None,
                        call: usize::MAX,
                    });
                }
                EventKind::SystemCall { returned, .. } => {
                    calls += 1;
                    for at in open.remove(tid).unwrap_or_default() {
                        seen[at].returned = Some(*returned);
                        seen[at].call = calls;
                    }
                }
                EventKind::Exec { path } => {
                    begun |= *tid == self.process;
                    programs.insert(*tid, path);
                }
                EventKind::Started { tid: child } => {
                    if let Some(&path) = programs.get(tid) {
                        programs.insert(*child, path);
                    }
                }
            }
        }
        seen
    }
}

/// The rule under which a check comes; `instead`: another capability did in the same call.
fn rule(seen: &Seen<'_>, own: Option<u64>, held: CapSet, instead: bool) -> Rule {
    let has = |part: &str| seen.functions.iter().any(|name| name.contains(part));
    let granted = seen.check.granted;
    let [eperm, eacces] = [libc::EPERM, libc::EACCES].map(|errno| -i64::from(errno));
    match seen.returned {
        _ if seen.before => Rule::BeforeTheProgram,
        _ if has("vm_enough_memory") => Rule::Overcommit,
        _ if has("_noaudit") => Rule::Speculative,
        _ if has("ovl_") || granted && !held.has(seen.cap) => Rule::Borrowed,
        _ if own.is_some_and(|own| own != seen.check.namespace) => Rule::OtherNamespace,
        _ if !granted && instead => Rule::OneNeed,
        Some(returned) if !granted && (returned == eperm || returned == eacces) => Rule::Missing,
        Some(returned) if !granted && returned >= 0 => Rule::NotNeeded,
        _ if !granted => Rule::Unclear,
        Some(returned) if (-4095..0).contains(&returned) => Rule::Weak,
        _ => Rule::Candidate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{MARK, Symbols};

    /// Functions at 0x100, 0x200 and so on.
    const FUNCTIONS: &[&str] = &[
        "cap_capable",
        "security_capable",
        "ns_capable",
        "__do_sys_prctl",
        "setattr_prepare",
        "__x64_sys_fchownat",
        "cap_vm_enough_memory",
        "ns_capable_noaudit",
        "ovl_setattr",
        "generic_permission",
        "__x64_sys_openat",
        "inet_create",
        "__x64_sys_socket",
    ];

    fn stack(names: &[&str]) -> Vec<u64> {
        let address = |name: &&str| {
            let at = FUNCTIONS.iter().position(|known| known == name).expect("it is listed");
            0x100 * (1 + u64::try_from(at).unwrap()) + 8
        };
        names.iter().map(address).collect()
    }

    const PID: u32 = 10;
    const OWN: u64 = 0xabc;

    fn check(cap: Cap, granted: bool, names: &[&str]) -> EventKind {
        let names = [&["cap_capable", "security_capable"], names].concat();
        EventKind::Check(Check {
            number: cap.number().into(),
            granted,
            namespace: OWN,
            stack: stack(&names),
        })
    }

    fn returned(returned: i64) -> EventKind {
        EventKind::SystemCall { number: 1, returned }
    }

    fn recording(kinds: Vec<EventKind>) -> Recording {
        let mark = EventKind::Check(Check {
            number: MARK,
            granted: true,
            namespace: OWN,
            stack: stack(&["cap_capable", "ns_capable", "__do_sys_prctl"]),
        });
        let exec = EventKind::Exec { path: "/bin/program".into() };
        let line = |(address, name): (u64, &&str)| format!("{address:x} T {name}\n");
        let lines: Vec<_> = (0x100..).step_by(0x100).zip(FUNCTIONS).map(line).collect();
        let kinds = [vec![mark, returned(-22), exec], kinds].concat();
        let event = |(time, kind)| Event { time, tid: PID, kind };
        Recording {
            events: (0..).zip(kinds).map(event).collect(),
            lost: Some(0),
            symbols: Symbols::parse(&lines.concat()),
            process: PID,
        }
    }

    /// The rule of the last check.
    fn rule_of(kinds: Vec<EventKind>) -> Rule {
        let analysis = recording(kinds).analyse(CapSet::supported());
        let rules: Vec<_> = analysis.needs.iter().map(|need| need.rule).collect();
        *rules.iter().find(|rule| **rule != Rule::BeforeTheProgram).expect("one more")
    }

    #[test]
    fn each_rule() {
        let chown = ["setattr_prepare", "__x64_sys_fchownat"];
        let asked = |granted, names: &[&str], outcome| {
            vec![check(Cap::CHOWN, granted, names), returned(outcome)]
        };
        let with = |name: &'static str| [&[name], &chown[..]].concat();
        let [eperm, enoent] = [libc::EPERM, libc::ENOENT].map(|errno| -i64::from(errno));
        #[rustfmt::skip]
        let rows = [
            (asked(true,  &chown, 0),                            Rule::Candidate),
            (asked(true,  &chown, 7),                            Rule::Candidate),
            (asked(true,  &chown, enoent),                       Rule::Weak),
            (asked(false, &chown, 0),                            Rule::NotNeeded),
            (asked(false, &chown, eperm),                        Rule::Missing),
            (asked(false, &chown, -i64::from(libc::EACCES)),     Rule::Missing),
            (asked(false, &chown, enoent),                       Rule::Unclear),
            (vec![check(Cap::CHOWN, false, &chown)],             Rule::Unclear),
            (vec![check(Cap::CHOWN, true, &chown)],              Rule::Candidate),
            (asked(true,  &with("cap_vm_enough_memory"), 0),     Rule::Overcommit),
            (asked(false, &with("cap_vm_enough_memory"), eperm), Rule::Overcommit),
            (asked(false, &with("ns_capable_noaudit"), eperm),   Rule::Speculative),
            (asked(true,  &with("ovl_setattr"), 0),              Rule::Borrowed),
        ];
        for (kinds, want) in rows {
            assert_eq!(rule_of(kinds.clone()), want, "{kinds:?}");
        }
    }

    #[test]
    fn one_need_of_two() {
        let open = ["generic_permission", "__x64_sys_openat"];
        let both = recording(vec![
            check(Cap::DAC_READ_SEARCH, false, &open),
            check(Cap::DAC_OVERRIDE, true, &open),
            returned(3),
        ])
        .analyse(CapSet::supported());
        assert_eq!(both.candidates, Cap::DAC_OVERRIDE.into());
        assert!(both.needs.iter().any(|need| need.rule == Rule::OneNeed));
        // In two system calls they are two matters.
        let apart = rule_of(vec![
            check(Cap::DAC_READ_SEARCH, false, &open),
            returned(-13),
            check(Cap::DAC_OVERRIDE, true, &open),
            returned(3),
        ]);
        assert_eq!(apart, Rule::Candidate, "the first by the order of capabilities");
    }

    #[test]
    fn nothing_that_is_not_held_is_proposed() {
        let kinds =
            vec![check(Cap::NET_RAW, true, &["inet_create", "__x64_sys_socket"]), returned(3)];
        let recording = recording(kinds);
        assert_eq!(recording.analyse(CapSet::supported()).candidates, Cap::NET_RAW.into());
        assert!(recording.analyse(CapSet::empty()).candidates.is_empty());
    }

    #[test]
    fn another_namespace() {
        let mut recording = recording(vec![
            check(Cap::NET_RAW, true, &["inet_create", "__x64_sys_socket"]),
            returned(3),
        ]);
        for event in recording.events.iter_mut().skip(3) {
            if let EventKind::Check(check) = &mut event.kind {
                check.namespace = 0xdef;
            }
        }
        let analysis = recording.analyse(CapSet::supported());
        assert!(analysis.candidates.is_empty());
        assert!(analysis.needs.iter().any(|need| need.rule == Rule::OtherNamespace));
    }

    #[test]
    fn a_row_says_what_and_where() {
        let socket = || check(Cap::NET_RAW, true, &["inet_create", "__x64_sys_socket"]);
        let analysis = recording(vec![socket(), returned(3), socket(), returned(4)])
            .analyse(CapSet::supported());
        let need = analysis.needs.iter().find(|need| need.rule == Rule::Candidate).unwrap();
        assert_eq!(need.function, "inet_create");
        assert_eq!(need.reason.as_deref(), Some("create a raw socket"));
        assert_eq!(need.system_call.as_deref(), Some("socket"));
        assert_eq!((need.count, need.returned), (2, Some(3)));
        assert_eq!(need.program, "/bin/program");
    }
}
