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
    CapSet::first(*COUNT.get_or_init(|| count(is_known)))
}

/// Returns whether the kernel knows a capability, or `None` if it does not answer, as in a sandbox
/// that forbids the call. (`PR_CAPBSET_READ` fails only with EINVAL.)
fn is_known(number: u8) -> Option<bool> {
    match sys::capbset_read(number) {
        Ok(_) => Some(true),
        Err(err) if err.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    }
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
/// kernels support exactly the named capabilities. Without an answer, it is the result too.
fn count(known: impl Fn(u8) -> Option<bool>) -> u8 {
    search(known).unwrap_or(NAMED)
}

fn search(known: impl Fn(u8) -> Option<bool>) -> Option<u8> {
    let (mut low, mut high) = match (known(NAMED - 1)?, known(NAMED)?) {
        (true, false) => return Some(NAMED),
        (true, true) => (NAMED + 1, 64),
        (false, _) => (0, NAMED - 1),
    };
    while low < high {
        let middle = u8::midpoint(low, high);
        if known(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // Every kernel knows the first one.
    (low > 0).then_some(low)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn counts_any_kernel() {
        for size in 1..=64 {
            assert_eq!(count(|number| Some(number < size)), size);
        }
        assert_eq!(count(|_| Some(false)), NAMED);
    }

    #[test]
    fn a_question_without_an_answer_is_not_an_answer() {
        for silent in 0..64 {
            assert_eq!(count(|number| (number != silent).then_some(number < NAMED)), NAMED);
        }
    }

    #[test]
    fn two_questions_where_every_capability_has_a_name() {
        let asked = Cell::new(0);
        count(|number| {
            asked.set(asked.get() + 1);
            Some(number < NAMED)
        });
        assert_eq!(asked.get(), 2);
    }
}
