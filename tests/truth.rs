//! The result of `rcap minimize`, compared with programs that have exactly these capabilities or
//! one less.

mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use common::{directory, program, ran};
use serde_json::Value;

tests! {
    Tracing ["setpriv install chgrp unshare ip su python3 dpkg dpkg-deb dpkg-split tar diff ldconfig start-stop-daemon"]:
        exactly_the_truth;
}

/// Cargo has programs look for their libraries in directories that other users may not enter, and
/// each would be refused that.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// A program, and what it needs to end well with these effects.
struct Case {
    name: &'static str,
    /// The files before it runs, in an empty directory.
    prepare: &'static str,
    script: &'static str,
    /// Prints what it has done.
    probe: &'static str,
    options: &'static [&'static str],
    needs: &'static [&'static str],
}

const CASE: Case =
    Case { name: "", prepare: "true", script: "", probe: "true", options: &[], needs: &[] };

/// Minimum and truth: what each program does with exactly these, and with each one less.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case {
        name: "install a set-user-ID file of another user",
        script: "install -o 1234 -g 555 -m 6755 /bin/true out", probe: "stat -c '%a %u %g' out",
        needs: &["chown", "fowner", "fsetid"], ..CASE
    },
    Case {
        name: "a set-group-ID directory of another group",
        script: "mkdir d; chgrp 555 d; chmod 2775 d", probe: "stat -c '%a %u %g' d",
        needs: &["chown", "fsetid"], ..CASE
    },
    Case {
        name: "write to a set-user-ID file",
        prepare: "touch f; chmod 4755 f", script: "printf x >> f", probe: "stat -c '%a %s' f",
        needs: &["fsetid"], ..CASE
    },
    Case {
        name: "the bits of a file whose mode stays",
        prepare: "touch f; chmod 2755 f; chown 0:5 f", script: "chmod 2755 f", probe: "stat -c '%a' f",
        needs: &["fsetid"], ..CASE
    },
    Case {
        name: "a package with a set-group-ID file",
        prepare: "mkdir -p p/DEBIAN p/usr/bin r/var/lib/dpkg/info r/var/lib/dpkg/updates; \
                  touch r/var/lib/dpkg/status r/var/lib/dpkg/available; \
                  printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: n <n@n>\nDescription: d\n' > p/DEBIAN/control; \
                  touch p/usr/bin/crontab; chown 0:42 p/usr/bin/crontab; chmod 2755 p/usr/bin/crontab; \
                  dpkg-deb --build p p.deb >/dev/null",
        script: "dpkg --root=$PWD/r -i p.deb", probe: "stat -c '%a %u %g' r/usr/bin/crontab",
        needs: &["chown", "fsetid"], ..CASE
    },
    Case {
        name: "the MTU of a network device",
        script: "ip link set lo mtu 65000; true", probe: "ip link show lo | grep -o 'mtu [0-9]*'",
        options: &["--net"], needs: &["net_admin"], ..CASE
    },
    Case {
        name: "an address, a route and a rule",
        script: "ip addr add 10.0.0.1/8 dev lo; ip route add 11.0.0.0/8 dev lo; ip rule add pref 7 table 7; true",
        probe: "ip addr show lo | grep 10.0.0.1; ip route; ip rule",
        options: &["--net"], needs: &["net_admin"], ..CASE
    },
    Case {
        name: "su, which falls back from SO_SNDBUFFORCE",
        script: "su nobody -s /bin/sh -c true", needs: &["setgid", "setuid"], ..CASE
    },
    Case {
        name: "a server that would rather have a mount namespace",
        script: "unshare -m true 2>/dev/null; touch f; chown 5 f", probe: "stat -c %u f",
        needs: &["chown"], ..CASE
    },
    Case {
        name: "a program that is found along PATH",
        script: "setpriv --reuid 1 --regid 1 --clear-groups true", needs: &["setgid", "setuid"], ..CASE
    },
    Case {
        name: "a user namespace with root in it",
        script: "unshare -r true", needs: &["setfcap"], ..CASE
    },
    Case {
        name: "an attribute that only root has",
        prepare: "touch a; python3 -c 'import os; os.setxattr(\"a\", \"trusted.x\", b\"1\")'",
        script: "cp -a a b; true",
        probe: "python3 -c 'import os; print(os.path.exists(\"b\"), os.listxattr(\"b\"))'",
        needs: &["sys_admin"], ..CASE
    },
    Case {
        name: "capabilities of a file",
        prepare: "cp /bin/true t",
        script: "python3 -c 'import os; os.setxattr(\"t\", \"security.capability\", bytes.fromhex(\"0100000200040000000000000000000000000000\"))' || true",
        probe: "python3 -c 'import os; print(os.listxattr(\"t\"))'",
        needs: &["setfcap"], ..CASE
    },
    Case {
        name: "an access control list of another's file",
        prepare: "touch f; chown 5 f",
        script: "python3 -c 'import os; os.setxattr(\"f\", \"system.posix_acl_access\", bytes.fromhex(\"0200000001000600ffffffff020007000700000004000400ffffffff10000700ffffffff20000400ffffffff\"))' || true",
        probe: "python3 -c 'import os; print(os.listxattr(\"f\"))'",
        needs: &["fowner"], ..CASE
    },
    Case {
        name: "a device, a FIFO and a link",
        script: "mknod n c 1 3; mkfifo p; ln -s /nowhere l; true", probe: "ls n p l; stat -c '%t %T' n",
        needs: &["mknod"], ..CASE
    },
    Case {
        name: "a removed directory of another user",
        prepare: "mkdir -p d/e; touch d/e/f; chown -R 5 d", script: "rm -r d/e 2>/dev/null; true",
        probe: "ls -R d", needs: &["dac_override"], ..CASE
    },
    Case {
        name: "a file that only another user may read",
        prepare: "touch f; chmod 600 f; chown 5 f", script: "cat f", needs: &["dac_read_search"], ..CASE
    },
    Case {
        name: "a file that a worker of io_uring opens",
        prepare: "touch f; chmod 600 f; chown 5 f", script: "python3 $URING f async",
        needs: &["dac_read_search"], ..CASE
    },
    Case {
        name: "a file that the polling thread of io_uring opens",
        prepare: "touch f; chmod 600 f; chown 5 f", script: "python3 $URING f poll",
        needs: &["dac_read_search"], ..CASE
    },
    Case {
        name: "a program that asks and does not need it",
        script: "nice -n -5 true 2>/dev/null; true", ..CASE
    },
    Case {
        name: "a directory that is replaced by a new one",
        prepare: "mkdir d; touch d/a d/b", script: "rm -r d; mkdir d; touch d/b; chown 7 d/b",
        probe: "ls d; stat -c %u d/b", needs: &["chown"], ..CASE
    },
];

/// An environment variable of the cases, and its value.
const ENVIRONMENT: (&str, &str) =
    ("URING", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/uring.py"));

fn shell(script: &str, dir: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(dir).stdin(Stdio::null()).env_remove(LIBRARIES);
    shell
}

/// Returns the result of a case with exactly these capabilities, in a separate directory and
/// network.
fn with_exactly(case: &Case, caps: Option<&[&str]>) -> String {
    let dir = directory();
    assert_eq!(ran(&mut shell(case.prepare, dir.path())).status, Some(0), "{}", case.name);
    let bounding = caps.map(|caps| {
        let caps: Vec<String> = caps.iter().map(|cap| format!(",+{cap}")).collect();
        let caps = caps.concat();
        format!("setpriv --bounding-set=-all{caps} --inh-caps=-all ")
    });
    let script = format!(
        "{}sh -c '{}'; echo $?; {}",
        bounding.unwrap_or_default(),
        case.script.replace('\'', r"'\''"),
        case.probe
    );
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script]).current_dir(dir.path()).stdin(Stdio::null());
    ran(command.envs([ENVIRONMENT]).env_remove(LIBRARIES)).out
}

fn exactly_the_truth() {
    for case in CASES {
        let with_all = with_exactly(case, None);
        assert_eq!(with_exactly(case, Some(case.needs)), with_all, "{}", case.name);
        for less in case.needs {
            let rest: Vec<&str> = case.needs.iter().filter(|cap| *cap != less).copied().collect();
            assert_ne!(with_exactly(case, Some(&rest)), with_all, "{} without {less}", case.name);
        }
        let dir = directory();
        assert_eq!(ran(&mut shell(case.prepare, dir.path())).status, Some(0), "{}", case.name);
        let before = ran(&mut shell("ls -lR", dir.path())).out;
        let mut command = program("rcap");
        command.args(["minimize", "--json"]).args(["--timeout", "10m"]).args(case.options);
        command.args(["--", "sh", "-c", case.script]).current_dir(dir.path());
        command.envs([ENVIRONMENT]);
        let ran_once = ran(command.stdin(Stdio::null()).env_remove(LIBRARIES));
        assert_eq!(ran_once.status, Some(0), "{}: {ran_once:?}", case.name);
        let object: Value = serde_json::from_str(&ran_once.out).unwrap();
        let want: Vec<String> = case.needs.iter().map(|cap| format!("cap_{cap}")).collect();
        let mut found: Vec<&str> =
            object["minimum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, want, "{}: {object}", case.name);
        assert_eq!(object["proved"], true);
        // Every run was thrown away.
        assert_eq!(ran(&mut shell("ls -lR", dir.path())).out, before, "{}", case.name);
    }
}
