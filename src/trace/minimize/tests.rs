//! The judge on made observations.

use super::{judge::Baseline, *};
use crate::{
    Cap,
    trace::{Meaning, Need},
};

mod effects;
mod search;
mod verification;

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
    ended.unwrap();
    assert!(found.proved);
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
    ended.unwrap();
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
    ended.unwrap();
    assert!(found.minimum.is_empty());

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
    ended.unwrap();
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
    ended.unwrap();
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
    ended.unwrap();
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
    ended.unwrap();
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
