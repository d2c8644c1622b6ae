//! Default capability sets of container runtimes.

use crate::{Cap, CapSet};

/// A policy for the capabilities of a container.
///
/// ```
/// use rcap::{Cap, settings::Profile};
///
/// assert!(Profile::Docker.given().contains(Cap::NET_RAW));
/// assert!(!Profile::Podman.given().contains(Cap::NET_RAW));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Docker and containerd. (github.com/moby/moby, oci/caps/defaults.go)
    Docker,
    /// Podman. (github.com/containers/common, pkg/config/default.go; built in since Podman 4.4,
    /// before that in the configuration files of distributions)
    Podman,
    /// CRI-O, and with it OpenShift. (github.com/cri-o/cri-o, pkg/config, `default_capabilities`)
    CriO,
    /// The Pod Security Standard "baseline" of Kubernetes.
    /// (kubernetes.io/docs/concepts/security/pod-security-standards)
    KubernetesBaseline,
    /// The Pod Security Standard "restricted" of Kubernetes.
    KubernetesRestricted,
}

/// The capabilities that Docker and Podman both grant.
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
    /// All profiles.
    pub const ALL: [Profile; 5] = [
        Profile::Docker,
        Profile::Podman,
        Profile::CriO,
        Profile::KubernetesBaseline,
        Profile::KubernetesRestricted,
    ];

    /// Returns the name of the profile, such as `kubernetes-restricted`.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Docker => "docker",
            Profile::Podman => "podman",
            Profile::CriO => "cri-o",
            Profile::KubernetesBaseline => "kubernetes-baseline",
            Profile::KubernetesRestricted => "kubernetes-restricted",
        }
    }

    /// Returns the profile with this name.
    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Returns the capabilities of a container without settings of its own. A Pod Security Standard
    /// grants nothing and only forbids: the capabilities are those of containerd, as far as the
    /// standard allows them.
    pub const fn given(self) -> CapSet {
        match self {
            Profile::Docker => COMMON.with(Cap::NET_RAW).with(Cap::MKNOD).with(Cap::AUDIT_WRITE),
            Profile::Podman => COMMON,
            Profile::CriO => COMMON.without(Cap::SETFCAP).without(Cap::SYS_CHROOT),
            // The defaults are not checked by the standard, additions are.
            Profile::KubernetesBaseline => Profile::Docker.given(),
            Profile::KubernetesRestricted => CapSet::of(&[]),
        }
    }

    /// Returns the capabilities that may be added.
    pub fn addable(self) -> CapSet {
        match self {
            Profile::Docker | Profile::Podman | Profile::CriO => CapSet::supported(),
            Profile::KubernetesBaseline => COMMON.with(Cap::MKNOD).with(Cap::AUDIT_WRITE),
            Profile::KubernetesRestricted => Cap::NET_BIND_SERVICE.into(),
        }
    }

    /// Returns whether the profile requires a non-root user and no_new_privs.
    pub const fn is_restricted(self) -> bool {
        matches!(self, Profile::KubernetesRestricted)
    }
}

/// Returns the capabilities of a container that has `given`, drops some and adds others, by
/// Docker's rules: one that drops `all` has those that it adds, and one that adds `all` has those
/// that it does not drop.
///
/// ```
/// use rcap::{Cap, CapSet, settings::{Profile, combine}};
///
/// let all = CapSet::NAMED;
/// assert_eq!(combine(Profile::Docker.given(), all, Cap::NET_RAW.into(), all), Cap::NET_RAW.into());
/// ```
pub fn combine(given: CapSet, drop: CapSet, add: CapSet, all: CapSet) -> CapSet {
    if drop.is_superset(all) {
        add
    } else if add.is_superset(all) {
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
        assert_eq!(Profile::CriO.given().len(), 9);
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
