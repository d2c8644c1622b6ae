//! The worth of a capability to an attacker, as a class.

use crate::{Cap, CapSet};

/// The reach of a program with a set of capabilities, least first.
///
/// The classes apply to capabilities in the initial user namespace, and follow
/// [`route_to_root`](super::route_to_root): a capability without a route is [`Worth::Narrow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Worth {
    /// Nothing, because the set is empty.
    Nothing,
    /// One narrow right, or a denial of service.
    Narrow,
    /// The network's traffic, or a protection that can be disabled.
    Partial,
    /// Every secret on the machine.
    Secrets,
    /// Root.
    Root,
}

impl Worth {
    /// Returns the class of a set, which is that of its most valuable capability.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, knowledge::Worth};
    ///
    /// assert_eq!(Worth::of(Cap::NET_BIND_SERVICE.into()), Worth::Narrow);
    /// assert_eq!(Worth::of(Cap::BPF | Cap::PERFMON), Worth::Secrets);
    /// assert_eq!(Worth::of(CapSet::NAMED), Worth::Root);
    /// ```
    pub fn of(caps: CapSet) -> Worth {
        let each = caps.iter().map(class).max().unwrap_or(Worth::Nothing);
        // bpf(2): with both, a program reads the kernel's memory.
        let reads_kernel = caps.is_superset(Cap::BPF | Cap::PERFMON);
        if reads_kernel { each.max(Worth::Secrets) } else { each }
    }

    /// Returns the class in words.
    pub const fn text(self) -> &'static str {
        match self {
            Worth::Nothing => "nothing",
            Worth::Narrow => "a narrow right",
            Worth::Partial => "the network, or a protection",
            Worth::Secrets => "reads everything",
            Worth::Root => "equals root",
        }
    }
}

/// Returns the class of one capability. An unnamed capability counts as root, because it is
/// unknown.
fn class(cap: Cap) -> Worth {
    match cap {
        Cap::CHOWN
        | Cap::DAC_OVERRIDE
        | Cap::FOWNER
        | Cap::SETGID
        | Cap::SETUID
        | Cap::SYS_MODULE
        | Cap::SYS_RAWIO
        | Cap::SYS_CHROOT
        | Cap::SYS_PTRACE
        | Cap::SYS_ADMIN
        | Cap::SYS_BOOT
        | Cap::MKNOD
        | Cap::SETFCAP => Worth::Root,
        Cap::DAC_READ_SEARCH | Cap::PERFMON | Cap::CHECKPOINT_RESTORE => Worth::Secrets,
        _ if cap.name().is_none() => Worth::Root,
        _ if super::route_to_root(cap).is_some() => Worth::Partial,
        _ => Worth::Narrow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        #[rustfmt::skip]
        let rows = [
            (CapSet::empty(),                        Worth::Nothing),
            (Cap::NET_BIND_SERVICE | Cap::SYS_NICE,  Worth::Narrow),
            (Cap::NET_ADMIN.into(),                  Worth::Partial),
            (Cap::AUDIT_CONTROL.into(),              Worth::Partial),
            (Cap::BPF.into(),                        Worth::Partial),
            (Cap::DAC_READ_SEARCH.into(),            Worth::Secrets),
            (Cap::NET_RAW | Cap::SETUID,             Worth::Root),
            (CapSet::from_bits(1 << 63),             Worth::Root),
        ];
        for (caps, want) in rows {
            assert_eq!(Worth::of(caps), want, "{caps}");
        }
    }

    #[test]
    fn a_narrow_capability_has_no_route() {
        for &cap in Cap::ALL {
            let is_narrow = Worth::of(cap.into()) == Worth::Narrow;
            assert_eq!(is_narrow, crate::knowledge::route_to_root(cap).is_none(), "{cap}");
        }
    }
}
