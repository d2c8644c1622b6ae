//! The capabilities that the running kernel supports.

use std::sync::OnceLock;

use crate::{Cap, CapSet, Result, caps::NAMED, sys};

impl CapSet {
    /// Returns the capabilities that the running kernel supports. The kernel is asked once, with
    /// two prctl(2) calls if its last capability has a name here.
    #[doc(alias = "cap_max_bits")]
    pub fn supported() -> CapSet {
        // A unit test has the same result on every kernel.
        if cfg!(test) { CapSet::NAMED } else { supported() }
    }
}

/// Implements [`CapSet::supported`]. A number is supported if and only if all lower numbers are.
/// (`cap_valid` in include/uapi/linux/capability.h)
fn supported() -> CapSet {
    static COUNT: OnceLock<u8> = OnceLock::new();
    CapSet::first(*COUNT.get_or_init(|| count(|number| sys::capbset_read(number).is_ok())))
}

/// Returns the supported capabilities for which `holds` is true.
pub(crate) fn filter_supported(holds: impl Fn(Cap) -> Result<bool>) -> Result<CapSet> {
    let mut set = CapSet::empty();
    for cap in supported() {
        if holds(cap)? {
            set = set.with(cap);
        }
    }
    Ok(set)
}

/// Returns how many numbers, starting at 0, are `known`. [`NAMED`] is tried first, because most
/// kernels support exactly the named capabilities.
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
    // If a sandbox forbids the call, the answer is unknown.
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
