//! `rcap minimize` and `rcap verify` of the bundles of OCI runtimes, compared with containers
//! started by hand.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{Ran, directory, docker::root_file_system, program, ran, wait_until};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

tests! {
    Tracing ["busybox find runc"]:
        minimum_of_runc,
        the_settings_of_a_bundle,
        a_server_without_a_health_check,
        nothing_is_left_of_a_killed_run;
    Tracing ["busybox crun mount umount"]:
        minimum_of_crun;
}

/// A bundle, and the command line of its runtime.
struct Bundle {
    directory: PathBuf,
    runtime: Vec<String>,
}

impl Bundle {
    fn new(directory: &Path, runtime: &[&str]) -> Bundle {
        let root = root_file_system(directory);
        fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        let state = directory.join("state").to_str().unwrap().to_owned();
        let words = [runtime, &["--root", &state]].concat();
        let runtime = words.into_iter().map(str::to_owned).collect();
        Bundle { directory: directory.to_owned(), runtime }
    }

    /// Writes the configuration of a user with these capabilities, who runs a script.
    fn write(&self, uid: u32, caps: &[&str], script: &str) {
        let ambient = if uid == 0 { &[][..] } else { caps };
        let namespaces = ["pid", "network", "ipc", "uts", "mount"];
        let configuration = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": uid},
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": caps, "permitted": caps, "effective": caps,
                    "inheritable": ambient, "ambient": ambient,
                },
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data", "type": "none", "source": "data", "options": ["bind"]},
            ],
            "linux": {
                "cgroupsPath": "/rcap-test-of-bundles",
                "namespaces": namespaces.map(|kind| json!({"type": kind})),
            },
        });
        fs::create_dir_all(self.directory.join("data")).unwrap();
        fs::write(self.directory.join("config.json"), configuration.to_string()).unwrap();
    }

    fn words<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let runtime = self.runtime.iter().map(String::as_str);
        runtime.chain(["run"]).chain(rest.iter().copied()).collect()
    }

    fn rcap(&self, args: &[&str], run: &[&str]) -> Ran {
        let mut command = program("rcap");
        command.args(args).arg("--").args(self.words(run)).current_dir(&self.directory);
        ran(&mut command)
    }

    fn minimum(&self, args: &[&str], run: &[&str]) -> Vec<String> {
        let found = self.rcap(&[&["minimize", "--json"], args].concat(), run);
        assert_eq!(found.status, Some(0), "{found:?}");
        let found: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(found["proved"], true, "{found}");
        let names = found["minimum"].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Runs the script by hand with these capabilities, and returns whether it succeeds.
    fn passes(&self, uid: u32, caps: &[&str], script: &str) -> bool {
        self.write(uid, caps, script);
        let words = self.words(&["by-hand"]);
        let ended = ran(Command::new(words[0]).args(&words[1..]).current_dir(&self.directory));
        for place in ["rootfs/tmp", "data"] {
            for entry in fs::read_dir(self.directory.join(place)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                    .unwrap();
            }
        }
        ended.status == Some(0)
    }

    /// The sets that rcap finds suffice, and no set with one less.
    fn compare(&self) {
        let script = "touch /tmp/f && chown 5 /tmp/f && touch /tmp/f && mkdir /data/d && \
                      chown 7 /data/d && touch /data/d/f";
        for uid in [0, 1000] {
            let place = if uid == 0 { "/data" } else { "/tmp" };
            let script = script.replace("/data", place);
            self.write(uid, &[], &script);
            let found = self.minimum(&[], &["one"]);
            assert_eq!(found, ["cap_chown", "cap_dac_override"], "{uid}");
            assert!(self.passes(uid, &["CAP_CHOWN", "CAP_DAC_OVERRIDE"], &script));
            assert!(!self.passes(uid, &["CAP_CHOWN"], &script));
            assert!(!self.passes(uid, &["CAP_DAC_OVERRIDE"], &script));
        }
        // Only an effect shows that the capability is missing, in a directory of the machine.
        self.write(0, &["CAP_KILL"], "touch /data/f; chown 5 /data/f; exit 0");
        assert_eq!(self.minimum(&[], &["one"]), ["cap_chown"]);
        assert!(fs::read_dir(self.directory.join("data")).unwrap().next().is_none());
        // The sets of the container's process are those of the answer.
        self.write(1000, &[], "grep ^Cap /proc/self/status; touch /tmp/f && chown 5 /tmp/f");
        let found = self.rcap(&["minimize"], &["one"]);
        let (_, answer) = found.out.split_once("by:\n").unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["ambient"], json!(["CAP_CHOWN"]), "{found:?}");
        assert!(found.err.contains("user 1000 gets the capabilities as ambient ones"), "{found:?}");
    }
}

/// Control groups of containers that rcap has started.
fn groups(pid: u32) -> usize {
    let name = format!("rcap-{pid}-*");
    ran(Command::new("find").args(["/sys/fs/cgroup", "-name", &name])).out.lines().count()
}

fn minimum_of_runc() {
    let dir = directory();
    Bundle::new(dir.path(), &["runc"]).compare();
}

/// crun requires the unified hierarchy alone.
fn minimum_of_crun() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let script = "mount --make-rprivate / && umount -R /sys/fs/cgroup && \
                  mount -t cgroup2 none /sys/fs/cgroup";
    assert_eq!(ran(Command::new("sh").args(["-c", script])).status, Some(0));
    let dir = directory();
    Bundle::new(dir.path(), &["crun", "--cgroup-manager=disabled"]).compare();
}

fn the_settings_of_a_bundle() {
    let dir = directory();
    let bundle = Bundle::new(dir.path(), &["runc"]);
    let script = "touch /tmp/f; chown 5 /tmp/f";
    for (caps, status, words) in [
        (&["CAP_CHOWN"][..], 0, "It works with cap_chown"),
        (&[], 1, "Missing: cap_chown"),
        (&["CAP_CHOWN", "CAP_KILL"], 1, "Superfluous: cap_kill"),
    ] {
        bundle.write(0, caps, script);
        let verified = bundle.rcap(&["verify"], &["one"]);
        assert_eq!(verified.status, Some(status), "{verified:?}");
        assert!(verified.out.contains(words), "{verified:?}");
    }
    // A configuration that the runtime refuses is not the answer no.
    fs::write(dir.path().join("config.json"), "{").unwrap();
    let refused = bundle.rcap(&["verify"], &["one"]);
    assert_eq!(refused.status, Some(125), "{refused:?}");
    assert!(refused.err.contains("config.json"), "{refused:?}");
}

fn a_server_without_a_health_check() {
    let dir = directory();
    let bundle = Bundle::new(dir.path(), &["runc"]);
    bundle.write(0, &[], "touch /tmp/ready; chown 5 /tmp/ready || exit 1; sleep 1000");
    let run = ["--detach", "--pid-file", "pid", "--bundle", dir.path().to_str().unwrap(), "one"];
    let refused = bundle.rcap(&["minimize"], &run);
    assert_eq!(refused.status, Some(125), "{refused:?}");
    let check = ["--check-in", "test -e /tmp/ready"];
    assert_eq!(bundle.minimum(&check, &run), ["cap_chown"]);
    assert!(!dir.path().join("pid").exists() && !dir.path().join("rootfs/tmp/ready").exists());
}

fn nothing_is_left_of_a_killed_run() {
    let dir = directory();
    let bundle = Bundle::new(dir.path(), &["runc"]);
    bundle.write(0, &[], "sleep 1000");
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut rcap = program("rcap");
        rcap.args(["minimize", "--"]).args(bundle.words(&["one"])).current_dir(dir.path());
        let mut child = rcap.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until(|| groups(child.id()) > 0);
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
        } else {
            assert_ne!(groups(child.id()), 0);
            bundle.write(0, &[], "cat /bin/sh");
            assert_eq!(bundle.minimum(&[], &["one"]), [""; 0]);
        }
        assert_eq!(groups(child.id()), 0);
    }
    assert!(!dir.path().join("state").exists());
}
