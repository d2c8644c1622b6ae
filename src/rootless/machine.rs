//! The files of the machine that the user of a service may own: none by which the user could become
//! root, and none of another program.

use std::path::Path;

use super::rules::{Account, Found};

/// The beginnings of paths that only root owns, because another owner could become root or stop
/// others from working.
const OF_ROOT: [&str; 93] = [
    "/bin",
    "/boot",
    "/etc/NetworkManager",
    "/etc/apparmor",
    "/etc/apt",
    "/etc/audit",
    "/etc/bash",
    "/etc/binfmt",
    "/etc/cron",
    "/etc/crypttab",
    "/etc/dbus",
    "/etc/default",
    "/etc/doas",
    "/etc/docker",
    "/etc/dpkg",
    "/etc/environment",
    "/etc/fstab",
    "/etc/group",
    "/etc/grub",
    "/etc/gshadow",
    "/etc/init",
    "/etc/kernel",
    "/etc/ld.so",
    "/etc/libvirt",
    "/etc/login",
    "/etc/logrotate",
    "/etc/modprobe",
    "/etc/modules",
    "/etc/network",
    "/etc/nologin",
    "/etc/nsswitch",
    "/etc/openvpn",
    "/etc/pam",
    "/etc/passwd",
    "/etc/polkit",
    "/etc/ppp",
    "/etc/profile",
    "/etc/rc.local",
    "/etc/security",
    "/etc/selinux",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sub",
    "/etc/sudo",
    "/etc/sysctl",
    "/etc/systemd",
    "/etc/sysusers",
    "/etc/tmpfiles",
    "/etc/udev",
    "/etc/wireguard",
    "/etc/xinetd",
    "/lib",
    "/root",
    "/run/containerd",
    "/run/credentials",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/host",
    "/run/init",
    "/run/lock",
    "/run/log",
    "/run/modprobe",
    "/run/motd",
    "/run/mount",
    "/run/netns",
    "/run/nologin",
    "/run/podman",
    "/run/polkit",
    "/run/sudo",
    "/run/sysctl",
    "/run/systemd",
    "/run/tmpfiles",
    "/run/udev",
    "/run/user",
    "/run/utmp",
    "/sbin",
    "/usr",
    "/var/lib/apt",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/kubelet",
    "/var/lib/libvirt",
    "/var/lib/lx",
    "/var/lib/pam",
    "/var/lib/private",
    "/var/lib/rcap",
    "/var/lib/snapd",
    "/var/lib/systemd",
    "/var/log/journal",
    "/var/spool/cron",
];

/// Directories whose entries are the data of single programs.
const DATA: [&str; 7] =
    ["/opt", "/srv", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/www"];

/// Groups whose members can become root.
const GROUPS_OF_ROOT: [&str; 17] = [
    "admin",
    "disk",
    "docker",
    "incus",
    "incus-admin",
    "kmem",
    "libvirt",
    "lxc",
    "lxd",
    "microk8s",
    "podman",
    "root",
    "shadow",
    "src",
    "staff",
    "sudo",
    "wheel",
];

/// The files of the machine, as they are now.
pub(super) struct Machine<'a> {
    pub(super) find: &'a dyn Fn(&Path) -> Option<Found>,
    pub(super) account: &'a Account,
    /// The name of the unit.
    pub(super) unit: &'a str,
}

impl Machine<'_> {
    /// Returns whether the user may own a file or directory that exists.
    pub(super) fn may_own(&self, path: &Path) -> bool {
        let Some(found) = (self.find)(path) else { return false };
        let is_program = !found.is_directory && found.mode & 0o111 != 0;
        // A file of /etc that every user can read is a setting, and programs of root obey it.
        let is_secret = !found.is_directory && found.mode & 0o004 == 0;
        let is_of_service = DATA.iter().any(|data| is_below(path, data))
            || is_secret && is_below(path, "/etc")
            || self.is_named_in_etc(path);
        is_of_service && !is_program && self.is_free(&found) && self.is_safe(path)
    }

    /// Returns whether the user may own a file or directory that is created, or that exists in /run
    /// whenever the service has run.
    pub(super) fn may_create(&self, path: &Path) -> bool {
        let is_runtime = is_below(path, "/run");
        let is_data = || DATA.iter().any(|data| is_below(path, data));
        let is_of_service = (self.find)(path).map_or_else(
            || is_runtime || is_data() || self.is_named_in_etc(path),
            |found| is_runtime && self.is_named(path) && self.is_free(&found),
        );
        is_of_service && self.is_safe(path)
    }

    /// Returns whether a file is of no other user, and no other user may write to it.
    fn is_free(&self, found: &Found) -> bool {
        [0, self.account.uid].contains(&found.owner) && found.mode & 0o002 == 0
    }

    /// Returns whether a path leads to the same file until root changes that, and to none of root's.
    fn is_safe(&self, path: &Path) -> bool {
        // The number of a dynamic user is another one's when the service has stopped.
        self.account.name.is_some() && !is_of_root(path) && self.is_fixed(path)
    }

    fn is_fixed(&self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|above| {
            let is_writable = |found: &Found| {
                found.mode & 0o002 != 0 || found.mode & 0o020 != 0 && found.group != 0
            };
            (self.find)(above).is_some_and(|found| found.owner == 0 && !is_writable(&found))
        })
    }

    /// Returns whether a path is below a directory of /etc with the name of the unit.
    fn is_named_in_etc(&self, path: &Path) -> bool {
        let name = path.strip_prefix("/etc").ok().and_then(|inner| inner.iter().next());
        name.is_some_and(|name| name == stem(self.unit))
    }

    /// Returns whether a file has the name of the unit, such as `rsyslogd.pid` and `rsyslog.service`.
    fn is_named(&self, path: &Path) -> bool {
        const SHORTEST: usize = 3;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = [stem(&name), stem(self.unit)];
        let shortest = names.iter().map(|name| name.len()).min().unwrap_or_default();
        shortest >= SHORTEST && (names[0].starts_with(names[1]) || names[1].starts_with(names[0]))
    }
}

fn is_below(path: &Path, directory: &str) -> bool {
    path != Path::new(directory) && path.starts_with(directory)
}

/// Returns a name up to its suffix or its instance.
fn stem(name: &str) -> &str {
    name.split(['.', '@']).next().unwrap_or(name)
}

fn is_of_root(path: &Path) -> bool {
    let path = path.to_string_lossy();
    OF_ROOT.iter().any(|begin| path.starts_with(begin))
}

/// Returns whether a member of a group can become root.
pub(super) fn is_group_of_root(name: &str) -> bool {
    GROUPS_OF_ROOT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path, the owner, the group and the mode, with the type of a directory.
    #[rustfmt::skip]
    const FILES: [(&str, u32, u32, u32); 43] = [
        ("/",                        0,  0, 0o40755),
        ("/etc",                     0,  0, 0o40755),
        ("/etc/key",                 0,  0, 0o100_600),
        ("/etc/key-of-7",            7,  7, 0o100_600),
        ("/etc/setting",             0,  0, 0o100_644),
        ("/etc/script",              0,  0, 0o100_700),
        ("/etc/crypttab",            0,  0, 0o100_600),
        ("/etc/sysctl.d",            0,  0, 0o40755),
        ("/etc/other",               0,  0, 0o40700),
        ("/etc/web",                 0,  0, 0o40700),
        ("/etc/web/setting",         0,  0, 0o100_644),
        ("/home",                    0,  0, 0o40755),
        ("/home/alice",              7,  7, 0o40700),
        ("/opt",                     0,  0, 0o40755),
        ("/opt/tool",                0,  0, 0o100_755),
        ("/run",                     0,  0, 0o40755),
        ("/run/dbus",                0,  0, 0o40755),
        ("/run/lock",                0,  0, 0o41777),
        ("/run/other",               0,  0, 0o40755),
        ("/run/systemd",             0,  0, 0o40755),
        ("/run/webd.pid",            0,  0, 0o100_644),
        ("/run/web",                33, 33, 0o40755),
        ("/run/web-7",               7,  7, 0o40755),
        ("/srv",                     0,  0, 0o40755),
        ("/srv/all",                 0,  0, 0o40777),
        ("/srv/all/x",               0,  0, 0o100_644),
        ("/srv/of-33",              33, 33, 0o40755),
        ("/srv/of-33/x",             0,  0, 0o100_600),
        ("/srv/of-7",                7,  7, 0o40755),
        ("/srv/of-7/x",              0,  0, 0o100_600),
        ("/srv/of-group",            0, 50, 0o42775),
        ("/srv/of-group/x",          0,  0, 0o100_600),
        ("/srv/of-root",             0,  0, 0o40775),
        ("/srv/of-root/x",           0,  0, 0o100_600),
        ("/tmp",                     0,  0, 0o41777),
        ("/usr",                     0,  0, 0o40755),
        ("/usr/local",               0,  0, 0o40755),
        ("/var",                     0,  0, 0o40755),
        ("/var/lib",                 0,  0, 0o40755),
        ("/var/lib/app",             0,  0, 0o40700),
        ("/var/lib/mysql",           7,  7, 0o40700),
        ("/var/lib/private",         0,  0, 0o40700),
        ("/var/lib/dpkg",            0,  0, 0o40755),
    ];

    fn find(path: &Path) -> Option<Found> {
        let (_, owner, group, mode) =
            FILES.into_iter().find(|(name, ..)| path == Path::new(name))?;
        let is_directory = mode & 0o40000 != 0;
        Some(Found { is_directory, owner, group, mode: mode & 0o7777 })
    }

    fn with_machine<T>(name: Option<&str>, of: impl FnOnce(&Machine<'_>) -> T) -> T {
        let account = Account { name: name.map(str::to_owned), uid: 33, gid: 33 };
        of(&Machine { find: &find, account: &account, unit: "web@a.service" })
    }

    #[test]
    fn files_that_may_be_owned() {
        let owned = ["/etc/key", "/etc/web", "/etc/web/setting", "/srv/of-33", "/srv/of-root"];
        let owned = [&owned[..], &["/srv/of-root/x", "/var/lib/app", "/srv/of-group"]].concat();
        for (path, ..) in FILES {
            let may = with_machine(Some("web"), |machine| machine.may_own(Path::new(path)));
            assert_eq!(may, owned.contains(&path), "{path}");
            assert!(!with_machine(None, |machine| machine.may_own(Path::new(path))), "{path}");
        }
        assert!(!with_machine(Some("web"), |machine| machine.may_own(Path::new("/srv/none"))));
    }

    #[test]
    fn files_that_may_be_created() {
        #[rustfmt::skip]
        let rows = [
            ("/run/new",           true),
            ("/run/web",           true),
            ("/run/webd.pid",      true),
            ("/run/web-7",         false),
            ("/run/other",         false),
            ("/run/dbus",          false),
            ("/run/systemd",       false),
            ("/run/systemd/new",   false),
            ("/run/lock",          false),
            ("/run/lock/new",      false),
            ("/run/nologin",       false),
            ("/run",               false),
            ("/var/lib/new",       true),
            ("/var/lib/app",       false),
            ("/var/lib/mysql/new", false),
            ("/var/lib/dpkg/new",  false),
            ("/srv/new",           true),
            ("/srv/all/new",       false),
            ("/srv/of-7/new",      false),
            ("/etc/new",           false),
            ("/etc/web/new",       true),
            ("/etc/nologin",       false),
            ("/home/new",          false),
            ("/tmp/new",           false),
            ("/usr/local/new",     false),
            ("/new",               false),
        ];
        for (path, want) in rows {
            let path = Path::new(path);
            let may = with_machine(Some("web"), |machine| machine.may_create(path));
            assert_eq!(may, want, "{path:?}");
            assert!(!with_machine(None, |machine| machine.may_create(path)), "{path:?}");
        }
    }

    #[test]
    fn names_of_a_unit() {
        #[rustfmt::skip]
        let rows = [
            ("rsyslogd.pid", "rsyslog.service",            true),
            ("redis",        "redis-server.service",       true),
            ("postgresql",   "postgresql@15-main.service", true),
            ("nginx.pid",    "nginx.service",              true),
            ("php",          "php8.2-fpm.service",         true),
            ("docker.sock",  "web.service",                false),
            ("db",           "dbus.service",               false),
            ("",             "a.service",                  false),
        ];
        let account = Account { name: None, uid: 33, gid: 33 };
        for (name, unit, want) in rows {
            let machine = Machine { find: &find, account: &account, unit };
            assert_eq!(machine.is_named(&Path::new("/run").join(name)), want, "{name} {unit}");
        }
    }
}
