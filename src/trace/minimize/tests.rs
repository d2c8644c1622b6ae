//! The search on simulated programs, and the judge on made observations.

use proptest::prelude::*;

use super::{judge::Baseline, *};
use crate::{
    Cap,
    trace::{Meaning, Need},
};

mod verification;

/// A program that needs one member of each of these sets.
fn simulated(needs: &[CapSet]) -> impl Fn(CapSet) -> bool {
    let needs = needs.to_vec();
    move |set| needs.iter().all(|need| !(set & *need).is_empty())
}

/// The answer, and after how many runs.
fn search(all: CapSet, passes: impl Fn(CapSet) -> bool) -> (CapSet, u32) {
    let mut tried = Vec::new();
    let minimum = minimal(all, |set| {
        assert!(all.is_superset(set) && !tried.contains(&set), "{set}");
        tried.push(set);
        Ok::<_, ()>(passes(set))
    });
    (minimum.unwrap(), u32::try_from(tried.len()).unwrap())
}

#[test]
fn weaker_ones_are_preferred() {
    #[rustfmt::skip]
    let rows: [(&[Cap], Cap); 4] = [
        (&[Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH],   Cap::DAC_READ_SEARCH),
        (&[Cap::SYS_ADMIN, Cap::BPF, Cap::NET_ADMIN],  Cap::BPF),
        (&[Cap::SYS_ADMIN, Cap::SYS_PTRACE],           Cap::SYS_PTRACE),
        (&[Cap::NET_ADMIN, Cap::NET_RAW],              Cap::NET_RAW),
    ];
    for (any_of, want) in rows {
        for all in [CapSet::first(41), CapSet::of(any_of)] {
            let (minimum, _) = search(all, simulated(&[CapSet::of(any_of)]));
            assert_eq!(minimum, want.into(), "{any_of:?} of {all}");
        }
    }
}

#[test]
fn few_runs() {
    let two = CapSet::of(&[Cap::SETPCAP, Cap::NET_RAW]);
    #[rustfmt::skip]
    let rows: [(CapSet, &[CapSet], CapSet, u32); 6] = [
        (CapSet::empty(),     &[],                    CapSet::empty(),     1),
        (CapSet::first(41),   &[],                    CapSet::empty(),     1),
        (Cap::CHOWN.into(),   &[Cap::CHOWN.into()],   Cap::CHOWN.into(),   1),
        (two,                 &[Cap::NET_RAW.into()], Cap::NET_RAW.into(), 3),
        (two,                 &[two],                 Cap::NET_RAW.into(), 3),
        (CapSet::first(41),   &[Cap::KILL.into()],    Cap::KILL.into(),    10),
    ];
    for (all, needs, want, runs) in rows {
        let (minimum, took) = search(all, simulated(needs));
        // If two capabilities are equivalent, either is an answer.
        assert!(minimum == want || needs == [two] && minimum.len() == 1, "{needs:?}: {minimum}");
        assert!(took <= runs, "{needs:?} took {took}");
    }
}

#[test]
fn it_ends_with_the_first_error() {
    let mut runs = 0;
    let result = minimal(CapSet::first(10), |_| {
        runs += 1;
        if runs == 3 { Err("interrupted") } else { Ok(false) }
    });
    assert_eq!((result, runs), (Err("interrupted"), 3));
}

fn set(size: u8) -> impl Strategy<Value = CapSet> {
    let all = (1_u64 << size) - 1;
    (1..=all).prop_map(CapSet::from_bits)
}

proptest! {
    /// Needs of one capability each.
    #[test]
    fn what_is_needed_and_nothing_else(size in 1_u8..=41, needed: u64) {
        let all = CapSet::first(size);
        let needed = CapSet::from_bits(needed) & all;
        let needs: Vec<CapSet> = needed.iter().map(CapSet::from).collect();
        let (minimum, runs) = search(all, simulated(&needs));
        prop_assert_eq!(minimum, needed);
        let [n, k] = [all, needed].map(|set| f64::from(set.bits().count_ones()));
        let most = if k == 0.0 { 1.0 } else { 2.0 * k * (n / k).log2() + 4.0 * k + 2.0 };
        prop_assert!(f64::from(runs) <= most, "{} runs for {} of {}", runs, k, n);
    }

    /// Needs that several capabilities can meet.
    #[test]
    fn none_can_go(needs in prop::collection::vec(set(12), 0..6)) {
        let passes = simulated(&needs);
        let (minimum, _) = search(CapSet::first(12), &passes);
        prop_assert!(passes(minimum));
        for cap in minimum {
            prop_assert!(!passes(minimum.without(cap)), "{} can go from {}", cap, minimum);
        }
    }

    /// Programs for which more can be less.
    #[test]
    fn whatever_the_program_does(table: [bool; 32]) {
        let all = CapSet::first(5);
        let passes = |set: CapSet| set == all || table[usize::try_from(set.bits()).unwrap()];
        let (minimum, _) = search(all, passes);
        prop_assert!(passes(minimum));
        prop_assert!(minimum.is_empty() || minimum.iter().all(|cap| !passes(minimum.without(cap))));
    }
}

fn need(cap: Cap, meaning: Meaning, function: &str) -> Need {
    Need {
        cap,
        meaning,
        granted: matches!(meaning, Meaning::Candidate | Meaning::Weak),
        function: function.into(),
        reason: None,
        count: 1,
        system_call: Some("call".into()),
        returned: Some(if meaning == Meaning::Missing { -1 } else { 0 }),
        program: "/bin/p".into(),
        objects: Vec::new(),
        has_more_objects: false,
        stacks: Vec::new(),
        has_more_stacks: false,
        by_exec: false,
    }
}

fn exited(code: i32) -> Observation {
    let end = End::Exited(Exit { code: Some(code), signal: None });
    Observation { end, lost: Some(0), ..Observation::default() }
}

fn asks(mut run: Observation, needs: &[(Cap, Meaning)]) -> Observation {
    let needs = needs.iter().map(|(cap, meaning)| need(*cap, *meaning, "f")).collect();
    run.analysis = Analysis::new(needs);
    run
}

fn file(run: &mut Observation, path: &str, facts: &[(Aspect, &str)]) {
    for (aspect, value) in facts {
        run.effects.insert(Subject::File(path.into()), aspect.clone(), *value);
    }
}

/// A trial that is a function of the set and of how many runs there were before.
struct Fake<F>(F, u32);

impl<F: FnMut(CapSet, u32) -> Observation> Trial for Fake<F> {
    type Error = std::convert::Infallible;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Self::Error> {
        self.1 += 1;
        Ok((self.0)(attempt.set, self.1 - 1))
    }
}

type Ended = Result<(), Stop<std::convert::Infallible>>;

fn minimize(plan: Plan, trial: impl FnMut(CapSet, u32) -> Observation) -> (Found, Ended) {
    let mut minimizer = Minimizer::new(plan, Fake(trial, 0));
    let ended = minimizer.search(&mut |_| ());
    (minimizer.found(), ended)
}

fn all() -> Plan {
    Plan::new(CapSet::first(41))
}

fn unfit(ended: &Ended) -> String {
    match ended {
        Err(Stop::Unfit(unfit)) => unfit.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Asks for a capability, and does what it is for if that is granted.
fn uses(set: CapSet, cap: Cap) -> (Cap, Meaning) {
    (cap, if set.contains(cap) { Meaning::Candidate } else { Meaning::Missing })
}

#[test]
fn four_verdicts() {
    let trial = |set: CapSet, _| {
        let has = |cap| set.contains(cap);
        let mut run = asks(
            exited(i32::from(!has(Cap::SETUID))),
            &[
                uses(set, Cap::SETUID),
                uses(set, Cap::FSETID),
                uses(set, Cap::NET_ADMIN),
                (
                    Cap::SYS_NICE,
                    if has(Cap::SYS_NICE) { Meaning::Candidate } else { Meaning::NotNeeded },
                ),
            ],
        );
        let mode = if has(Cap::FSETID) { "2755" } else { "0755" };
        file(&mut run, "/usr/bin/crontab", &[(Aspect::Change, "created"), (Aspect::Mode, mode)]);
        run
    };
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok() && found.proved);
    assert_eq!(found.minimum, CapSet::of(&[Cap::SETUID, Cap::FSETID]));
    let verdicts = found.verdicts();
    let rows: Vec<(Cap, VerdictKind, &str)> = verdicts
        .iter()
        .map(|verdict| (verdict.cap, verdict.kind, &*verdict.evidence[0].words))
        .collect();
    let want = [
        (Cap::FSETID, VerdictKind::ChangesResult, "/usr/bin/crontab is 0755 instead of 2755"),
        (Cap::SETUID, VerdictKind::Required, "it exits with status 1"),
        (Cap::NET_ADMIN, VerdictKind::Tolerated, "p was refused cap_net_admin: f (call = EPERM)"),
        (
            Cap::SYS_NICE,
            VerdictKind::Unused,
            "it was asked for, refused, and the call did not fail for that",
        ),
    ];
    assert_eq!(rows, want);
    // The last run is the proof.
    let last = found.runs.last().unwrap();
    assert_eq!((last.set, last.passed), (found.minimum, true));

    let (strict, ended) = minimize(Plan { strict: true, ..all() }, trial);
    assert!(ended.is_ok());
    assert_eq!(strict.minimum, found.minimum | CapSet::from(Cap::NET_ADMIN));
    assert_eq!(strict.with_verdict(VerdictKind::Tolerated), Cap::NET_ADMIN.into());
}

#[test]
fn no_baseline() {
    let (found, ended) = minimize(all(), |_, _| Observation {
        message: "sh: 1: nosuchcommand: not found".into(),
        ..exited(127)
    });
    let want = "with all capabilities it exits with status 127: sh: 1: nosuchcommand: not found";
    assert_eq!(unfit(&ended), want);
    assert!(!found.proved && found.runs.iter().all(|run| run.is_baseline));
    // Unless that is what it should.
    let (found, ended) = minimize(Plan { expect: 127, ..all() }, |_, _| exited(127));
    assert!(ended.is_ok() && found.minimum.is_empty());

    let killed = End::Exited(Exit { code: None, signal: Some(9) });
    let (_, ended) = minimize(all(), |_, _| Observation { end: killed, ..exited(0) });
    assert_eq!(unfit(&ended), "with all capabilities it is ended by SIGKILL");

    let late = |check| Observation { end: End::TimedOut, check, ..Observation::default() };
    let (found, ended) = minimize(all(), |_, _| late(None));
    let want = "with all capabilities it does not end in time (--timeout; for a server, --check)";
    assert_eq!((unfit(&ended), found.runs.len()), (want.to_owned(), 1));
    let check = Checked {
        command: "--check 'curl -f localhost'".into(),
        passed: false,
        exit: Some(Exit { code: Some(7), signal: None }),
        message: "curl: (7) Failed to connect".into(),
    };
    let (_, ended) = minimize(all(), |_, _| late(Some(check.clone())));
    let want = "with all capabilities --check 'curl -f localhost' fails with exit status 7: \
                curl: (7) Failed to connect";
    assert_eq!(unfit(&ended), want);

    let varying = |_, run: u32| Observation {
        output: Some(Output { length: 1, hash: run.into() }),
        ..exited(0)
    };
    assert!(unfit(&minimize(all(), varying).1).contains("prints something else in each run"));

    let (_, ended) = minimize(all(), |_, _| Observation { gap: Some("a gap".into()), ..exited(0) });
    assert_eq!(unfit(&ended), "the recording of a run is not complete: a gap");
}

#[test]
fn a_program_that_fails_at_random_is_refused_with_its_rate() {
    // Every third run fails, from each beginning.
    for shift in 0..3 {
        let trial = |_, run: u32| exited(i32::from((run + shift) % 3 == 0));
        let (_, ended) = minimize(all(), trial);
        let words = unfit(&ended);
        assert!(words.starts_with("it fails at random: in "), "{words}");
        assert!(
            words.ends_with(" of 10 runs with the same capabilities, it exits with status 1"),
            "{words}"
        );
    }
    // A program that was denied a needed capability is a different case.
    let trial = |set, _| {
        asks(exited(i32::from(uses(set, Cap::KILL).1 == Meaning::Missing)), &[uses(set, Cap::KILL)])
    };
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok());
    assert_eq!((found.minimum, found.baseline_runs), (Cap::KILL.into(), 2));
}

#[test]
fn an_interruption_is_never_evidence() {
    let needs = |set: CapSet, _| {
        asks(exited(i32::from(!set.contains(Cap::CHOWN))), &[uses(set, Cap::CHOWN)])
    };
    let runs = minimize(all(), needs).0.runs.len();
    for at in 0..runs {
        let trial = |set, run: u32| {
            let interrupted = Observation { end: End::Interrupted, ..Observation::default() };
            if run == u32::try_from(at).unwrap() { interrupted } else { needs(set, run) }
        };
        let (found, ended) = minimize(all(), trial);
        assert!(matches!(ended, Err(Stop::Interrupted)), "{at}");
        assert!(!found.proved && found.minimum.contains(Cap::CHOWN), "{at}");
        assert_eq!(found.runs.len(), at);
    }
}

#[test]
fn a_check_that_the_recording_does_not_see() {
    let trial = |set: CapSet, _| exited(i32::from(!set.contains(Cap::SETFCAP)));
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok());
    assert_eq!(found.minimum, Cap::SETFCAP.into());
    assert_eq!(found.verdicts()[0].kind, VerdictKind::Required);
}

#[test]
fn a_weaker_one_that_was_never_asked_for() {
    // The kernel asks for one of two, and the recording shows that one alone.
    let trial = |set: CapSet, _| {
        let works = set.contains(Cap::DAC_OVERRIDE) || set.contains(Cap::DAC_READ_SEARCH);
        let asked: &[_] = if works {
            &[(Cap::DAC_OVERRIDE, Meaning::Candidate)]
        } else {
            &[(Cap::DAC_OVERRIDE, Meaning::Missing)]
        };
        asks(exited(i32::from(!works)), asked)
    };
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok());
    assert_eq!(found.minimum, Cap::DAC_READ_SEARCH.into());
    let verdicts = found.verdicts();
    let verdict = verdicts.iter().find(|one| one.cap == Cap::DAC_READ_SEARCH).unwrap();
    assert_eq!(verdict.evidence[0].kind, "exit");
}

/// Another way to the same asks for something else.
#[test]
fn a_fallback_with_another_capability() {
    let trial = |set: CapSet, _| {
        let [one, other] = [Cap::NET_RAW, Cap::SYS_TIME].map(|cap| uses(set, cap));
        match (one.1, other.1) {
            (Meaning::Candidate, _) => asks(exited(0), &[one]),
            (_, Meaning::Candidate) => asks(exited(0), &[one, other]),
            _ => asks(exited(1), &[one, other]),
        }
    };
    let (found, _) =
        minimize(Plan { most: CapSet::first(41).without(Cap::NET_RAW), ..all() }, trial);
    assert_eq!(found.minimum, Cap::SYS_TIME.into());
    let (found, _) = minimize(all(), trial);
    assert_eq!(found.minimum, Cap::NET_RAW.into());
}

#[test]
fn a_run_that_finds_the_work_done() {
    let trial = |set, run: u32| {
        let asked = [uses(set, Cap::CHOWN)];
        asks(exited(0), if run == 0 { &asked } else { &[] })
    };
    let (_, ended) = minimize(Plan { stateful: true, ..all() }, trial);
    assert_eq!(
        unfit(&ended),
        "not every run with all capabilities uses cap_chown: it finds what an earlier run left behind"
    );
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok());
    assert_eq!(found.noise(), ["whether it uses cap_chown"]);
    let verdict = &found.verdicts()[0];
    assert_eq!((verdict.kind, verdict.evidence[0].kind), (VerdictKind::Unused, "not-asked"));
}

#[test]
fn kept_ones_are_not_tried_without() {
    let plan = Plan { keep: CapSet::of(&[Cap::KILL, Cap::NET_RAW]), ..all() };
    let (found, _) = minimize(plan, |set, _| {
        assert!(set.contains(Cap::KILL));
        asks(exited(i32::from(!set.contains(Cap::CHOWN))), &[uses(set, Cap::CHOWN)])
    });
    assert_eq!(found.minimum, CapSet::of(&[Cap::CHOWN, Cap::KILL, Cap::NET_RAW]));
    let caps: Vec<Cap> = found.verdicts().iter().map(|verdict| verdict.cap).collect();
    assert_eq!(caps, [Cap::CHOWN]);
}

/// A file whose content is the time, a file with a random name, and one that needs CAP_CHOWN.
#[test]
fn noise_is_excluded_and_the_rest_is_compared() {
    let trial = |set: CapSet, run: u32| {
        let mut seen = asks(exited(0), &[uses(set, Cap::CHOWN)]);
        // The clock stands still at first.
        let time = (run / 3).to_string();
        let owner = if set.contains(Cap::CHOWN) { "33" } else { "0" };
        let created = (Aspect::Change, "created");
        file(&mut seen, "/log", &[(Aspect::Change, "changed"), (Aspect::Content, &time)]);
        let name = format!("/tmp/x.{run}");
        file(&mut seen, &name, &[created.clone(), (Aspect::Mode, "0700")]);
        file(&mut seen, &format!("{name}/y"), &[created, (Aspect::Owner, owner)]);
        seen
    };
    let (found, ended) = minimize(all(), trial);
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(found.minimum, Cap::CHOWN.into());
    assert_eq!(found.noise(), ["the names of new files in /tmp", "the content of /log"]);
    let evidence = &found.verdicts()[0].evidence;
    assert_eq!(evidence[0].words, "the owner of /tmp/*/y is 0 instead of 33");
}

/// An effect that comes and goes in runs with the same capabilities is noise, even if no run with all
/// of them has shown it.
#[test]
fn a_difference_has_to_last() {
    for period in [3, 4, 5, 7] {
        let trial = |set: CapSet, run: u32| {
            let mut seen = asks(exited(0), &[uses(set, Cap::CHOWN)]);
            if run % period == 2 {
                file(&mut seen, "/cache", &[(Aspect::Change, "changed"), (Aspect::Content, "1")]);
            }
            let owner = if set.contains(Cap::CHOWN) { "33" } else { "0" };
            file(&mut seen, "/f", &[(Aspect::Change, "created"), (Aspect::Owner, owner)]);
            seen
        };
        let (found, ended) = minimize(all(), trial);
        assert!(ended.is_ok(), "{period}: {ended:?}");
        assert_eq!(found.minimum, Cap::CHOWN.into());
        let words = &found.verdicts()[0].evidence[0].words;
        assert_eq!(words, "the owner of /f is 0 instead of 33");
    }
}

#[test]
fn differences_in_words() {
    use Aspect::{Attribute, Change, Content, Device, Group, Kind, Mode, Owner, Target};
    type Row<'a> = (&'a [(Aspect, &'a str)], &'a [(Aspect, &'a str)], &'a [&'a str]);
    let created = || (Change, "created");
    let changed = || (Change, "changed");
    #[rustfmt::skip]
    let rows: [Row<'_>; 14] = [
        (&[created(), (Mode, "2755")], &[created(), (Mode, "0755")], &["/f is 0755 instead of 2755"]),
        (&[changed(), (Mode, "2755")], &[], &["the mode of /f is unchanged instead of 2755"]),
        (&[], &[changed(), (Mode, "0755")], &["the mode of /f is 0755 instead of unchanged"]),
        (&[created(), (Mode, "2755")], &[], &["/f is not created"]),
        (&[], &[created(), (Mode, "2755")], &["/f is created"]),
        (&[(Change, "removed")], &[], &["/f is not removed"]),
        (&[(Change, "removed")], &[changed(), (Mode, "1")], &["/f is changed instead of removed"]),
        (&[created(), (Owner, "5"), (Group, "6")], &[created(), (Owner, "0"), (Group, "0")],
            &["the owner of /f is 0 instead of 5", "the group of /f is 0 instead of 6"]),
        (&[created(), (Kind, "a file")], &[created(), (Kind, "a directory")], &["/f is a directory instead of a file"]),
        (&[created(), (Target, "/a")], &[created(), (Target, "/b")], &["the target of /f is /b instead of /a"]),
        (&[created(), (Device, "1:3")], &[created(), (Device, "1:5")], &["the device number of /f is 1:5 instead of 1:3"]),
        (&[created(), (Attribute("trusted.x".into()), "1")], &[created()], &["/f lacks the attribute trusted.x (1)"]),
        (&[changed(), (Content, "1")], &[changed(), (Content, "2")], &["/f has other content"]),
        (&[changed(), (Content, "1")], &[changed(), (Content, "1")], &[]),
    ];
    for (want, got, words) in rows {
        let [mut one, mut other] = [exited(0), exited(0)];
        file(&mut one, "/f", want);
        file(&mut other, "/f", got);
        let found = Noise::default().differences(&one.effects, &other.effects, CapSet::first(41));
        let found: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(found, words);
    }
}

#[test]
fn processes_that_are_left() {
    let process = |user| Process {
        name: "nginx".into(),
        users: [user; 3],
        groups: [user; 3],
        supplementary: Vec::new(),
    };
    let effects = |rows: &[(u32, CapSet)]| {
        let mut effects = Effects::default();
        for (user, set) in rows {
            let sets = ProcessSets::new([*set; 5]);
            effects.processes.entry(process(*user)).or_default().insert(sets);
        }
        effects
    };
    let most = CapSet::first(41);
    let compare = |want: &Effects, got: &Effects, set| {
        let found = Noise::default().differences(want, got, set);
        found.iter().map(Difference::to_string).collect::<Vec<_>>()
    };
    let want = effects(&[(0, most), (33, Cap::KILL.into())]);
    // With fewer, it has as many fewer.
    let fewer = CapSet::of(&[Cap::CHOWN]);
    assert_eq!(compare(&want, &effects(&[(0, fewer), (33, CapSet::empty())]), fewer), [""; 0]);
    assert_eq!(
        compare(&want, &effects(&[(0, fewer)]), fewer),
        ["process nginx of user 33 and group 33 is not left running"]
    );
    // It has not dropped what it drops with all of them.
    let kept = compare(&want, &effects(&[(0, fewer), (33, fewer)]), fewer);
    assert_eq!(kept.len(), 5);
    assert_eq!(
        kept[0],
        "the permitted set of process nginx of user 33 and group 33 is cap_chown instead of empty"
    );
    let mut noise = Noise::default();
    noise.learn(&want, &effects(&[(0, most)]), most);
    assert!(noise.differences(&want, &effects(&[]), most).is_empty());
    assert_eq!(noise.words(), ["the processes nginx"]);
}

fn effects() -> impl Strategy<Value = Effects> {
    let names = prop::sample::select(vec!["/a", "/a/b", "/a/c", "/d", "/d/x1", "/d/x2", "/d/x1/e"]);
    let change = prop::sample::select(vec!["created", "changed", "removed"]);
    let files = prop::collection::btree_map(names, (change, 0_u8..3, 0_u8..3), 0..7);
    files.prop_map(|files| {
        let mut run = exited(0);
        for (name, (change, mode, content)) in files {
            file(&mut run, name, &[(Aspect::Change, change)]);
            if change != "removed" {
                let [mode, content] = [mode, content].map(|value| value.to_string());
                file(&mut run, name, &[(Aspect::Mode, &mode), (Aspect::Content, &content)]);
            }
        }
        run.effects
    })
}

proptest! {
    /// Runs of the baseline do not differ from one another, whatever they are.
    #[test]
    fn what_was_learned_is_no_difference(runs in prop::collection::vec(effects(), 2..5)) {
        let all = CapSet::first(41);
        let mut noise = Noise::default();
        // A later run can show that a name is not stable, and so the first ones are looked at again.
        for run in runs[1..].iter().chain(&runs[1..]) {
            noise.learn(&runs[0], run, all);
        }
        for run in &runs {
            prop_assert_eq!(noise.differences(&runs[0], run, all), []);
        }
    }

    /// Without noise, equal effects are equal and others are not.
    #[test]
    fn differences_are_found(one in effects(), other in effects()) {
        let found = Noise::default().differences(&one, &other, CapSet::first(41));
        prop_assert_eq!(found.is_empty(), one == other);
        let back = Noise::default().differences(&other, &one, CapSet::first(41));
        prop_assert_eq!(found.len(), back.len());
    }

    /// A program that needs some capabilities for its work and others for what it leaves behind.
    #[test]
    fn exactly_what_is_needed(work: u64, result: u64, tolerated: u64) {
        let most = CapSet::first(41);
        let [work, result, tolerated] = [work, result, tolerated].map(|bits| CapSet::from_bits(bits & bits >> 7) & most);
        let (found, ended) = minimize(all(), |set, _| {
            let needs: Vec<_> = (work | result | tolerated).iter().map(|cap| uses(set, cap)).collect();
            let mut run = asks(exited(i32::from(!set.is_superset(work))), &needs);
            for cap in set & result {
                file(&mut run, &format!("/{cap}"), &[(Aspect::Change, "created")]);
            }
            run
        });
        prop_assert!(ended.is_ok() && found.proved);
        prop_assert_eq!(found.minimum, work | result);
        prop_assert_eq!(found.with_verdict(VerdictKind::Required), work);
        prop_assert_eq!(found.with_verdict(VerdictKind::ChangesResult), result - work);
        prop_assert_eq!(found.with_verdict(VerdictKind::Tolerated), tolerated - work - result);
    }
}

#[test]
fn judged_by_itself_and_by_the_baseline() {
    let plan = all();
    let mut baseline = Baseline::default();
    baseline.add(asks(exited(0), &[(Cap::SETUID, Meaning::Missing)]), plan.most, true);
    let kinds = |run: &Observation| {
        let failures = baseline.failures(&plan, run, CapSet::empty());
        failures.iter().map(Failure::kind).collect::<Vec<_>>()
    };
    // Every run is refused that.
    assert_eq!(kinds(&asks(exited(0), &[(Cap::SETUID, Meaning::Missing)])), [""; 0]);
    assert_eq!(kinds(&asks(exited(2), &[(Cap::CHOWN, Meaning::Missing)])), ["exit", "refused"]);
    let check = |passed| Some(Checked { passed, ..Checked::default() });
    // A server that was seen to work is stopped.
    let stopped = Observation { check: check(true), ..Observation::default() };
    assert_eq!(kinds(&stopped), [""; 0]);
    assert_eq!(kinds(&Observation { check: check(false), ..exited(1) }), ["exit", "check"]);
    let late = Observation { end: End::TimedOut, check: check(false), ..Observation::default() };
    assert_eq!(kinds(&late), ["check"]);
    assert_eq!(kinds(&Observation { check: check(true), ..late }), ["timed-out"]);
}
