//! What the running kernel has.

use std::sync::OnceLock;

use crate::{Cap, CapSet, Result, cap::NAMED, sys};

/// See [`CapSet::supported`]. The kernel has no holes: a number is known if and only if every
/// lower one is (`cap_valid` in include/uapi/linux/capability.h).
pub(crate) fn supported() -> CapSet {
    static COUNT: OnceLock<u8> = OnceLock::new();
    CapSet::first(*COUNT.get_or_init(|| count(|number| sys::capbset_read(number).is_ok())))
}

/// Those capabilities of the kernel of which `holds` says so.
pub(crate) fn those(holds: impl Fn(Cap) -> Result<bool>) -> Result<CapSet> {
    let mut set = CapSet::empty();
    for cap in supported().caps() {
        if holds(cap)? {
            set = set.with(cap);
        }
    }
    Ok(set)
}

/// How many numbers from 0 up are known, where `known` says it of one. [`NAMED`] is tried first:
/// most kernels have just what has a name here.
fn count(known: impl Fn(u8) -> bool) -> u8 {
    let (mut low, mut high) = match (known(NAMED - 1), known(NAMED)) {
        (true, false) => return NAMED,
        (true, true) => (NAMED + 1, 64),
        (false, _) => (0, NAMED - 1),
    };
    while low < high {
        let middle = u8::midpoint(low, high);
        if known(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // A sandbox that forbids the question says nothing of the answer.
    if low == 0 { NAMED } else { low }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn counts_any_kernel() {
        for size in 1..=64 {
            assert_eq!(count(|number| number < size), size);
        }
        assert_eq!(count(|_| false), NAMED);
    }

    #[test]
    fn two_questions_where_every_capability_has_a_name() {
        let asked = Cell::new(0);
        count(|number| {
            asked.set(asked.get() + 1);
            number < NAMED
        });
        assert_eq!(asked.get(), 2);
    }
}
