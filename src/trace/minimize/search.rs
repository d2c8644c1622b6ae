//! The search for a minimal set, as a pure function of a predicate.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut passes = |caps: &BTreeSet<Cap>| passes(caps.iter().collect());
    Ok(minimal_of(&by_power(all), &mut passes)?.iter().collect())
}

/// Finds a minimal subset of `all` that passes. It is [`minimal`] for members of any kind, the most
/// welcome first.
///
/// # Errors
///
/// The first error of `passes`, which ends the search.
pub(crate) fn minimal_of<T: Copy + Ord, E>(
    all: &[T],
    mut passes: impl FnMut(&BTreeSet<T>) -> Result<bool, E>,
) -> Result<BTreeSet<T>, E> {
    let every: BTreeSet<T> = all.iter().copied().collect();
    let mut known = BTreeMap::from([(every.clone(), true)]);
    let mut passes = |set: &BTreeSet<T>| {
        if let Some(&passed) = known.get(set) {
            return Ok(passed);
        }
        let passed = passes(set)?;
        known.insert(set.clone(), passed);
        Ok(passed)
    };
    if passes(&BTreeSet::new())? {
        return Ok(BTreeSet::new());
    }
    let mut least = needed(&BTreeSet::new(), false, all, &mut passes)?;
    if !passes(&least)? {
        // It does less with more. The members are then removed one by one.
        least = every;
    }
    while let Some(member) = spare(all, &least, &mut passes)? {
        least.remove(&member);
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
fn needed<T: Copy + Ord, E>(
    base: &BTreeSet<T>,
    more: bool,
    rest: &[T],
    passes: &mut impl FnMut(&BTreeSet<T>) -> Result<bool, E>,
) -> Result<BTreeSet<T>, E> {
    if more && passes(base)? {
        return Ok(BTreeSet::new());
    }
    if rest.len() <= 1 {
        return Ok(rest.iter().copied().collect());
    }
    let (half, other) = rest.split_at(rest.len() / 2);
    let with_half = base.iter().chain(half).copied().collect();
    let of_other = needed(&with_half, true, other, passes)?;
    let of_half = needed(&(base | &of_other), !of_other.is_empty(), half, passes)?;
    Ok(&of_half | &of_other)
}

/// Returns a member without which the set passes.
fn spare<T: Copy + Ord, E>(
    all: &[T],
    set: &BTreeSet<T>,
    passes: &mut impl FnMut(&BTreeSet<T>) -> Result<bool, E>,
) -> Result<Option<T>, E> {
    for member in all.iter().rev().filter(|member| set.contains(member)) {
        let mut without = set.clone();
        without.remove(member);
        if passes(&without)? {
            return Ok(Some(*member));
        }
    }
    Ok(None)
}
