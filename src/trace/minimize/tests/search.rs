//! The search on simulated programs.

use proptest::prelude::*;

use super::{Cap, CapSet, minimal};

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
