//! The fixes of `rcap why`: applied to the source, they lead to the capability.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory, docker, program, ran,
    sets::Sets,
    systemd::{Manager, SYSTEMD},
    wait_for, wait_until, which,
};
use rcap::Cap;
use serde_json::{Value, json};

tests! {
    Nothing:
        nothing_to_fix;
    Root:
        in_the_words_of_the_source,
        with_an_engine,
        nothing_is_taken_from_the_system,
        a_program_of_the_source,
        a_root_id;
    Root ["setpriv"]:
        with_setpriv,
        by_rcap_run,
        a_process_that_is_not_dumpable;
    Root ["busybox runc"]:
        with_runc;
    Root [SYSTEMD]:
        with_systemd;
    Root ["busybox crun mount podman tar umount unshare"]:
        with_podman;
    Root [docker::DOCKER, "setcap"]:
        with_docker;
    Root [docker::DOCKER, "docker-compose"]:
        with_compose;
}

fn why(args: &[&str]) -> Value {
    let ran = words(&[&["--json"], args].concat());
    serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

fn words(args: &[&str]) -> Ran {
    ran(program("rcap").arg("why").args(args).stdin(Stdio::null()))
}

/// The changes between backquotes, in their order.
fn fixes(args: &[&str]) -> Vec<String> {
    let answer = why(args);
    let advice = answer["advice"].as_array().unwrap().iter();
    let parts = advice.flat_map(|words| words.as_str().unwrap().split('`').skip(1).step_by(2));
    parts.map(str::to_owned).collect()
}

/// The first change.
fn fix(args: &[&str]) -> String {
    let all = fixes(args);
    all.first().unwrap_or_else(|| panic!("no fix: {:?}", words(args))).clone()
}

/// Whether the program gets a capability.
fn has(args: &[&str], cap: &str) -> bool {
    let answer = why(args);
    let set = answer["outcome"]["after"]["effective"].as_array();
    set.is_some_and(|set| set.iter().any(|name| name == cap))
}

fn setcap(caps: &str, path: &str) {
    let set = ran(program("setcap").args(["-q", caps, path]));
    assert_eq!(set.status, Some(0), "{set:?}");
}

/// A copy of cat under this name, with these capabilities.
fn copy(dir: &Path, name: &str, caps: &str) -> String {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.join(name);
    fs::copy(which("cat").unwrap(), &path).unwrap();
    let path = path.display().to_string();
    if !caps.is_empty() {
        setcap(caps, &path);
    }
    path
}

/// A source before and after a fix, which stands in the place of `@`.
struct Row {
    name: &'static str,
    source: &'static str,
    /// The capabilities of the program's file.
    caps: &'static str,
    cap: &'static str,
    fix: &'static str,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // A service of a user who is not root, with the set that it may have and does not get.
    Row { name: "a.service", source: "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n@\n",
        caps: "", cap: "cap_net_bind_service", fix: "AmbientCapabilities=CAP_NET_BIND_SERVICE" },
    // Ambient capabilities that the bounding set takes away.
    Row { name: "b.service", source: "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_NET_RAW CAP_CHOWN\n@\n",
        caps: "", cap: "cap_net_raw", fix: "CapabilityBoundingSet=CAP_NET_RAW" },
    // exec: operation not permitted.
    Row { name: "", source: "docker run --cap-drop ALL @ img",
        caps: "cap_net_bind_service=ep", cap: "cap_net_bind_service", fix: "--cap-add=NET_BIND_SERVICE" },
    Row { name: "", source: "podman run --user 1000 @ img",
        caps: "cap_net_raw=ep", cap: "cap_net_raw", fix: "--cap-add=NET_RAW" },
    Row { name: "compose.yaml", source: "services:\n  web:\n    image: i\n    cap_drop: [ALL]\n    @\n",
        caps: "cap_net_raw=ep", cap: "cap_net_raw", fix: "cap_add: [NET_RAW]" },
    Row { name: "pod.yaml", source: "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    @\n",
        caps: "cap_sys_time=ep", cap: "cap_sys_time", fix: "securityContext: {capabilities: {add: [\"SYS_TIME\"]}}" },
];

fn in_the_words_of_the_source() {
    let dir = directory();
    for (index, row) in ROWS.iter().enumerate() {
        let path = copy(dir.path(), &format!("program{index}"), row.caps);
        let source = |fix: &str| {
            let text = row.source.replace('@', fix);
            if row.name.is_empty() {
                return text;
            }
            let file = dir.path().join(row.name);
            fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let before = source("");
        assert!(!has(&["--from", &before, &path], row.cap), "{}", row.source);
        let found = fix(&["--from", &before, &path]);
        assert_eq!(found, row.fix, "{}", row.source);
        let after = source(&found);
        assert!(has(&["--from", &after, &path], row.cap), "{}: {found}", row.source);
    }
    // A container's user who is not root: the file in the image.
    for source in [
        "docker run --user 1000 --cap-add NET_RAW img",
        "docker create --user=7 --cap-add=net_raw img",
    ] {
        let path = copy(dir.path(), "cat", "");
        let args = ["--from", source, &path];
        let found = fix(&args);
        assert_eq!(found, format!("setcap cap_net_raw=ep {path}"));
        setcap("cap_net_raw=ep", &path);
        assert!(has(&args, "cap_net_raw"), "{source}");
        fs::remove_file(&path).unwrap();
    }
    // In Kubernetes, a safe sysctl comes first.
    let pod = dir.path().join("web.yaml").display().to_string();
    fs::write(
        &pod,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    \
         securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}\n",
    )
    .unwrap();
    let path = copy(dir.path(), "web", "");
    let found = fixes(&["--from", &pod, &path]);
    assert!(found[0].contains("net.ipv4.ip_unprivileged_port_start"), "{found:?}");
    assert_eq!(found[1], format!("setcap cap_net_bind_service=ep {path}"));
    setcap("cap_net_bind_service=ep", &path);
    assert!(has(&["--from", &pod, &path], "cap_net_bind_service"));
}

/// Defaults are not asked for.
fn nothing_to_fix() {
    for source in [
        "docker run --user 1000 img",
        "podman run --user 5 img",
        "docker",
        "setpriv --reuid 1000 --clear-groups",
    ] {
        let answer = why(&["--from", source, "ls"]);
        assert_eq!(answer["advice"], json!([]), "{source}");
        let answer = words(&["--from", source, "ls"]);
        assert!(answer.out.contains("Nothing to fix"), "{source}: {}", answer.out);
        assert!(!answer.out.contains("000000"), "{source}: a mask: {}", answer.out);
    }
    let answer = words(&["--from", "docker run --user 1000 img", "ls"]);
    assert!(answer.out.contains("the 14 of Docker's default"), "{}", answer.out);
}

/// The answer depends on the version of the engine.
fn with_an_engine() {
    let dir = directory();
    let path = copy(dir.path(), "show", "cap_net_raw=ep");
    let unit = dir.path().join("x.service").display().to_string();
    let text = "[Service]\nUser=nobody\nLockPersonality=yes\n";
    fs::write(&unit, text).unwrap();
    assert!(has(&["--from", &unit, "--engine", "systemd@257", &path], "cap_net_raw"));
    let old = ["--from", &*unit, "--engine", "systemd@252", &*path];
    assert!(!has(&old, "cap_net_raw"));
    let found = fix(&old);
    assert_eq!(found, "AmbientCapabilities=CAP_NET_RAW");
    fs::write(&unit, format!("{text}{found}\n")).unwrap();
    assert!(has(&old, "cap_net_raw"));
    let line = "docker run --user 1000 --cap-add net_raw --security-opt no-new-privileges img";
    assert!(has(&["--from", line, "--engine", "docker@26", &path], "cap_net_raw"));
    assert!(!has(&["--from", line, "--engine", "docker@20.10", &path], "cap_net_raw"));
}

/// A set-user-ID program in a unit whose bounding set keeps from it what it needs.
fn nothing_is_taken_from_the_system() {
    let dir = directory();
    let sudo = copy(dir.path(), "sudo", "");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o4755)).unwrap();
    let unit = dir.path().join("x.service").display().to_string();
    fs::write(&unit, "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n").unwrap();
    let args = ["--from", &*unit, &*sudo];
    let answer = words(&args);
    let words = "The bounding set keeps cap_setgid,cap_setuid";
    assert!(answer.out.contains(words), "{}", answer.out);
    assert!(!answer.out.contains("chmod u-s"), "{}", answer.out);
    let found = fix(&args);
    fs::write(
        &unit,
        format!("[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n{found}\n"),
    )
    .unwrap();
    assert!(has(&args, "cap_setuid"), "{found}");
    // No program of the system loses its bits or its capabilities.
    let path = Path::new("/usr/bin");
    let set_id = fs::read_dir(path).unwrap().flatten().filter(|entry| {
        entry.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o6000 != 0)
    });
    for entry in set_id {
        let path = entry.path().display().to_string();
        for source in
            ["docker run --user 1000 img", "podman run --user 1000 --cap-add chown img", &unit]
        {
            let advice = why(&["--from", source, &path])["advice"].to_string();
            assert!(
                !advice.contains("chmod u-s") && !advice.contains("setcap -r"),
                "{path}: {advice}"
            );
        }
    }
}

/// Without PROGRAM, the one that the source names.
fn a_program_of_the_source() {
    let dir = directory();
    let path = copy(dir.path(), "show", "cap_net_raw=ep");
    let container = json!([{
        "Name": "/x", "Path": path, "Args": [], "Config": {"User": ""},
        "HostConfig": {"CapAdd": null, "CapDrop": null, "Privileged": false, "SecurityOpt": null},
    }]);
    let file = dir.path().join("inspect.json");
    fs::write(&file, container.to_string()).unwrap();
    let answer = words(&["--from", file.to_str().unwrap()]);
    let nameless = words(&["--from", "docker"]);
    assert_eq!(nameless.status, Some(2), "{nameless:?}");
    assert!(nameless.err.contains("names no program"), "{}", nameless.err);
    assert!(answer.out.starts_with(&path), "{answer:?}");
}

fn a_root_id() {
    let dir = directory();
    let path = copy(dir.path(), "show", "");
    let set = ran(program("setcap").args(["-n", "100000", "cap_net_raw=ep", &path]));
    assert_eq!(set.status, Some(0), "{set:?}");
    let args = ["--user", "nobody", &*path];
    assert!(
        words(&args).out.contains("cap_net_raw=ep with the root ID 100000"),
        "{:?}",
        words(&args)
    );
    let found = fixes(&args);
    assert_eq!(found, [format!("rcap setcap cap_net_raw=ep {path}")]);
    let nobody = || {
        let mut command = program("rcap");
        command.args(["run", "--user", "nobody:nogroup", "--allow-new-privs", "--"]);
        ran(command.args([&*path, "/proc/self/status"])).out
    };
    let effective = |status: &str| Sets::of_status(status).map(|sets| sets.effective);
    assert!(effective(&nobody()).is_some_and(rcap::CapSet::is_empty), "{}", nobody());
    setcap("cap_net_raw=ep", &path);
    assert!(has(&args, "cap_net_raw"));
    assert_eq!(effective(&nobody()), Some(Cap::NET_RAW.into()), "{}", nobody());
}

/// The effective set of a program that setpriv starts.
fn started(options: &[&str], program: &str) -> String {
    let ran = ran(Command::new("setpriv").args(options).arg(program).arg("/proc/self/status"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let line = ran.out.lines().find(|line| line.starts_with("CapEff")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn with_setpriv() {
    let dir = directory();
    for (caps, options) in [
        ("", "--reuid=1000 --regid=1000 --clear-groups --bounding-set=-all,+net_raw"),
        (
            "",
            "--reuid=1000 --regid=1000 --clear-groups --bounding-set=-all,+net_raw --no-new-privs",
        ),
    ] {
        let path = copy(dir.path(), "ping", caps);
        let line = format!("setpriv {options}");
        assert!(!has(&["--from", &line, &path], "cap_net_raw"), "{line}");
        let found = fix(&["--from", &line, &path]);
        let after = format!("{line} {found}");
        assert!(has(&["--from", &after, &path], "cap_net_raw"), "{after}");
        let options: Vec<&str> = after.split(' ').skip(1).collect();
        assert_eq!(started(&options, &path), "0000000000002000", "{after}");
        fs::remove_file(&path).unwrap();
    }
    // setpriv keeps its own permitted set, so no-new-privs takes nothing of the file's away.
    let path = copy(dir.path(), "ping", "cap_net_raw=ep");
    let options = ["--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"];
    assert!(has(&["--from", &format!("setpriv {}", options.join(" ")), &path], "cap_net_raw"));
    assert_eq!(started(&options, &path), "0000000000002000");
}

/// A script, an interpreter and a file without capabilities.
fn by_rcap_run() {
    let dir = directory();
    let show = copy(dir.path(), "tcpdump", "");
    let script = dir.path().join("ping").display().to_string();
    fs::write(&script, "#!/bin/sh\nexec grep CapEff /proc/self/status\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&show, &script] {
        let found = fix(&["--user", "nobody", path]);
        let args: Vec<&str> = found.split(' ').skip(1).collect();
        assert_eq!(args.last(), Some(&&**path), "{found}");
        let mut command = program("rcap");
        command.args(&args).stdin(Stdio::null());
        if path == &show {
            command.arg("/proc/self/status");
        }
        let out = ran(&mut command).out;
        let line = out
            .lines()
            .find(|line| line.starts_with("CapEff"))
            .unwrap_or_else(|| panic!("{found}: {out}"));
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask & (1 << 13), 1 << 13, "{found}: {line}");
    }
}

/// One that its file has given capabilities.
fn a_process_that_is_not_dumpable() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("sleep").display().to_string();
    fs::copy(which("sleep").unwrap(), &path).unwrap();
    setcap("cap_net_raw=ep", &path);
    let mut setpriv = Command::new("setpriv");
    // setpriv itself keeps its capabilities up to the execution, and a shell has none.
    setpriv.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        "exec $0 100",
        &path,
    ]);
    let mut child = setpriv.spawn().unwrap();
    let pid = child.id().to_string();
    wait_until(|| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    });
    let as_root = words(&["--pid", &pid]);
    let rcap = program("rcap").get_program().to_owned();
    let mut as_user = Command::new("setpriv");
    as_user.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(rcap);
    let as_user = ran(as_user.args(["why", "--pid", &pid]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(as_root.out.contains("has cap_net_raw: its file grants it"), "{}", as_root.out);
    for answer in [&as_root, &as_user] {
        assert!(answer.out.contains("it is not dumpable"), "{answer:?}");
    }
    assert!(
        as_user.out.contains("has cap_net_raw: unknown, as its file may not be read"),
        "{as_user:?}"
    );
    assert!(as_user.out.contains("its user namespace is unknown"), "{as_user:?}");
}

/// In a container of runc.
fn with_runc() {
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

fn with_systemd() {
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
fn with_podman() {
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
fn with_compose() {
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
fn with_docker() {
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
    // A container that runs, by its ID.
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
}
