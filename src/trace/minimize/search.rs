//! The search for a minimal set, as a pure function of a predicate.

use std::collections::HashMap;

use crate::{Cap, CapSet};

/// Finds a minimal subset of `all` that passes, by trying subsets.
///
/// `passes` tries one set; `all` itself is assumed to pass. The result is `all` or a set that has
/// passed, and without any one of its members it has failed. If a program that passes with a set
/// also passes with every larger one, the search takes at most `2k log2(n / k) + 4k + 2` runs for
/// `k` needed capabilities of `n`, and one run if none is needed. No set is tried twice.
///
/// If one of two capabilities would do, the search keeps the less powerful one, such as
/// `CAP_DAC_READ_SEARCH` rather than `CAP_DAC_OVERRIDE`, and anything rather than `CAP_SYS_ADMIN`.
///
/// The algorithm is QuickXplain (Junker, 2004), followed by a check of its result.
///
/// ```
/// use rcap::{Cap, CapSet, trace::minimize::minimal};
///
/// let needs_two = |set: CapSet| Ok::<_, ()>(set.contains(Cap::CHOWN) && set.contains(Cap::SETUID));
/// let minimum = minimal(CapSet::first(41), needs_two)?;
/// assert_eq!(minimum, CapSet::of(&[Cap::CHOWN, Cap::SETUID]));
/// # Ok::<(), ()>(())
/// ```
///
/// # Errors
///
/// The first error of `passes`, which ends the search.
pub fn minimal<E>(
    all: CapSet,
    mut passes: impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<CapSet, E> {
    let mut known = HashMap::from([(all, true)]);
    let mut passes = |set: CapSet| {
        if let Some(&passed) = known.get(&set) {
            return Ok(passed);
        }
        let passed = passes(set)?;
        known.insert(set, passed);
        Ok(passed)
    };
    if passes(CapSet::empty())? {
        return Ok(CapSet::empty());
    }
    let mut least = needed(CapSet::empty(), false, &by_power(all), &mut passes)?;
    if !passes(least)? {
        // The program does less with more. Its capabilities are then removed one by one.
        least = all;
    }
    while let Some(cap) = spare(least, &mut passes)? {
        least = least.without(cap);
    }
    Ok(least)
}

/// The capabilities that can stand in for others, the most powerful last.
const POWERFUL: [Cap; 6] = [
    Cap::DAC_OVERRIDE,
    Cap::NET_ADMIN,
    Cap::SYS_PTRACE,
    Cap::SYS_RAWIO,
    Cap::SYS_MODULE,
    Cap::SYS_ADMIN,
];

/// Returns the members of a set in ascending order of power.
fn by_power(set: CapSet) -> Vec<Cap> {
    let mut caps: Vec<Cap> = set.iter().collect();
    caps.sort_by_key(|cap| (POWERFUL.iter().position(|powerful| powerful == cap), *cap));
    caps
}

/// Returns the members of `rest` that are needed beside `base`, where both together pass and the
/// first members are preferred. `more` says whether `base` has grown since it was last tried.
fn needed<E>(
    base: CapSet,
    more: bool,
    rest: &[Cap],
    passes: &mut impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<CapSet, E> {
    if more && passes(base)? {
        return Ok(CapSet::empty());
    }
    if rest.len() <= 1 {
        return Ok(rest.iter().collect());
    }
    let (half, other) = rest.split_at(rest.len() / 2);
    let of_other = needed(base | CapSet::of(half), true, other, passes)?;
    let of_half = needed(base | of_other, !of_other.is_empty(), half, passes)?;
    Ok(of_half | of_other)
}

/// Returns a member without which the set passes.
fn spare<E>(
    set: CapSet,
    passes: &mut impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<Option<Cap>, E> {
    for cap in by_power(set).into_iter().rev() {
        if passes(set.without(cap))? {
            return Ok(Some(cap));
        }
    }
    Ok(None)
}
