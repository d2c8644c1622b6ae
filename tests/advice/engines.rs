//! Fixes of the settings of services and containers, applied to them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use rcap::Cap;
use serde_json::json;

use super::{
    common::{self, directory, docker, ran, sets::Sets, systemd::Manager, wait_for},
    copy, fix, has, setcap, words,
};

/// In a container of runc.
pub(crate) fn with_runc() {
    let dir = directory();
    let root = docker::root_file_system(dir.path());
    let config = |caps: &[&str]| {
        let set = json!(caps);
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 1000, "gid": 1000}, "cwd": "/", "args": ["/bin/grep", "CapEff", "/proc/self/status"],
                "env": ["PATH=/bin"], "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"], "effective": ["CAP_NET_RAW"],
                    "inheritable": set, "ambient": set},
            },
            "root": {"path": root}, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        })
    };
    let path = copy(dir.path(), "ping", "");
    let file = dir.path().join("config.json");
    fs::write(&file, config(&[]).to_string()).unwrap();
    let source = file.display().to_string();
    assert!(!has(&["--from", &source, &path], "cap_net_raw"));
    assert_eq!(fix(&["--from", &source, &path]), "\"CAP_NET_RAW\"");
    fs::write(&file, config(&["CAP_NET_RAW"]).to_string()).unwrap();
    assert!(has(&["--from", &source, &path], "cap_net_raw"));
    let id = format!("rcap-test-{}", std::process::id());
    let mut runc = Command::new("runc");
    runc.args(["--root", dir.path().join("state").to_str().unwrap(), "run", "--bundle"])
        .arg(dir.path())
        .arg(&id);
    let ran = ran(runc.stdin(Stdio::null()));
    assert!(ran.out.contains("0000000000002000"), "{ran:?}");
}

/// Services that systemd starts, before and after the fix, which stands in the place of `@`: the
/// program, the settings, and the capability that is missing.
#[rustfmt::skip]
const SERVICES: &[(&str, &str, Cap)] = &[
    ("plain",  "User=nobody\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n@", Cap::NET_BIND_SERVICE),
    ("plain",  "User=nobody\nCapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_NET_RAW CAP_CHOWN\n@", Cap::NET_RAW),
    ("sudo",   "User=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n@",          Cap::SETUID),
    ("raw",    "User=nobody\nNoNewPrivileges=yes\n@",                        Cap::NET_RAW),
    ("raw",    "User=nobody\nCapabilityBoundingSet=CAP_CHOWN\n@",            Cap::NET_RAW),
    ("raw",    "CapabilityBoundingSet=CAP_CHOWN\n@",                          Cap::NET_RAW),
    ("script", "User=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n@",          Cap::NET_RAW),
    ("plain",  "SecureBits=noroot\nCapabilityBoundingSet=CAP_NET_RAW\n@",    Cap::NET_RAW),
];

pub(crate) fn with_systemd() {
    let dir = directory();
    let plain = copy(dir.path(), "plain", "");
    copy(dir.path(), "raw", "cap_net_raw=ep");
    let sudo = copy(dir.path(), "sudo", "");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = dir.path().join("script");
    fs::write(&script, format!("#!/bin/sh\nexec {plain} \"$@\"\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let version = ran(Command::new("systemctl").arg("--version")).out;
    let engine = format!("systemd@{}", version.split([' ', '.', '~']).nth(1).unwrap());
    let mut units = Vec::new();
    for (nth, (name, settings, _)) in SERVICES.iter().enumerate() {
        let program = dir.path().join(name).display().to_string();
        let file = dir.path().join(format!("{nth}.service")).display().to_string();
        fs::write(&file, format!("[Service]\n{}\n", settings.replace('@', ""))).unwrap();
        let found = fix(&["--from", &file, "--engine", &engine, &program]);
        for (stage, fix) in [("before", ""), ("after", &*found)] {
            let unit = format!("{stage}{nth}.service");
            let text = format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=truncate:{}\n\
                 StandardError=null\n{}\nExecStart={program} /proc/self/status\n",
                dir.path().join("out").join(&unit).display(),
                settings.replace('@', fix),
            );
            units.push((unit, text));
        }
    }
    let names: Vec<String> = units.iter().map(|(name, _)| name.clone()).collect();
    let manager = Manager::start(dir.path(), &units, &names);
    for (nth, (_, settings, cap)) in SERVICES.iter().enumerate() {
        let has = |stage: &str| {
            let output = manager.output(&format!("{stage}{nth}.service"));
            Sets::of_status(&output).is_some_and(|sets| sets.effective.contains(*cap))
        };
        let (_, after) = &units[2 * nth + 1];
        assert_eq!((has("before"), has("after")), (false, true), "{settings}: {after}");
    }
}

/// Containers of Podman: the program's file demands what they do not have, so exec fails; and a
/// user's own capability, of which there is nothing to fix.
pub(crate) fn with_podman() {
    let dir = directory();
    let root = docker::root_file_system(dir.path());
    setcap("cap_net_raw=ep", root.join("bin/busybox").to_str().unwrap());
    let program = copy(dir.path(), "raw", "cap_net_raw=ep");
    let line = "podman run --user 1000";
    let found = fix(&["--from", &format!("{line} img"), &program]);
    let plain = copy(dir.path(), "plain", "");
    assert!(has(
        &["--from", "podman run --user 1000 --cap-add net_raw img", &plain],
        "cap_net_raw"
    ));
    let script = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; dir=$0\n\
        podman() { command podman --root $dir/store --runroot $dir/run --storage-driver vfs \
        --cgroup-manager cgroupfs --runtime crun \"$@\"; }\n\
        tar -C $dir/rootfs --xattrs --xattrs-include='*' -c . | podman import - rcap-test:1 >/dev/null 2>&1\n\
        for fix in '' $FIX; do podman run --rm --network none --cgroups=disabled --user 1000 \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 $fix localhost/rcap-test:1 \
        cat /proc/self/status 2>&1 || true; echo ====; done";
    let ran = ran(Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(dir.path())
        .env("FIX", &found)
        .stdin(Stdio::null()));
    let (before, after) = ran.out.split_once("====\n").unwrap_or_else(|| panic!("{ran:?}"));
    assert!(before.to_lowercase().contains("operation not permitted"), "{ran:?}");
    let after = Sets::of_status(after).unwrap_or_else(|| panic!("{found}: {ran:?}"));
    assert!(after.effective.contains(Cap::NET_RAW), "{found}: {ran:?}");
}

/// The same with Compose.
pub(crate) fn with_compose() {
    let dir = directory();
    let root = docker::root_file_system(dir.path());
    setcap("cap_net_raw=ep", root.join("bin/busybox").to_str().unwrap());
    let daemon = docker::Daemon::start(dir.path(), &root);
    let script = "tar -C \"$0\" --xattrs --xattrs-include='*' -c . | docker import - rcap-test:2";
    let import = ran(daemon.client("sh").args(["-c", script]).arg(&root));
    assert_eq!(import.status, Some(0), "{import:?}");
    let program = copy(dir.path(), "raw", "cap_net_raw=ep");
    let path = dir.path().join("compose.yaml").display().to_string();
    let up = |fix: &str| {
        let text = format!(
            "services:\n  web:\n    image: rcap-test:2\n    container_name: web\n    network_mode: none\n    \
             command: [cat, /proc/self/status]\n    cap_drop: [ALL]\n    {fix}\n"
        );
        fs::write(&path, text).unwrap();
        let up = ran(daemon.client("docker-compose").args(["-f", &path, "up", "-d"]));
        daemon.docker(&["wait", "web"]);
        (up, daemon.docker(&["logs", "web"]))
    };
    let (before, log) = up("");
    let words = [before.err, log.err].concat();
    assert!(words.contains("operation not permitted"), "{words}");
    let found = fix(&["--from", &path, &program]);
    let (after, log) = up(&found);
    let sets = Sets::of_status(&log.out).unwrap_or_else(|| panic!("{found}: {after:?}"));
    assert!(sets.effective.contains(Cap::NET_RAW), "{found}: {after:?} {log:?}");
}

/// With a daemon: the file of the image gets what why says.
pub(crate) fn with_docker() {
    let dir = directory();
    let root = docker::root_file_system(dir.path());
    let daemon = docker::Daemon::start(dir.path(), &root);
    let run =
        ["run", "--rm", "--network=none", "--user=1000", "--cap-drop=ALL", "--cap-add=NET_RAW"];
    let line = format!("docker {}", run.join(" "));
    let status = |image: &str| {
        daemon.docker(&[&run[..], &[image, "/bin/grep", "CapEff", "/proc/self/status"]].concat())
    };
    assert!(status("rcap-test:1").out.contains("0000000000000000"));
    let program = copy(dir.path(), "cat", "");
    let found = fix(&["--from", &format!("{line} img"), &program]);
    let caps = found.split(' ').nth(1).unwrap().to_owned();
    setcap(&caps, root.join("bin/busybox").to_str().unwrap());
    let script = "tar -C \"$0\" --xattrs --xattrs-include='*' -c . | docker import - rcap-test:2";
    let import = ran(daemon.client("sh").args(["-c", script]).arg(&root));
    assert_eq!(import.status, Some(0), "{import:?}");
    let after = status("rcap-test:2");
    assert!(after.out.contains("0000000000002000"), "{after:?}");
    // The file demands what the container does not have: exec fails, until the fix is added.
    let bare = ["run", "--rm", "--network=none", "--cap-drop=ALL"];
    let refused =
        daemon.docker(&[&bare[..], &["rcap-test:2", "/bin/cat", "/proc/self/status"]].concat());
    assert!(refused.err.contains("operation not permitted"), "{refused:?}");
    setcap(&caps, &program);
    let found = fix(&["--from", &format!("docker {} img", bare.join(" ")), &program]);
    let ran = daemon.docker(
        &[&bare[..], &[&*found, "rcap-test:2", "/bin/grep", "CapEff", "/proc/self/status"]]
            .concat(),
    );
    assert!(ran.out.contains("0000000000002000"), "{ran:?}");
    with_running_containers(&daemon);
}

/// Containers by their IDs: one that has what it was given, and one that gave something up.
fn with_running_containers(daemon: &docker::Daemon) {
    let sleep = [
        "run",
        "-d",
        "--network=none",
        "--user=1000",
        "--cap-drop=ALL",
        "rcap-test:1",
        "/bin/sleep",
        "100",
    ];
    let id = daemon.docker(&sleep).out;
    let id = id.trim();
    let rcap = common::program("rcap").get_program().to_str().unwrap().to_owned();
    // Until the runtime has executed the program.
    let own = |id: &str| {
        wait_for(|| {
            let own = ran(daemon.client(&rcap).args(["why", "--container", id]));
            own.out.contains("(sleep) of ").then_some(own)
        })
    };
    let same = own(id);
    let drops = [
        "run",
        "-d",
        "--network=none",
        "--cap-add=SYS_TIME",
        "rcap-test:1",
        "/bin/busybox",
        "setpriv",
        "--nnp",
        "/bin/sleep",
        "100",
    ];
    let other = daemon.docker(&drops).out;
    let drops = own(other.trim());
    assert_eq!(daemon.docker(&["rm", "-f", other.trim()]).status, Some(0));
    let inside = words(&["--container", id, "/bin/cat"]);
    assert_eq!(daemon.docker(&["rm", "-f", id]).status, Some(0));
    assert!(same.out.contains("has nothing"), "{same:?}");
    let words = format!("Settings: the process has what container:{id} gives");
    assert!(same.out.contains(&words), "{same:?}");
    let words = "no-new-privs: the process has it, and the settings do not set it";
    assert!(drops.out.contains(words), "{drops:?}");
    assert!(drops.out.contains("the process gave this up itself"), "{drops:?}");
    assert!(inside.out.starts_with("/bin/cat, executed by process "), "{inside:?}");
}
