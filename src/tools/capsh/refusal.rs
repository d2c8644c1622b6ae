//! The reasons for which the kernel rejected a step, printed after its error.

use crate::{
    Cap, CapSet, CapState,
    securebits::{self, Securebits},
};

/// Returns the capability that an option needs, if it is missing.
pub(super) fn lacking(option: &str) -> String {
    let Ok(now) = CapState::current() else { return String::new() };
    let (caps, set, which) = match option {
        "--drop=" | "--mode=" | "--securebits=" => {
            (CapSet::from(Cap::SETPCAP), now.permitted, "permitted")
        }
        "--secbits=" => (Cap::SETPCAP.into(), now.effective, "effective"),
        "--uid=" => (Cap::SETUID.into(), now.effective, "effective"),
        "--gid=" | "--groups=" => (Cap::SETGID.into(), now.effective, "effective"),
        "--cap-uid=" => (Cap::SETUID.into(), now.permitted, "permitted"),
        "--user=" => (CapSet::of(&[Cap::SETUID, Cap::SETGID]), now.permitted, "permitted"),
        "--chroot=" => (Cap::SYS_CHROOT.into(), now.permitted, "permitted"),
        _ => return String::new(),
    };
    let lacks = caps - set;
    if lacks.is_empty() { String::new() } else { format!(" ({lacks} is not {which})") }
}

/// Returns the reason for which capset(2) rejects the sets, if it is known.
pub(super) fn refused(wanted: CapState, now: CapState, bounding: CapSet) -> Option<String> {
    let held = now.permitted | now.inheritable;
    let rules = [
        (wanted.permitted - now.permitted, "is not permitted"),
        (wanted.effective - wanted.permitted, "would be effective but not permitted"),
        (wanted.inheritable - now.inheritable - bounding, "is not in the bounding set"),
        (wanted.inheritable - held, "is not permitted, nor is cap_setpcap"),
    ];
    let (caps, why) = rules.into_iter().find(|(caps, _)| !caps.is_empty())?;
    Some(format!(" ({caps} {why})"))
}

/// Returns the reason for which a capability cannot become ambient.
pub(super) fn not_ambient(cap: Cap) -> Option<&'static str> {
    let CapState { permitted, inheritable, .. } = CapState::current().ok()?;
    let bits = securebits::current().ok()?;
    match (permitted.contains(cap), inheritable.contains(cap)) {
        (false, _) => Some(" (the capability is not permitted)"),
        (true, false) => Some(" (the capability is not inheritable; use --inh=)"),
        _ if bits.contains(Securebits::NO_CAP_AMBIENT_RAISE) => {
            Some(" (the securebit no-cap-ambient-raise is set)")
        }
        _ => None,
    }
}
