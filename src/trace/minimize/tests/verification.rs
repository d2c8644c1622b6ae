//! The verification of a given set.

use super::*;

fn verified(
    plan: Plan,
    is_minimal: bool,
    trial: impl FnMut(CapSet, u32) -> Observation,
) -> Verified {
    let mut minimizer = Minimizer::new(plan, Fake(trial, 0));
    let progress = &mut |_: &Run| ();
    let ended =
        if is_minimal { minimizer.verify_minimal(progress) } else { minimizer.verify(progress) };
    ended.unwrap()
}

fn given(caps: &[Cap]) -> Plan {
    Plan::new(CapSet::of(caps))
}

/// Needs `CAP_SETUID`, and falls back without `CAP_NET_ADMIN`.
fn falls_back(set: CapSet, _: u32) -> Observation {
    let code = i32::from(!set.contains(Cap::SETUID));
    asks(exited(code), &[uses(set, Cap::SETUID), uses(set, Cap::NET_ADMIN)])
}

fn findings(verified: &Verified) -> Vec<(Cap, FindingKind)> {
    verified.findings.iter().map(|finding| (finding.cap, finding.kind)).collect()
}

/// The plan, whether each capability is left out, the findings, whether it holds, and the runs.
type Row = (Plan, bool, &'static [(Cap, FindingKind)], bool, usize);

#[test]
fn too_little_and_too_much() {
    use FindingKind::{Kept, Missing, Required, Superfluous, Tolerated, Unknown, Used};
    let tolerant = |plan| Plan { tolerate: Cap::NET_ADMIN.into(), ..plan };
    let keeping = |plan| Plan { keep: Cap::KILL.into(), ..plan };
    #[rustfmt::skip]
    let rows: [Row; 9] = [
        (given(&[Cap::SETUID, Cap::NET_ADMIN]), false,
            &[(Cap::SETUID, Used), (Cap::NET_ADMIN, Used)], true, 1),
        (given(&[Cap::SETUID, Cap::NET_ADMIN]), true,
            &[(Cap::SETUID, Required), (Cap::NET_ADMIN, Superfluous)], false, 4),
        (given(&[Cap::SETUID]), false,
            &[(Cap::SETUID, Used), (Cap::NET_ADMIN, Missing)], false, 1),
        (tolerant(given(&[Cap::SETUID])), false,
            &[(Cap::SETUID, Used), (Cap::NET_ADMIN, Tolerated)], true, 1),
        (tolerant(given(&[Cap::SETUID])), true,
            &[(Cap::SETUID, Required), (Cap::NET_ADMIN, Tolerated)], true, 3),
        (tolerant(given(&[Cap::SETUID, Cap::KILL])), false,
            &[(Cap::KILL, Superfluous), (Cap::SETUID, Used), (Cap::NET_ADMIN, Tolerated)], false, 1),
        (tolerant(given(&[Cap::SETUID, Cap::KILL])), true,
            &[(Cap::KILL, Superfluous), (Cap::SETUID, Required), (Cap::NET_ADMIN, Tolerated)], false, 4),
        (keeping(tolerant(given(&[Cap::SETUID, Cap::KILL]))), true,
            &[(Cap::KILL, Kept), (Cap::SETUID, Required), (Cap::NET_ADMIN, Tolerated)], true, 3),
        // A run that failed says nothing of what it would have used.
        (given(&[Cap::KILL]), true,
            &[(Cap::KILL, Unknown), (Cap::SETUID, Missing), (Cap::NET_ADMIN, Missing)], false, 1),
    ];
    for (plan, is_minimal, want, holds, runs) in rows {
        let got = verified(plan, is_minimal, falls_back);
        assert_eq!(findings(&got), want, "{plan:?}");
        assert_eq!((got.holds(), got.runs.len()), (holds, runs), "{plan:?}: {:?}", got.runs);
        assert_eq!(got.given, plan.most);
        assert_eq!(got.failures.is_empty(), plan.most.contains(Cap::SETUID));
    }
}

#[test]
fn every_run_has_at_most_what_is_given() {
    let plan = given(&[Cap::SETUID, Cap::KILL, Cap::CHOWN]);
    for is_minimal in [false, true] {
        let got = verified(plan, is_minimal, falls_back);
        assert!(got.runs.iter().all(|run| plan.most.is_superset(run.set)));
        assert_eq!(got.runs[0].set, plan.most);
    }
}

#[test]
fn nothing_is_superfluous_if_records_are_lost_or_cannot_be_seen() {
    let lossy = |set, run| Observation { lost: Some(1), ..falls_back(set, run) };
    let plan = Plan { tolerate: Cap::NET_ADMIN.into(), ..given(&[Cap::SETUID, Cap::KILL]) };
    let unseen = Plan { unseen: Cap::KILL.into(), ..plan };
    // The recording itself says what it cannot see.
    let blind = |set, run| {
        let mut seen = falls_back(set, run);
        seen.analysis.unseen_caps = Cap::KILL.into();
        seen
    };
    for got in [
        verified(plan, false, lossy),
        verified(unseen, false, falls_back),
        verified(plan, false, blind),
    ] {
        assert_eq!(got.superfluous(), CapSet::empty());
        assert_eq!(got.of_kind(FindingKind::Unknown), Cap::KILL.into());
    }
    // Unless a run without it shows that.
    for got in [verified(plan, true, lossy), verified(unseen, true, falls_back)] {
        assert_eq!(got.superfluous(), Cap::KILL.into());
    }
}

#[test]
fn a_result_that_differs_is_required() {
    let trial = |set: CapSet, _| {
        let mut run = asks(exited(0), &[uses(set, Cap::CHOWN)]);
        let owner = if set.contains(Cap::CHOWN) { "5" } else { "0" };
        file(&mut run, "/f", &[(Aspect::Change, "created"), (Aspect::Owner, owner)]);
        run
    };
    let got = verified(given(&[Cap::CHOWN]), true, trial);
    assert_eq!(findings(&got), [(Cap::CHOWN, FindingKind::Required)]);
    assert_eq!(got.findings[0].evidence[0].words, "the owner of /f is 0 instead of 5");
    assert!(got.holds());
}

#[test]
fn a_failure_without_a_refusal() {
    let trial = |_, _| Observation { message: "no such file".into(), ..exited(2) };
    let got = verified(given(&[]), true, trial);
    assert!(!got.holds() && got.findings.is_empty());
    assert_eq!(got.failures[0].with_message(&got.message), "it exits with status 2: no such file");
}
