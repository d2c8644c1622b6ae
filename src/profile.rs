//! What the makers of containers leave to one that asks for nothing.

use crate::{Cap, CapSet};

/// A policy for the capabilities of a container.
///
/// ```
/// use rcap::{Cap, profile::Profile};
///
/// assert!(Profile::Docker.given().has(Cap::NET_RAW));
/// assert!(!Profile::Podman.given().has(Cap::NET_RAW));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Docker and containerd. (github.com/moby/moby, oci/caps/defaults.go)
    Docker,
    /// Podman. (github.com/containers/common, pkg/config/default.go)
    Podman,
    /// The Pod Security Standard "baseline" of Kubernetes.
    /// (kubernetes.io/docs/concepts/security/pod-security-standards)
    KubernetesBaseline,
    /// The Pod Security Standard "restricted" of Kubernetes.
    KubernetesRestricted,
}

/// What Podman leaves, and Docker and the baseline among others.
const COMMON: CapSet = CapSet::of(&[
    Cap::CHOWN,
    Cap::DAC_OVERRIDE,
    Cap::FSETID,
    Cap::FOWNER,
    Cap::NET_BIND_SERVICE,
    Cap::SETGID,
    Cap::SETUID,
    Cap::SETFCAP,
    Cap::SETPCAP,
    Cap::SYS_CHROOT,
    Cap::KILL,
]);

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 4] = [
        Profile::Docker,
        Profile::Podman,
        Profile::KubernetesBaseline,
        Profile::KubernetesRestricted,
    ];

    /// Its name, such as `kubernetes-restricted`.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Docker => "docker",
            Profile::Podman => "podman",
            Profile::KubernetesBaseline => "kubernetes-baseline",
            Profile::KubernetesRestricted => "kubernetes-restricted",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// What it gives a container that asks for nothing. Of Kubernetes, which leaves that to the
    /// runtime, this is containerd's, as far as the policy has nothing against it.
    pub const fn given(self) -> CapSet {
        match self {
            Profile::Docker => COMMON.with(Cap::NET_RAW).with(Cap::MKNOD).with(Cap::AUDIT_WRITE),
            Profile::Podman => COMMON,
            Profile::KubernetesBaseline => Profile::Docker.given(),
            Profile::KubernetesRestricted => CapSet::of(&[]),
        }
    }

    /// What may be added.
    pub fn addable(self) -> CapSet {
        match self {
            Profile::Docker | Profile::Podman => CapSet::supported(),
            Profile::KubernetesBaseline => COMMON.with(Cap::MKNOD).with(Cap::AUDIT_WRITE),
            Profile::KubernetesRestricted => Cap::NET_BIND_SERVICE.into(),
        }
    }

    /// Whether it wants another user than root, and no-new-privs.
    pub const fn is_restricted(self) -> bool {
        matches!(self, Profile::KubernetesRestricted)
    }
}

/// What comes of the capabilities that are `given`, of which some are dropped and others added, in
/// the words of Docker: to drop `all` leaves what is added, to add `all` what is not dropped.
///
/// ```
/// use rcap::{Cap, CapSet, profile::{Profile, combine}};
///
/// let all = CapSet::NAMED;
/// assert_eq!(combine(Profile::Docker.given(), all, Cap::NET_RAW.into(), all), Cap::NET_RAW.into());
/// ```
pub fn combine(given: CapSet, drop: CapSet, add: CapSet, all: CapSet) -> CapSet {
    if drop.contains(all) {
        add
    } else if add.contains(all) {
        all - drop
    } else {
        (given - drop) | add
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_masks() {
        assert_eq!(Profile::Docker.given().bits(), 0xa804_25fb);
        assert_eq!(Profile::Podman.given().len(), 11);
        assert_eq!(Profile::KubernetesBaseline.addable().len(), 13);
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
        }
    }

    #[test]
    fn as_docker_combines() {
        let set = |caps: &[Cap]| CapSet::of(caps);
        let all = CapSet::first(41);
        let docker = Profile::Docker.given();
        let none = CapSet::empty();
        let raw = set(&[Cap::NET_RAW]);
        let admin = set(&[Cap::SYS_ADMIN]);
        #[rustfmt::skip]
        let rows = [
            // given, dropped, added, what is left
            (docker, none, none,  docker),
            (docker, raw,  none,  docker - raw),
            (docker, none, admin, docker | admin),
            (docker, all,  none,  none),
            (docker, all,  raw,   raw),
            (docker, all,  all,   all),
            (docker, raw,  all,   all - raw),
            (docker, raw,  raw,   docker),
        ];
        for (given, drop, add, want) in rows {
            assert_eq!(combine(given, drop, add, all), want, "{drop} {add}");
        }
    }
}
