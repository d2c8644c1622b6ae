//! The rules of findings: each has a stable id and an explanation.

/// One kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// A stable id, such as `file-interpreter`.
    pub id: &'static str,
    /// One line that names the fault.
    pub title: &'static str,
    /// Why that matters, and when it does not.
    pub explanation: &'static str,
    /// A way to remove the fault.
    pub fix: &'static str,
}

impl Rule {
    /// Returns the rule with this id.
    ///
    /// ```
    /// use rcap::scan::Rule;
    ///
    /// assert_eq!(Rule::by_id("file-interpreter").unwrap().id, "file-interpreter");
    /// assert_eq!(Rule::by_id("file-nothing"), None);
    /// ```
    pub fn by_id(id: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.id == id)
    }
}

macro_rules! rules {
    ($($name:ident $id:literal: $title:literal, $explanation:literal, $fix:literal;)*) => {
        $(pub(super) const $name: Rule =
            Rule { id: $id, title: $title, explanation: $explanation, fix: $fix };)*

        /// Every rule.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    FILE_INTERPRETER "file-interpreter":
        "A program that does what its caller says has capabilities",
        "A shell, an interpreter, a debugger, an archiver or an editor does whatever its caller \
         tells it. A capability or a set-user-ID bit on its file is therefore given to every user \
         who may execute it, for any purpose.",
        "Take it away (setcap -r FILE, chmod u-s FILE), and give the capability to the one script \
         that needs it: AmbientCapabilities= in its unit, rcap run --user, or a small launcher.";
    FILE_ROOT_EQUIVALENT "file-root-equivalent":
        "Everyone may execute a file that is worth root",
        "Whoever executes the file holds capabilities from which a way leads to root, or to every \
         secret. If the program can be made to do what its caller wants, the caller is root.",
        "Give it less (rcap trace says what it uses), or let one group alone execute it \
         (chgrp GROUP FILE, then chmod o-x FILE).";
    FILE_WRITABLE "file-writable":
        "Others can change a file with capabilities or a set-user-ID bit",
        "Whoever can write the file, or a directory that leads to it, can replace the program that \
         others trust. Writing to the file itself takes its capabilities and its set-user-ID bit \
         away, so that a writer does not get them, but takes them from everybody else.",
        "Make root the owner of the file and of every directory that leads to it, and let nobody \
         else write them (chown root, chmod go-w).";
    FILE_MODIFIED "file-modified":
        "A privileged file differs from its package",
        "The package database has another checksum, mode or owner for the file. Somebody replaced \
         or changed a program that runs with privileges.",
        "Find out who changed it, and install the package again.";
    FILE_UNPACKAGED "file-unpackaged":
        "A privileged file belongs to no package",
        "No package brings the file, so that no update mends it and no database knows what it \
         should be.",
        "Install it from a package, or put it on the list of known files with a reason.";
    FILE_UNUSABLE "file-unusable":
        "The privileges of a file cannot take effect",
        "On a mount with the option nosuid, and on a script, the kernel ignores capabilities and \
         set-user-ID bits. If the effective bit is set and the bounding set lacks a capability of \
         the file, execve(2) fails with EPERM.",
        "Remove the capabilities (setcap -r FILE), or move the program to another file system; \
         give a script's capabilities to the process (rcap run, AmbientCapabilities=).";
    FILE_MALFORMED "file-malformed":
        "The kernel does not accept the capabilities of a file",
        "execve(2) fails with EINVAL for the file.",
        "Set the capabilities anew with setcap, or remove them with setcap -r.";
    FILE_FOREIGN_ROOTID "file-foreign-rootid":
        "The root id of a file's capabilities belongs to nobody",
        "The capabilities count only in a user namespace whose root has this id outside. No \
         process is in such a namespace, and no range in /etc/subuid has the id.",
        "Remove the capabilities (setcap -r FILE), or set them for the right root id (setcap -n).";
    FILE_LOST "file-lost":
        "A file lacks capabilities that its package's script gives it",
        "cp, rsync, tar and COPY in a Dockerfile leave capabilities behind unless they are told \
         not to, and so does an extraction without CAP_SETFCAP. The program then fails, or runs \
         set-user-ID instead.",
        "Set them again as the package does, or install the package again.";
    PROCESS_ROOT_EQUIVALENT "process-root-equivalent":
        "A non-root process has capabilities that are worth root",
        "The process runs as another user than root, but holds capabilities from which a way leads \
         to root. Who takes it over is root.",
        "Give it less: rcap trace --pid PID says what it uses.";
    PROCESS_AMBIENT_SHELL "process-ambient-shell":
        "A shell has ambient capabilities",
        "Ambient capabilities pass to every program that the shell starts, and to those that these \
         start. Whatever is typed there runs with them.",
        "Give the capabilities to the one program that needs them (rcap run), and not to a login \
         or a shell.";
    PROCESS_WRITABLE_PROGRAM "process-writable-program":
        "Others can replace the program of a privileged process",
        "When the process is started the next time, it runs what was put in the place of its \
         program, with the same capabilities.",
        "Make root the owner of the program and of every directory that leads to it, and let \
         nobody else write them.";
    SOCKET_EXCESS "socket-excess":
        "A listening service has more than CAP_NET_BIND_SERVICE",
        "Whoever finds a mistake in the service gets its capabilities over the network. A service \
         that listens needs at most CAP_NET_BIND_SERVICE for that, and often nothing, if systemd \
         opens the socket.",
        "Run it as another user with what it uses alone: rcap trace --pid PID measures that.";
    CONTAINER_PRIVILEGED "container-privileged":
        "A container has every capability of the machine",
        "It was started with --privileged or the like. Root in it is root of the machine.",
        "Start it with the capabilities that it uses: rcap trace --container measures them.";
    CONTAINER_EXTRA "container-extra":
        "A container has more than the default capabilities",
        "The default set of Docker reaches only what is in the container. The added capabilities \
         reach the kernel or other processes, from which a way leads out of the container.",
        "Take out of cap_add what is not used: rcap trace --container measures that.";
    UNIT_UNUSED "unit-unused":
        "A unit or a container did not use its capabilities",
        "The saved reports of rcap trace show no use of these capabilities. A start, a reload, a \
         rotation of logs and an error need different ones: trace these too.",
        "Leave them out: rcap export --from REPORT writes the settings.";
    IMAGE_UNUSABLE "image-unusable":
        "A file demands more than a container has by default",
        "The file has the effective bit, and the default bounding set lacks a capability of the \
         file: exec fails with \"operation not permitted\".",
        "Start the container with --cap-add, or leave the capability out of the file.";
    IMAGE_SET_ID "image-set-id":
        "An image has a set-user-ID or set-group-ID file",
        "A process of another user can become root of the container with it, unless \
         no-new-privileges is set. Few images need one.",
        "Remove the bit in the image (chmod a-s FILE).";
    IMAGE_LOST "image-lost":
        "A file lost its capabilities in a later layer",
        "A later layer has the same file without the capabilities: chown, cp, COPY --from or an \
         upgrade took them away.",
        "Run setcap in the last layer that changes the file.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_words_and_differ() {
        let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            assert!(rule.id.len() + rule.title.len() <= 78, "{}", rule.id);
            assert!(rule.id.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()));
            for text in [rule.title, rule.explanation, rule.fix] {
                assert!(!text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                assert!(!text.contains("  "), "{text}");
            }
        }
    }
}
