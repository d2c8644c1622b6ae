//! The search with simulated programs, and the verdict on constructed observations.

use proptest::prelude::*;

use super::*;

/// Simulates a program that needs one member of each of these sets.
fn simulated(needs: &[CapSet]) -> impl Fn(CapSet) -> bool {
    let needs = needs.to_vec();
    move |set| needs.iter().all(|need| !(set & *need).is_empty())
}

/// Returns the result, and the number of runs.
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
fn few_runs() {
    let two = CapSet::of(&[Cap::SETPCAP, Cap::NET_RAW]);
    #[rustfmt::skip]
    let rows: [(CapSet, &[CapSet], CapSet, u32); 6] = [
        (CapSet::empty(),     &[],                    CapSet::empty(),     1),
        (CapSet::first(41),   &[],                    CapSet::empty(),     1),
        (Cap::CHOWN.into(),   &[Cap::CHOWN.into()],   Cap::CHOWN.into(),   1),
        (two,                 &[Cap::NET_RAW.into()], Cap::NET_RAW.into(), 3),
        (two,                 &[two],                 Cap::NET_RAW.into(), 3),
        (CapSet::first(41),   &[Cap::KILL.into()],    Cap::KILL.into(),    8),
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
    /// Needs with one capability each.
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

    /// Programs that may fail with a superset of a passing set.
    #[test]
    fn whatever_the_program_does(table: [bool; 32]) {
        let all = CapSet::first(5);
        let passes = |set: CapSet| set == all || table[usize::try_from(set.bits()).unwrap()];
        let (minimum, _) = search(all, passes);
        prop_assert!(passes(minimum));
        prop_assert!(minimum.is_empty() || minimum.iter().all(|cap| !passes(minimum.without(cap))));
    }
}

fn observation(code: i32, refused: &[(Cap, &str)]) -> Observation {
    let need = |&(cap, function): &(Cap, &str)| Need {
        cap,
        meaning: Meaning::Missing,
        granted: false,
        function: function.into(),
        reason: None,
        count: 1,
        system_call: None,
        returned: Some(-1),
        program: "/bin/p".into(),
    };
    Observation {
        exit: Some(Exit { code: Some(code), signal: None }),
        analysis: Analysis::new(refused.iter().map(need).collect()),
        ..Observation::default()
    }
}

#[test]
fn judged() {
    let all = observation(0, &[(Cap::SETUID, "setuid")]);
    let same = failures(&all, &observation(0, &[(Cap::SETUID, "setuid")]));
    assert!(same.is_empty());
    let worse = failures(&all, &observation(0, &[(Cap::SETUID, "other")]));
    assert!(matches!(&*worse, [one @ Failure::Refused { .. }] if !one.is_visible()));
    let exit = failures(&all, &observation(2, &[]));
    assert!(matches!(&*exit, [one @ Failure::Exit { .. }] if one.is_visible()));

    // A server is stopped after it was seen to work, so its exit is ignored.
    let checked = |exit, check| Observation { exit, check, ..Observation::default() };
    let works = checked(None, Some(true));
    assert!(
        failures(&works, &checked(Some(Exit { code: None, signal: Some(15) }), Some(true)))
            .is_empty()
    );
    let fails = failures(&works, &checked(Some(Exit { code: Some(1), signal: None }), Some(false)));
    assert!(matches!(&*fails, [Failure::Exit { .. }, Failure::Check]));
    let late = Observation { timed_out: true, ..checked(None, Some(false)) };
    assert_eq!(failures(&works, &late), [Failure::TimedOut, Failure::Check]);

    let printed =
        |length| Observation { output: Some(Output { length, hash: 0 }), ..Observation::default() };
    assert_eq!(failures(&printed(1), &printed(2)), [Failure::Output]);
}
